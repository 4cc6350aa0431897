/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - the HTTP server: libmicrohttpd, and the limits in front of it.
 *
 * A thread a connection, a hard number of them; absolute deadlines for reading
 * a request; a strict reader of heads and bodies (http_head.h) in front of
 * libmicrohttpd (http_mhd.h), which writes the replies; the memory of
 * all bodies bounded; a bearer token where the configuration names a token
 * file. Requests that compute take one of a few places, so that a burst queues
 * here and not in the kernels; when the queue is long, 429. Endpoints are in
 * api_*.c, one table maps paths to them.
 *
 * Threads: http_start and http_stop the main thread; the server's are its own
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_H
#define MNEME_DAEMON_HTTP_HTTP_H

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/board/control.h"
#include "daemon/publish/serving.h"
#include "daemon/board/status.h"
#include "store/catalog.h"

/* What the endpoints work with; all of it outlives the server. */
struct http_context {
    const struct conf *conf;
    struct status_board *board;
    struct serving *serving;
    struct catalog *catalog;
    struct control *control;
};

struct http;

/* Listens; writes data_dir/http.addr ("127.0.0.1:6636" or "unix:/path").
 * ERR_IO names the address that is taken; ERR_LIMIT: the process may not open
 * as many files as http.max_connections needs. */
int http_start(const struct http_context *context, struct http **http,
               struct err *err);
const char *http_address(const struct http *h);

/* Reads the token file that the configuration names now; on an error the
 * tokens stay as they were. Main thread, after conf_reload_apply. */
int http_reload(struct http *h, struct err *err);

/* How long requests that compute may go on when the daemon stops. */
#define HTTP_GRACE_SECONDS 5

/* The daemon stops: requests that would compute get 503 from now on, those
 * under way have HTTP_GRACE_SECONDS, counted from now. NULL is fine. */
void http_close(struct http *h);

/* Waits for the answers that are under way, HTTP_GRACE_SECONDS after http_close
 * at most: what is computed is then cancelled, with 503 or an error event, and
 * gets a second or two to be sent. Removes http.addr. NULL is fine. */
void http_stop(struct http *h);

#endif
