/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_connections.h - accepting connections, their deadlines and limits.
 *
 * One thread accepts connections and checks their deadlines. Each connection
 * has a thread of its own.
 *
 * A connection waits (it is idle, or its request is incomplete) until its
 * complete request is admitted. When a new connection needs room, a waiting one
 * is evicted: the oldest one of the address with the most connections. The
 * number of admitted requests is limited; one address may have three quarters
 * of them. A few more are reserved for requests such as /healthz.
 *
 * Owner:   the server
 * Threads: as said at each; struct http_connection belongs to its thread
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_CONNECTIONS_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/http/wire/http_head.h"

struct http_tls_session;
struct http_connections; /* fields are in http_connections.c */

/* What a connection does, and its time limit. A connection in a phase up to
 * HTTP_CLOSING waits and can be evicted. */
enum http_phase {
    HTTP_READING,   /* opened, or a request has begun: 30 s to be complete */
    HTTP_IDLE,      /* answered: 1 minute to the next request */
    HTTP_CLOSING,   /* refused: 2 s for the client to read the answer */
    HTTP_COMPUTING, /* no deadline: the request is complete */
    HTTP_WRITING,   /* answered: 10 minutes for the client to read it */
    HTTP_STREAMING  /* no deadline: a stream may last */
};

/* Where a connection comes from. */
enum http_origin {
    HTTP_FROM_LISTEN,  /* http.listen */
    HTTP_FROM_ADMIN,   /* http.admin_socket, and its credentials are trusted */
    HTTP_FROM_STRANGER /* http.admin_socket, and they are not */
};

struct http_connection {
    struct http_connection *next, *previous;
    struct http_connections *all;
    int fd;
    struct http_tls_session *tls; /* NULL: no TLS */
    enum http_origin origin;
    struct buf in; /* received bytes */
    size_t n_used; /* bytes of `in` that are parsed already */

    /* Guarded by the mutex of all: */
    enum http_phase phase;
    int64_t since_ms, deadline_ms; /* monotonic; of the phase */
    uint64_t address;              /* 0: a unix socket */
    bool admitted;
    bool expired; /* its deadline has passed; a 408 can still be sent */
    bool evicted;
    size_t charged_bytes;
};

struct http_connections_options {
    int listen_fd;     /* handed over */
    int admin_fd;      /* of http.admin_socket, handed over; -1: none */
    gid_t admin_group; /* trusted, too; (gid_t)-1: none */
    int max_requests;  /* admitted at a time */
    size_t body_bytes; /* limit of all bodies, as received and parsed */
    void (*serve)(void *arg, struct http_connection *c);
    void *arg;
};

/* The most connections that are open at a time. */
int http_connections_max(int max_requests);

/* Begins to accept. serve runs in a connection's thread; when it returns, the
 * connection is closed. Threads: main */
int http_connections_start(const struct http_connections_options *o,
                           struct http_connections **connections,
                           struct err *err);

/* Stops accepting, and closes waiting connections. Admitted requests have
 * grace_ms to be answered. All threads have returned then. NULL is fine.
 * Returns how many answers were cut short. Threads: main */
int http_connections_stop(struct http_connections *cs, int64_t grace_ms);

/* --- for the connection's thread ---------------------------------------- */

/* Takes over the TLS session of the connection, before anything is read, and
 * waits for its handshake, which is a part of HTTP_READING. All that is read
 * and sent later is encrypted. False: the connection is of no use. */
bool http_connection_secure(struct http_connection *c,
                            struct http_tls_session *tls);

void http_connection_set_phase(struct http_connection *c,
                               enum http_phase phase);

/* Admits a complete request until the phase is HTTP_IDLE or HTTP_CLOSING.
 *   reserved  it may use the reserved number
 *   returns   false with *why when too many requests are admitted */
bool http_connection_admit(struct http_connection *c, bool reserved,
                           const char **why);

/* Charges memory for a body to the limit of all connections; false: the limit
 * is reached. First it evicts connections whose body has been incomplete for
 * 2 s. http_connection_uncharge gives back all of c. */
bool http_connection_charge(struct http_connection *c, size_t n_bytes);
void http_connection_uncharge(struct http_connection *c);

/*
 * Waits for the next head, which begins at c->in.data + c->n_used.
 *   *length  its bytes
 *   returns  1; 0: the connection has ended; -1: refused, see *why
 */
int http_connection_read_head(struct http_connection *c, size_t *length,
                              struct http_refusal *why);

/* Waits for more bytes in c->in. False: the client sends no more, or its
 * deadline has passed (http_connection_expired). */
bool http_connection_read(struct http_connection *c);
bool http_connection_expired(struct http_connection *c);

/* Sends all parts, or returns false. `parts` are changed. */
bool http_connection_send(struct http_connection *c, struct iovec *parts,
                          int n);

/* Reads and drops the rest of a request, for 2 s at most. Closing a socket with
 * unread bytes would reset it, and the client could lose the answer. */
void http_connection_linger(struct http_connection *c);

#endif
