/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_private.h - the server's own files, from the lowest up.
 *
 *     wire/           sockets, connections, and the bytes on them
 *       http_share.c, http_cancel.c, http_slots.c, http_listen.c, http_tls.c
 *       http_coding.c       decompresses bodies
 *       http_head.c         parses the head of a request, and its chunks
 *       http_connections.c  accepts connections; their deadlines and limits
 *       http_stream.c       a reply of server-sent events
 *     request/        one request
 *       http_request.c      a request and its reply, as endpoints use them
 *       http_tokens.c       bearer tokens
 *       http_cors.c         web pages of other origins
 *       http_model.c        the version that a request names
 *       http_mhd.c          libmicrohttpd: takes bodies, writes replies
 *     completion/     completions in OpenAI's shape
 *     api/            the endpoints, and the table of them, http_endpoints.c
 *     http_admit.c    refuses requests by their headers
 *     http_serve.c    the life of a request
 *     http.c          starts and stops the server
 *
 * Threads: as said at each
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_PRIVATE_H
#define MNEME_DAEMON_HTTP_HTTP_PRIVATE_H

#include <pthread.h>

#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/http.h"
#include "daemon/http/wire/http_cancel.h"
#include "daemon/http/wire/http_connections.h"
#include "daemon/http/wire/http_slots.h"

struct http {
    struct http_context context;
    struct http_slots *slots;      /* of requests that compute */
    struct http_slots *generators; /* of those that generate */
    struct http_connections *connections;
    char *address;
    char *address_path; /* data_dir/http.addr */
    char *socket_path;  /* of a unix socket, or NULL */
    char *admin_path;   /* data_dir/admin.addr, or NULL */
    char *admin_socket; /* its path while the server listens there, or NULL */
    struct http_cancel_rules rules;
    struct event_log *events;
    struct series *series;
    pthread_mutex_t mutex; /* guards all below */
    struct http_tokens *tokens;
    struct http_tls *tls; /* NULL: no TLS */
};

/* Serves the requests of a connection, one after the other; arg is the struct
 * http. Threads: the connection's */
void http_serve(void *arg, struct http_connection *c);

/*
 * Checks the headers of a request: token, origin, coding and length of the
 * body. A request that has failed keeps its reply. Threads: the connection's
 *   endpoint  NULL: the request has failed
 *   returns   the holder of the request's slot: http_tokens_holder
 */
uint64_t http_admit(struct http *h, struct http_request *rq,
                    const struct http_endpoint *endpoint);

/* Fails the request with 413: its body is too large. */
void http_admit_too_large(struct http_request *rq);

#endif
