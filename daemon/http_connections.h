/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_connections.h - who is connected, and until when.
 *
 * libmicrohttpd's own timeout is one of inactivity, which a byte now and then
 * satisfies. So every connection has a deadline of ours as well, and a thread,
 * the reaper, shuts down those that have passed it.
 *
 * Owner:   the server; free it when libmicrohttpd has stopped
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_CONNECTIONS_H
#define MNEME_DAEMON_HTTP_CONNECTIONS_H

#include <microhttpd.h>

struct http_connections; /* fields are in http_connections.c */

struct http_connections *http_connections_create(void);
void http_connections_free(struct http_connections *cs); /* NULL is fine */

/* The reaper. Stopping is fine also when it was never started. Threads: main */
void http_connections_start(struct http_connections *cs);
void http_connections_stop(struct http_connections *cs);

/* How many are open. */
int http_connections_count(struct http_connections *cs);

/* What a connection waits for, which is how long it may take. */
enum http_phase {
    HTTP_READING,   /* opened, or a request line seen: 30 s to be complete */
    HTTP_COMPUTING, /* no deadline: the time is ours */
    HTTP_WRITING,   /* answered: 10 minutes to be taken */
    HTTP_STREAMING, /* no deadline: it may last */
    HTTP_IDLE       /* sent: 1 minute to the next request */
};

/* The connection has come to that phase. */
void http_connections_set(struct http_connections *cs,
                          struct MHD_Connection *connection,
                          enum http_phase phase);

/* For libmicrohttpd, with the struct as their arg: NOTIFY_CONNECTION and
 * URI_LOG_CALLBACK. */
void http_connections_notify(void *arg, struct MHD_Connection *connection,
                             void **context,
                             enum MHD_ConnectionNotificationCode code);
void *http_connections_asked(void *arg, const char *uri,
                             struct MHD_Connection *connection);

#endif
