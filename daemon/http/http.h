/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - the HTTP server.
 *
 * Each connection has a thread. libmicrohttpd writes the replies; in front of
 * it are a strict reader of requests, absolute deadlines, a hard limit on
 * connections, a limit on the memory of all bodies, and bearer tokens where the
 * configuration names a token file. Requests that compute get one of a few
 * slots, or wait in a line; when the line is long, they get 429. The table in
 * http_endpoints.h maps paths to endpoints, whose functions are in api_*.c.
 *
 * Threads: main; the server's threads are its own
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_H
#define MNEME_DAEMON_HTTP_HTTP_H

#include "daemon/http/request/http_request.h"

struct http; /* fields are in http_private.h */

/* Listens, and writes data_dir/http.addr ("127.0.0.1:6636", with TLS
 * "https://127.0.0.1:6636", or "unix:/path").
 * ERR_IO names an address that is taken; ERR_LIMIT: the process may not open
 * as many files as http.max_connections needs. */
int http_start(const struct http_context *context, struct http **http,
               struct err *err);
const char *http_address(const struct http *h);

/* Reads the token file, the certificate and the key that the configuration
 * names now; on an error all stay as they were. Called after conf_reload_apply.
 * Open connections keep their certificate. */
int http_reload(struct http *h, struct err *err);

/* Reads the files that the configuration names, and drops them: tells what
 * http_start would find wrong with them. */
int http_check(const struct conf *conf, struct err *err);

/* Tells whether http_reload would succeed after the reload of `next`. */
int http_reload_check(const struct conf *now, const struct conf *next,
                      struct err *err);

/* The grace period of requests that compute when the daemon stops. */
#define HTTP_GRACE_SECONDS 5

/* Begins the grace period: requests that would compute get 503 from now on,
 * the others go on. NULL is fine. */
void http_close(struct http *h);

/* Waits until all requests are answered, at most until the grace period is
 * over. Those that still compute are then cancelled, with 503 or an error
 * event, and get two seconds to be sent. Removes http.addr. NULL is fine. */
void http_stop(struct http *h);

#endif
