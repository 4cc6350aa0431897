/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_connections.h - accepting, deadlines, and the limits on connections.
 *
 * One thread accepts connections and looks for deadlines that have passed.
 * Each connection has a thread of its own.
 *
 * A connection is waiting (idle, or its request is incomplete) or has a place
 * (its request is complete and is being answered). A waiting connection is
 * evicted when a new one needs room: the oldest one of the address that has
 * most of them. Places are limited, one address has three quarters of them,
 * and a few more are reserved for requests such as /healthz.
 *
 * Owner:   the server
 * Threads: as said at each; struct http_connection belongs to its thread
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_CONNECTIONS_H
#define MNEME_DAEMON_HTTP_HTTP_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/http/http_head.h"

struct http_connections; /* fields are in http_connections.c */

/* What a connection is doing, and how long it may. Up to HTTP_CLOSING it waits
 * and can be evicted. */
enum http_phase {
    HTTP_READING,   /* opened, or a request has begun: 30 s to be complete */
    HTTP_IDLE,      /* answered: 1 minute to the next request */
    HTTP_CLOSING,   /* refused: 2 s to take the answer */
    HTTP_COMPUTING, /* no deadline: the time is ours */
    HTTP_WRITING,   /* answered: 10 minutes to be taken */
    HTTP_STREAMING  /* no deadline: it may last */
};

struct http_connection {
    struct http_connection *next, *previous;
    struct http_connections *all;
    int fd;
    struct buf in; /* received; from `at` on not yet used */
    size_t at;

    /* Guarded by the mutex of all: */
    enum http_phase phase;
    int64_t since_ms, deadline_ms; /* monotonic */
    uint64_t address;              /* 0: a unix socket */
    bool has_place;
    bool expired; /* its deadline has passed: it may still be told so */
    bool evicted; /* another one needed its room */
    size_t held_bytes;
};

struct http_connections_options {
    int listen_fd;      /* handed over */
    int most;           /* places for requests */
    size_t most_bytes;  /* of all bodies, as they came and parsed */
    void (*serve)(void *arg, struct http_connection *c);
    void *arg;
};

/* Descriptors that the server needs at most for so many places. */
int http_connections_descriptors(int most);

/* Begins to accept. serve runs in a connection's thread; when it returns the
 * connection is closed. Threads: main */
int http_connections_start(const struct http_connections_options *o,
                           struct http_connections **connections,
                           struct err *err);

/* Accepts no more, and closes waiting connections. Those with a place have
 * grace_ms to be answered. All threads have returned then. NULL is fine.
 * Returns how many answers were cut short. Threads: main */
int http_connections_stop(struct http_connections *cs, int64_t grace_ms);

/* --- for the connection's thread ---------------------------------------- */

/* The connection has come to that phase. */
void http_connection_set(struct http_connection *c, enum http_phase phase);

/* Takes a place for a complete request, which HTTP_IDLE gives back. `reserved`:
 * it may have one of the reserved places. False: there is none, see *why. */
bool http_connection_admit(struct http_connection *c, bool reserved,
                           const char **why);

/* Takes memory for a body from the account of all connections; let_go gives it
 * back. Connections whose body has been incomplete for 2 s are evicted for it.
 * False: there is not enough. */
bool http_connection_hold(struct http_connection *c, size_t n_bytes);
void http_connection_let_go(struct http_connection *c);

/*
 * Waits for the next head and leaves it in c->in, from c->at on.
 *   *length  its bytes
 *   returns  1; 0: the connection is at its end; -1: refused, see *why
 */
int http_connection_head(struct http_connection *c, size_t *length,
                         struct http_refusal *why);

/* Waits for more bytes in c->in. False: there are none; c->expired may say
 * why. */
bool http_connection_fill(struct http_connection *c);

/* Has its deadline passed? */
bool http_connection_expired(struct http_connection *c);

/* All of it, or false. `parts` are changed. */
bool http_connection_send(struct http_connection *c, struct iovec *parts,
                          int n);

/* After an answer to what was not read to its end: waits a little until the
 * client has taken it. A reset would take it away. */
void http_connection_linger(struct http_connection *c);

#endif
