/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_mhd.h - libmicrohttpd behind the strict reader of a connection.
 *
 * The connection's thread writes each request to one end of a socket pair, and
 * libmicrohttpd reads it from the other end: a new head with the result of
 * http_head.h, and the body in chunks. libmicrohttpd calls the handlers and
 * writes the reply, whose bytes go to the client at once.
 *
 * libmicrohttpd's event loop runs in the connection's thread, inside these
 * functions, so there is no other thread and no lock.
 *
 *     begin -> body ... -> end     for each request, one after the other
 *
 * Owner:   the connection's thread
 * Threads: the connection's
 */
#ifndef MNEME_DAEMON_HTTP_REQUEST_HTTP_MHD_H
#define MNEME_DAEMON_HTTP_REQUEST_HTTP_MHD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct http_connection;
struct http_mhd; /* fields are in http_mhd.c */
struct http_request;

/* Open file descriptors of each struct http_mhd. */
#define HTTP_MHD_DESCRIPTORS 3

struct http_mhd_handlers {
    /* A piece of the body. */
    void (*body)(void *arg, const char *bytes, size_t n);
    /* The request is complete: leaves its reply, if it has none yet. */
    void (*answer)(void *arg);
    void *arg;
};

/* Creates the struct for the requests of c, which outlives it. ERR_IO. */
int http_mhd_create(struct http_connection *c,
                    const struct http_mhd_handlers *handlers,
                    struct http_mhd **mhd, struct err *err);

/* Frees the struct, and drops an incomplete reply. NULL is fine. */
void http_mhd_free(struct http_mhd *m);

/*
 * Begins a request.
 *   rq        lives until http_mhd_end or http_mhd_free; its head may be NULL
 *             when the request could not be read
 *   has_body  false, too, when the request is refused before its body is read
 */
void http_mhd_begin(struct http_mhd *m, struct http_request *rq,
                    bool has_body);

/* Hands over a piece of the body. False: the connection is broken. */
bool http_mhd_body(struct http_mhd *m, const char *bytes, size_t n);

/* The body is complete, or has failed: gets the reply from the handler, and
 * sends all of it. False: the connection is broken. */
bool http_mhd_end(struct http_mhd *m);

#endif
