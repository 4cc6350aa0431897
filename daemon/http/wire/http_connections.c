/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections are a list, changed under one mutex. Their sockets block. To end
 * a connection, another thread shuts its socket down, which wakes the thread
 * that reads or writes there. A connection leaves the list before its socket
 * is closed, so no thread shuts down the socket of another connection.
 *
 *     accept -> READING -> COMPUTING -> WRITING | STREAMING -> IDLE -> READING
 *
 * There is room for all requests that can be admitted. So when there is no room
 * for a new connection, a waiting one can be evicted.
 */
#include "config.h"

#include "daemon/http/wire/http_connections.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/pulse.h"
#include "daemon/http/wire/http_listen.h"
#include "daemon/http/wire/http_tls.h"

#define NO_DEADLINE INT64_MAX
#define DEADLINE_CHECK_MS 500
#define EVICTION_MS 100   /* for an evicted connection to end */
#define SLOW_BODY_MS 2000 /* older bodies may be evicted for their memory */
#define SEND_TIMEOUT_SECONDS 30
#define RESERVED 16 /* further requests, for health and administration */
#define READ_BYTES 16384
#define LINGER_BYTES ((size_t)16 << 20)

static const int64_t phase_ms[] = {
    [HTTP_READING] = 30000,        [HTTP_IDLE] = 60000,
    [HTTP_CLOSING] = 2000,         [HTTP_COMPUTING] = NO_DEADLINE,
    [HTTP_WRITING] = 600000,       [HTTP_STREAMING] = NO_DEADLINE,
};

struct http_connections {
    struct http_connections_options o;
    pthread_t acceptor;
    int wake_fd;           /* ends the acceptor's wait */
    pthread_mutex_t mutex; /* guards all below, and fields of connections */
    pthread_cond_t gone;   /* a connection has left the list */
    bool stopping;
    struct http_connection *first;
    int n, n_admitted;
    size_t charged_bytes;
};

int http_connections_max(int max_requests)
{
    return max_requests + RESERVED;
}

/* --- eviction ----------------------------------------------------------- */

static bool is_waiting(const struct http_connection *c)
{
    return c->phase <= HTTP_CLOSING && !c->evicted;
}

/* Locks: needs cs->mutex */
static int count_address(const struct http_connections *cs, uint64_t address)
{
    int n = 0;

    for (const struct http_connection *c = cs->first; c; c = c->next)
        n += c->address == address && !c->evicted;
    return n;
}

/* Ends the oldest waiting connection of the address with the most connections;
 * false: no connection can be evicted.
 *   for_memory  evicts only a connection with an old, incomplete body
 * Locks: needs cs->mutex */
static bool evict(struct http_connections *cs, bool for_memory)
{
    int64_t slow_ms = timing_mono_ms() - SLOW_BODY_MS;
    struct http_connection *victim = NULL;
    int most = 0;

    for (struct http_connection *c = cs->first; c; c = c->next) {
        int n;

        if (!is_waiting(c) ||
            (for_memory && (!c->charged_bytes || c->since_ms > slow_ms)))
            continue;
        n = victim && victim->address == c->address
                ? most
                : count_address(cs, c->address);
        if (!victim || n > most ||
            (n == most && c->since_ms <= victim->since_ms)) {
            victim = c;
            most = n;
        }
    }
    if (!victim)
        return false;
    victim->evicted = true;
    cs->charged_bytes -= victim->charged_bytes;
    victim->charged_bytes = 0;
    shutdown(victim->fd, SHUT_RDWR);
    return true;
}

/* --- phases ------------------------------------------------------------- */

/* Locks: needs c->all->mutex */
static void set_phase(struct http_connection *c, enum http_phase phase)
{
    int64_t now = timing_mono_ms();

    c->phase = phase;
    c->since_ms = now;
    c->deadline_ms = phase_ms[phase] == NO_DEADLINE ? NO_DEADLINE
                                                    : now + phase_ms[phase];
    if (phase <= HTTP_CLOSING && c->admitted) {
        c->admitted = false;
        c->all->n_admitted--;
    }
    /* http_connections_stop has already closed the waiting connections. */
    if (phase <= HTTP_IDLE && c->all->stopping)
        shutdown(c->fd, SHUT_RDWR);
}

void http_connection_set_phase(struct http_connection *c, enum http_phase phase)
{
    pthread_mutex_lock(&c->all->mutex);
    set_phase(c, phase);
    pthread_mutex_unlock(&c->all->mutex);
}

bool http_connection_expired(struct http_connection *c)
{
    bool expired;

    pthread_mutex_lock(&c->all->mutex);
    expired = c->expired && !c->evicted;
    pthread_mutex_unlock(&c->all->mutex);
    return expired;
}

bool http_connection_admit(struct http_connection *c, bool reserved,
                           const char **why)
{
    struct http_connections *cs = c->all;
    int max_of_one = cs->o.max_requests - cs->o.max_requests / 4;
    int n_same = 0;

    *why = NULL;
    pthread_mutex_lock(&cs->mutex);
    for (const struct http_connection *d = cs->first; d; d = d->next)
        n_same += d->admitted && d->address == c->address;
    if (cs->n_admitted >= cs->o.max_requests + (reserved ? RESERVED : 0))
        *why = "http.max_connections requests are being answered already";
    else if (!reserved && c->address && n_same >= max_of_one)
        *why = "this address alone has three quarters of the "
               "http.max_connections requests that are being answered";
    if (!*why) {
        c->admitted = true;
        cs->n_admitted++;
        set_phase(c, HTTP_COMPUTING);
    }
    pthread_mutex_unlock(&cs->mutex);
    return !*why;
}

/* --- memory ------------------------------------------------------------- */

bool http_connection_charge(struct http_connection *c, size_t n_bytes)
{
    struct http_connections *cs = c->all;
    bool fits;

    pthread_mutex_lock(&cs->mutex);
    do
        fits = n_bytes <= cs->o.body_bytes &&
               cs->charged_bytes <= cs->o.body_bytes - n_bytes;
    while (!fits && n_bytes <= cs->o.body_bytes && evict(cs, true));
    fits = fits && !c->evicted;
    if (fits) {
        c->charged_bytes += n_bytes;
        cs->charged_bytes += n_bytes;
    }
    pthread_mutex_unlock(&cs->mutex);
    return fits;
}

void http_connection_uncharge(struct http_connection *c)
{
    pthread_mutex_lock(&c->all->mutex);
    c->all->charged_bytes -= c->charged_bytes;
    c->charged_bytes = 0;
    pthread_mutex_unlock(&c->all->mutex);
}

/* --- reading and writing ------------------------------------------------ */

static ssize_t receive(struct http_connection *c, char *bytes, size_t size)
{
    ssize_t n;

    if (c->tls)
        return http_tls_session_read(c->tls, bytes, size);
    do
        n = recv(c->fd, bytes, size, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

bool http_connection_read(struct http_connection *c)
{
    ssize_t n;
    bool ended;

    if (c->n_used) {
        memmove(c->in.data, c->in.data + c->n_used, c->in.len - c->n_used);
        c->in.len -= c->n_used;
        c->n_used = 0;
    }
    buf_reserve(&c->in, READ_BYTES);
    n = receive(c, c->in.data + c->in.len, READ_BYTES);
    pthread_mutex_lock(&c->all->mutex);
    ended = c->evicted || c->expired;
    if (n > 0 && !ended && c->phase == HTTP_IDLE)
        set_phase(c, HTTP_READING);
    pthread_mutex_unlock(&c->all->mutex);
    if (n <= 0 || ended)
        return false;
    c->in.len += (size_t)n;
    return true;
}

int http_connection_read_head(struct http_connection *c, size_t *length,
                              struct http_refusal *why)
{
    size_t seen = 0;
    bool is_first = true;

    for (;;) {
        const char *bytes = c->in.data + c->n_used;
        size_t n = c->in.len - c->n_used;

        /* Old clients send a line end after a body and do not count it. */
        if (is_first && n >= 2) {
            is_first = false;
            if (memcmp(bytes, "\r\n", 2) == 0) {
                c->n_used += 2;
                continue;
            }
        }
        if (n && !http_head_find(bytes, n, &seen, length, why))
            return -1;
        if (n && *length)
            return 1;
        if (http_connection_read(c))
            continue;
        if (!n)
            return 0;
        *why = http_connection_expired(c)
                   ? (struct http_refusal){408, "timeout",
                                           "the request was not complete in "
                                           "time"}
                   : (struct http_refusal){400, "malformed_request",
                                           "the head is incomplete"};
        return -1;
    }
}

bool http_connection_send(struct http_connection *c, struct iovec *parts,
                          int n)
{
    if (c->tls) {
        for (; n; parts++, n--)
            if (!http_tls_session_write(c->tls, parts->iov_base,
                                        parts->iov_len))
                return false;
        return true;
    }
    while (n) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        for (; n && (size_t)sent >= parts->iov_len; parts++, n--)
            sent -= (ssize_t)parts->iov_len;
        if (n) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
    return true;
}

void http_connection_linger(struct http_connection *c)
{
    size_t n_read = 0;

    http_connection_set_phase(c, HTTP_CLOSING);
    if (c->tls)
        http_tls_session_end(c->tls);
    shutdown(c->fd, SHUT_WR);
    c->in.len = c->n_used = 0;
    while (n_read < LINGER_BYTES && http_connection_read(c)) {
        n_read += c->in.len;
        c->in.len = 0;
    }
}

bool http_connection_secure(struct http_connection *c,
                            struct http_tls_session *tls)
{
    c->tls = tls;
    if (http_tls_session_accept(tls))
        return true;
    /* The client's remaining bytes are not encrypted, or no longer needed:
     * they are read from the socket and dropped. */
    http_tls_session_free(c->tls);
    c->tls = NULL;
    http_connection_linger(c);
    return false;
}

/* --- opening and closing ------------------------------------------------ */

static void close_connection(struct http_connection *c)
{
    struct http_connections *cs = c->all;

    if (c->tls) { /* its last bytes have a short limit, as in a linger */
        http_connection_set_phase(c, HTTP_CLOSING);
        http_tls_session_end(c->tls);
    }
    http_tls_session_free(c->tls);
    pthread_mutex_lock(&cs->mutex);
    if (c->admitted)
        cs->n_admitted--;
    if (c->previous)
        c->previous->next = c->next;
    else
        cs->first = c->next;
    if (c->next)
        c->next->previous = c->previous;
    close(c->fd);
    cs->n--;
    pthread_cond_broadcast(&cs->gone);
    pthread_mutex_unlock(&cs->mutex);
    buf_release(&c->in);
    free(c);
}

static void *serve_connection(void *arg)
{
    struct http_connection *c = arg;

    c->all->o.serve(c->all->o.arg, c);
    http_connection_uncharge(c);
    close_connection(c);
    return NULL;
}

/* The number by which the limits count clients: an IPv4 address, or an IPv6
 * network (the first 64 bits), since one owner gets a whole network. */
static uint64_t address_number(const struct sockaddr_storage *a)
{
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)a;
    uint64_t network = 0;

    if (a->ss_family == AF_INET)
        return (uint64_t)1 << 32 |
               ((const struct sockaddr_in *)a)->sin_addr.s_addr;
    if (a->ss_family != AF_INET6)
        return 0;
    if (IN6_IS_ADDR_V4MAPPED(&ipv6->sin6_addr)) {
        uint32_t ipv4;

        memcpy(&ipv4, ipv6->sin6_addr.s6_addr + 12, sizeof ipv4);
        return (uint64_t)1 << 32 | ipv4;
    }
    memcpy(&network, ipv6->sin6_addr.s6_addr, sizeof network);
    return network ? network : 1; /* ::1 */
}

static void open_connection(struct http_connections *cs, int fd,
                            enum http_origin origin,
                            const struct sockaddr_storage *from)
{
    struct http_connection *c = xcalloc(1, sizeof *c);
    struct timeval timeout = {SEND_TIMEOUT_SECONDS, 0};
    pthread_attr_t detached;
    pthread_t thread;
    int on = 1;

    c->all = cs;
    c->fd = fd;
    c->origin = origin;
    c->address = address_number(from);
    buf_reserve(&c->in, READ_BYTES);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (c->address)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_mutex_lock(&cs->mutex);
    set_phase(c, HTTP_READING);
    c->next = cs->first;
    if (c->next)
        c->next->previous = c;
    cs->first = c;
    cs->n++;
    pthread_mutex_unlock(&cs->mutex);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, serve_connection, c) != 0)
        close_connection(c);
    pthread_attr_destroy(&detached);
}

static void make_room(struct http_connections *cs)
{
    struct timespec until = timing_deadline(EVICTION_MS);

    pthread_mutex_lock(&cs->mutex);
    evict(cs, false);
    timing_wait(&cs->gone, &cs->mutex, &until);
    pthread_mutex_unlock(&cs->mutex);
}

static enum http_origin origin_of(const struct http_connections *cs,
                                  int listen_fd, int fd)
{
    if (listen_fd != cs->o.admin_fd)
        return HTTP_FROM_LISTEN;
    return http_listen_trusts(fd, cs->o.admin_group) ? HTTP_FROM_ADMIN
                                                     : HTTP_FROM_STRANGER;
}

/* Accepts a connection, or makes room for it first. */
static void accept_one(struct http_connections *cs, int listen_fd)
{
    struct sockaddr_storage from = {0};
    socklen_t size = sizeof from;
    bool has_room;
    int fd;

    pthread_mutex_lock(&cs->mutex);
    has_room = cs->n < http_connections_max(cs->o.max_requests);
    pthread_mutex_unlock(&cs->mutex);
    if (!has_room) {
        make_room(cs);
        return;
    }
    fd = accept4(listen_fd, (struct sockaddr *)&from, &size, SOCK_CLOEXEC);
    if (fd >= 0)
        open_connection(cs, fd, origin_of(cs, listen_fd, fd), &from);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
             errno == ENOMEM)
        make_room(cs);
}

static void expire_connections(struct http_connections *cs)
{
    int64_t now = timing_mono_ms();

    pthread_mutex_lock(&cs->mutex);
    for (struct http_connection *c = cs->first; c; c = c->next) {
        if (c->deadline_ms >= now)
            continue;
        /* A connection with an incomplete request can still be sent a 408. */
        shutdown(c->fd, c->phase == HTTP_READING && !c->expired ? SHUT_RD
                                                                : SHUT_RDWR);
        c->expired = true;
    }
    pthread_mutex_unlock(&cs->mutex);
}

static void *accept_all(void *arg)
{
    struct http_connections *cs = arg;
    /* poll leaves out a descriptor of -1. */
    struct pollfd fds[3] = {{.fd = cs->o.listen_fd, .events = POLLIN},
                            {.fd = cs->wake_fd, .events = POLLIN},
                            {.fd = cs->o.admin_fd, .events = POLLIN}};
    int64_t checked_ms = timing_mono_ms();

    while (!fds[1].revents) {
        int n;

        pulse_beat(PULSE_HTTP, PULSE_LOOP_MS);
        n = poll(fds, 3, DEADLINE_CHECK_MS);
        if (n > 0 && fds[2].revents && !fds[1].revents)
            accept_one(cs, cs->o.admin_fd);
        if (n > 0 && fds[0].revents && !fds[1].revents)
            accept_one(cs, cs->o.listen_fd);
        if (n <= 0 || timing_mono_ms() - checked_ms >= DEADLINE_CHECK_MS) {
            expire_connections(cs);
            checked_ms = timing_mono_ms();
        }
    }
    pulse_rest(PULSE_HTTP);
    return NULL;
}

/* --- starting and stopping ---------------------------------------------- */

static void release(struct http_connections *cs)
{
    pthread_cond_destroy(&cs->gone);
    pthread_mutex_destroy(&cs->mutex);
    if (cs->wake_fd >= 0)
        close(cs->wake_fd);
    close(cs->o.listen_fd);
    if (cs->o.admin_fd >= 0)
        close(cs->o.admin_fd);
    free(cs);
}

int http_connections_start(const struct http_connections_options *o,
                           struct http_connections **connections,
                           struct err *err)
{
    struct http_connections *cs = xcalloc(1, sizeof *cs);
    int errnum = 0;

    cs->o = *o;
    pthread_mutex_init(&cs->mutex, NULL);
    pthread_cond_init(&cs->gone, NULL);
    cs->wake_fd = eventfd(0, EFD_CLOEXEC);
    /* Non-blocking: the client may be gone before accept4 is called. */
    if (cs->wake_fd < 0 ||
        fcntl(o->listen_fd, F_SETFL, O_NONBLOCK) != 0 ||
        (o->admin_fd >= 0 && fcntl(o->admin_fd, F_SETFL, O_NONBLOCK) != 0))
        errnum = errno;
    else
        errnum = pthread_create(&cs->acceptor, NULL, accept_all, cs);
    if (errnum) {
        release(cs);
        return err_set_errno(err, ERR_IO, errnum,
                             "http.listen: cannot start the server");
    }
    *connections = cs;
    return 0;
}

/* Locks: needs cs->mutex */
static void wait_until_gone(struct http_connections *cs, int64_t ms)
{
    struct timespec until = timing_deadline(ms);

    while (cs->n)
        if (timing_wait(&cs->gone, &cs->mutex, &until) == ETIMEDOUT)
            return;
}

int http_connections_stop(struct http_connections *cs, int64_t grace_ms)
{
    uint64_t one = 1;
    int n_cut;

    if (!cs)
        return 0;
    while (write(cs->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(cs->acceptor, NULL);
    pthread_mutex_lock(&cs->mutex);
    cs->stopping = true;
    for (struct http_connection *c = cs->first; c; c = c->next)
        if (is_waiting(c))
            shutdown(c->fd, SHUT_RDWR);
    wait_until_gone(cs, grace_ms);
    n_cut = cs->n_admitted;
    for (struct http_connection *c = cs->first; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (cs->n)
        wait_until_gone(cs, EVICTION_MS);
    pthread_mutex_unlock(&cs->mutex);
    release(cs);
    return n_cut;
}
