/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_cors.h - web pages of other origins: http.cors_origins.
 *
 * A page may use the daemon when its origin is in the list. Credentials are
 * never allowed: a page has to know a token, and a browser sends none by
 * itself.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_REQUEST_HTTP_CORS_H
#define MNEME_DAEMON_HTTP_REQUEST_HTTP_CORS_H

#include <stdbool.h>

#include "daemon/http/request/http_request.h"

/* The value of Access-Control-Allow-Origin for the request; NULL: none. */
const char *http_cors_origin(const struct http_request *rq);

/* Answers the request if it is a preflight of an allowed origin: an OPTIONS
 * with Access-Control-Request-Method. False: it is no such request, and nothing
 * was answered. */
bool http_cors_preflight(struct http_request *rq);

#endif
