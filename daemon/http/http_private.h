/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_private.h - what the server's own files share.
 *
 *     http.c              the life of a request; starting and stopping
 *     http_admit.c        the table of paths; what is refused by its headers
 *     http_connections.c  connections, their deadlines and limits
 *     http_head.c         the head of a request, and where its body ends
 *     http_mhd.c          libmicrohttpd: takes bodies, writes replies
 *     http_send.c         the reply as libmicrohttpd wants it
 *
 * Threads: a request's functions run in its connection's thread
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_PRIVATE_H
#define MNEME_DAEMON_HTTP_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "daemon/board/event_log.h"
#include "daemon/http/http_connections.h"
#include "daemon/http/http_impl.h"

struct http {
    struct http_context context;
    struct http_places *places;
    struct http_connections *connections;
    char *address;
    char *address_path; /* data_dir/http.addr */
    char *socket_path;  /* of a unix socket, or NULL */
    struct http_cancel_rules rules;
    struct event_log *events;
    pthread_mutex_t mutex; /* guards tokens */
    struct http_tokens *tokens;
};

struct http_route {
    const char *method;
    const char *path; /* {} stands for one part */
    http_endpoint *endpoint;
    enum http_scope scope;
    bool computes; /* takes a place to compute */
};

/* Finds the route, and checks what the headers tell: token, coding, length. A
 * refusal is left as the reply. */
void http_admit(struct http_request *rq);

/* May its request have a reserved place? */
bool http_admit_reserved(const struct http_route *route);

/* Of a body that is refused so much is read, so that the client gets to see
 * the answer instead of a reset. */
#define HTTP_ADMIT_DRAIN_BYTES ((size_t)16 << 20)

/* Refuses a body for its size. */
void http_admit_too_large(struct http_request *rq);

/* A piece of the body, as libmicrohttpd hands it over. */
void http_take(struct http_request *rq, const char *bytes, size_t n);

/* The request is whole: leaves its reply, unless it is refused already. */
void http_answer_whole(struct http_request *rq);

/* Hands the reply to libmicrohttpd, as a body or as a stream of events. */
enum MHD_Result http_send(struct http_request *rq, struct MHD_Connection *to);

#endif
