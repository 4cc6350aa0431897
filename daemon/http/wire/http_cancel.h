/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_cancel.h - cancels a request whose answer is no longer wanted.
 *
 * A request is cancelled when its client has left, when it has taken
 * http.max_request_seconds, or when the daemon stops and the grace period is
 * over. The request's thread calls http_cancel_check while it waits for a slot.
 * When it computes, it calls the check at each token, piece of a text and text.
 * So this is also where it waits for its share of the processors.
 *
 * A client that closes only its sending side counts as one that has left: TCP
 * cannot tell the two apart. The socket is checked a few times a second, so
 * such a client still gets an answer that is ready at once.
 *
 * Owner:   the request; a stream has a copy, since it may outlast its request
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_CANCEL_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "daemon/http/wire/http_share.h"

enum http_cancel_cause {
    HTTP_NOT_CANCELLED,
    HTTP_CLIENT_LEFT,
    HTTP_TIME_LIMIT,
    HTTP_GRACE_OVER,
    HTTP_N_CAUSES
};

/* What all requests of a server share. */
struct http_cancel_rules {
    struct http_share *share; /* NULL: answers are not limited */
    atomic_llong stop_ms; /* monotonic end of the grace period; 0: running */
    int64_t most_seconds; /* http.max_request_seconds */
    atomic_llong cancelled[HTTP_N_CAUSES];
};

struct http_cancel {
    struct http_cancel_rules *rules;
    const char *path; /* for the log */
    int fd;           /* of the client */
    int64_t began_ms, next_check_ms; /* monotonic; the check is the socket's */
    enum http_cancel_cause cause;
    bool computes; /* has a slot, and waits for its share of the processors */
};

/*
 * Starts the time limit of a request.
 *   rules  outlive it
 *   path   outlives it
 *   fd     of the client, stays open while requests are checked; -1: none
 */
void http_cancel_begin(struct http_cancel *c, struct http_cancel_rules *rules,
                       const char *path, int fd);

/* 0, or ERR_AGAIN when the request is cancelled. The cause then stays, and is
 * counted and logged once. With `computes` it charges the calling thread's
 * processor time, and waits while http_share.h says so. */
int http_cancel_check(struct http_cancel *c, struct err *err);

/* http_cancel_check as the callback that infer.h takes; it points to c. */
struct cancel http_cancel_callback(struct http_cancel *c);

/* True when the daemon stops: no new request may compute. */
bool http_cancel_stopping(const struct http_cancel_rules *rules);

/* The cause as one word, for programs. */
const char *http_cancel_code(enum http_cancel_cause cause);

/* Appends mneme_http_cancelled_total. */
void http_cancel_metrics(const struct http_cancel_rules *rules,
                         struct buf *out);

#endif
