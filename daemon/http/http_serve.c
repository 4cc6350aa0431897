/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a request, in its connection's thread:
 *
 *     serve_next     the head is complete and parsed
 *     serve_request  the endpoint is found, and the headers are checked
 *     read_body      well-framed pieces of the body go to libmicrohttpd
 *     keep_body      libmicrohttpd hands them to the request, which keeps them
 *                    unless it has failed
 *     answer         the request is complete: it is admitted, and waits for a
 *                    slot if it computes; its body is parsed; the endpoint runs
 *
 * libmicrohttpd then sends the reply (http_mhd.h).
 *
 * The body of a refused request is still read, up to DRAIN_BYTES, so that the
 * client gets the answer instead of a reset. A request that cannot be read as
 * HTTP is answered and ends its connection.
 */
#include "config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/http_private.h"
#include "daemon/http/request/http_cors.h"
#include "daemon/http/request/http_mhd.h"
#include "daemon/http/wire/http_coding.h"
#include "daemon/http/wire/http_stream.h"
#include "daemon/http/wire/http_tls.h"

#define DRAIN_BYTES ((size_t)16 << 20)

/* A connection, and the request that it serves now. */
struct session {
    struct http *h;
    struct http_connection *c;
    struct http_mhd *m;
    struct http_request rq;
    const struct http_endpoint *endpoint; /* NULL: the request has failed */
    uint64_t holder;                      /* of its slot */
};

/* --- the body ----------------------------------------------------------- */

static bool charge(void *arg, size_t n_bytes)
{
    return http_charge(arg, n_bytes);
}

static void fail_coding(struct http_request *rq)
{
    http_fail(rq, 400, "malformed_body", NULL,
              "the body is not compressed as Content-Encoding says");
}

static void decode(struct http_request *rq, const char *bytes, size_t n,
                   size_t max)
{
    const struct http_coding_limits limits = {max, charge, rq};

    switch (http_coding_decode(rq->coding, bytes, n, &limits, &rq->bytes)) {
    case HTTP_CODING_OK:
        break;
    case HTTP_CODING_TOO_LARGE:
        http_admit_too_large(rq);
        break;
    case HTTP_CODING_BAD:
        fail_coding(rq);
        break;
    case HTTP_CODING_NO_MEMORY: /* charge has failed the request */
        break;
    }
}

static void keep_body(void *arg, const char *bytes, size_t n)
{
    struct http_request *rq = &((struct session *)arg)->rq;
    size_t max = (size_t)rq->context->conf->http.max_body_bytes;

    if (rq->reply.status)
        return;
    if (rq->coding)
        decode(rq, bytes, n, max);
    else if (rq->bytes.len + n > max)
        http_admit_too_large(rq);
    else if (http_charge(rq, n * HTTP_BODY_GROWTH))
        buf_add(&rq->bytes, bytes, n);
    if (rq->reply.status) {
        http_coding_free(rq->coding);
        rq->coding = NULL;
        buf_release(&rq->bytes);
        http_connection_uncharge(rq->connection);
    }
}

/* Reads the body to its end. False: the connection is broken. */
static bool read_body(struct session *s)
{
    static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec part = {(void *)continue_line, sizeof continue_line - 1};
    struct http_request *rq = &s->rq;
    struct http_connection *c = s->c;
    size_t n_dropped = 0;
    struct http_body body;

    http_body_init(&body, rq->head);
    if (rq->head->expects_continue && c->n_used == c->in.len)
        http_connection_send(c, &part, 1);
    while (n_dropped <= DRAIN_BYTES) {
        const char *piece = NULL;
        size_t used, n = 0;
        enum http_body_step step =
            http_body_next(&body, c->in.data + c->n_used, c->in.len - c->n_used,
                           &used, &piece, &n);

        c->n_used += used;
        if (step == HTTP_BODY_END)
            return true;
        if (step == HTTP_BODY_BAD) {
            http_fail(rq, 400, "malformed_request", NULL,
                      "the body is not in chunks as RFC 9112 defines them");
            break;
        }
        if (rq->reply.status)
            n_dropped += n;
        else if (step == HTTP_BODY_PIECE && !http_mhd_body(s->m, piece, n))
            return false;
        if (step != HTTP_BODY_MORE || http_connection_read(c))
            continue;
        /* A client that closed only its sending side gets an answer. */
        if (http_connection_expired(c))
            http_fail(rq, 408, "timeout", NULL,
                      "the request was not complete in time");
        else
            http_fail(rq, 400, "malformed_request", NULL,
                      "the body ends before its length");
        break;
    }
    rq->reply.close = true;
    return true;
}

/* --- the answer --------------------------------------------------------- */

/* The wait for a slot, a minute at most, does not count for the time limit: the
 * limit begins again with the slot. */
static int get_slot(struct session *s, struct http_slots *slots,
                    struct err *err)
{
    struct http_cancel *c = &s->rq.cancel;
    struct cancel cancel = http_cancel_callback(c);
    struct status_board *board = s->h->context.board;
    int64_t began_ns = timing_mono_ns();
    int rc;

    http_cancel_begin(c, s->rq.rules, s->endpoint->path, s->c->fd);
    rc = http_slots_get(slots, s->holder, &cancel, err);
    histogram_add(&status_lock(board)->slot_seconds,
                  timing_seconds_since(began_ns));
    status_unlock(board);
    if (rc == 0)
        http_cancel_begin(c, s->rq.rules, s->endpoint->path, s->c->fd);
    c->computes = rc == 0;
    return rc;
}

/* A body is parsed only with a slot: parsing may take 80 times its memory. */
static void run_endpoint(struct session *s)
{
    struct http_request *rq = &s->rq;
    enum http_work work = s->endpoint->work;
    struct http_slots *slots = work == HTTP_COMPUTES    ? s->h->slots
                               : work == HTTP_GENERATES ? s->h->generators
                                                        : NULL;
    struct err err = ERR_INIT;
    int rc = slots ? get_slot(s, slots, &err) : 0;

    if (rc == ERR_LIMIT) {
        http_fail(rq, 429, "overloaded", NULL, "%s", err.msg);
        return;
    }
    if (rc == ERR_STATE) {
        http_fail(rq, 503, "stopping", NULL, "%s", err.msg);
        return;
    }
    if (rc) {
        http_fail_err(rq, &err);
        return;
    }
    if (s->endpoint->work == HTTP_TEXT || http_parse_body(rq))
        s->endpoint->run(rq);
    if (rq->reply.stream && strcmp(rq->head->method, "HEAD") != 0) {
        if (http_stream_start(rq->reply.stream, slots, s->holder))
            return; /* its writer puts the slot back */
        http_stream_free(rq->reply.stream);
        rq->reply.stream = NULL;
        http_fail(rq, 503, "unavailable", NULL, "cannot start a thread");
    }
    if (slots) {
        http_share_charge(rq->rules->share);
        http_slots_put(slots, s->holder);
    }
}

static void answer(void *arg)
{
    struct session *s = arg;
    struct http_request *rq = &s->rq;
    const char *why;

    if (!rq->reply.status && rq->coding &&
        (rq->head->chunked || rq->head->length) &&
        !http_coding_is_complete(rq->coding))
        fail_coding(rq);
    if (rq->reply.status)
        return;
    if (http_connection_admit(s->c, s->endpoint->work == HTTP_VITAL, &why)) {
        run_endpoint(s);
        rq->reply.close |= http_cancel_stopping(rq->rules);
        return;
    }
    http_fail(rq, 429, "too_many_connections", NULL, "%s", why);
    rq->reply.close = true;
}

/* --- a request ---------------------------------------------------------- */

/* Takes the client's id over, or makes one. An id is written to the log and to
 * a header, so it has only characters that are harmless there. */
static void set_id(struct http_request *rq)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789-_.:/+=@~";
    static _Atomic uint64_t made;
    const char *given =
        rq->head ? http_head_field(rq->head, "X-Request-Id") : NULL;
    size_t n = given ? strlen(given) : 0;
    uint64_t bytes[2];

    if (n >= 1 && n <= HTTP_MAX_ID && strspn(given, good) == n) {
        memcpy(rq->id, given, n + 1);
        return;
    }
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != sizeof bytes) {
        bytes[0] = (uint64_t)timing_wall_ms();
        bytes[1] = atomic_fetch_add(&made, 1);
    }
    snprintf(rq->id, sizeof rq->id, "%016llx%016llx",
             (unsigned long long)bytes[0], (unsigned long long)bytes[1]);
}

/* Serves a request whose head is parsed. False: the connection has ended. */
static bool serve_request(struct session *s)
{
    struct http_request *rq = &s->rq;
    const struct http_head *head = rq->head;
    bool has_body = head->chunked || head->length;
    int64_t started_ns = timing_mono_ns();
    bool keep_open = true;

    s->endpoint = NULL;
    s->holder = 0;
    if (!http_cors_preflight(rq)) {
        s->endpoint = http_endpoints_find(rq);
        s->holder = http_admit(s->h, rq, s->endpoint);
    }
    rq->reply.close |= !head->keep_alive;
    if (rq->reply.status &&
        (head->expects_continue || head->length > DRAIN_BYTES)) {
        rq->reply.close = true;
        has_body = false;
    }
    http_mhd_begin(s->m, rq, has_body);
    if (has_body)
        keep_open = read_body(s);
    keep_open = keep_open && http_mhd_end(s->m) && !rq->reply.close;
    status_count_reply(s->h->context.board,
                       s->endpoint ? s->endpoint->path : NULL,
                       s->endpoint ? s->endpoint->method : NULL,
                       rq->reply.status, timing_seconds_since(started_ns));
    log_debug("request", "id=%s method=%s path=\"%s\" status=%d", rq->id,
              head->method, head->path, rq->reply.status);
    http_request_release(rq);
    if (keep_open)
        http_connection_set_phase(s->c, HTTP_IDLE);
    else if (rq->reply.status >= 400 || s->c->n_used < s->c->in.len)
        http_connection_linger(s->c);
    return keep_open;
}

/* Answers a request that cannot be read as HTTP. */
static void refuse(struct session *s, const struct http_refusal *why)
{
    http_fail(&s->rq, why->status, why->code, NULL, "%s", why->message);
    s->rq.reply.close = true;
    http_mhd_begin(s->m, &s->rq, false);
    http_mhd_end(s->m);
    http_request_release(&s->rq);
    http_connection_linger(s->c);
}

/* Serves the next request. False: the connection has ended. */
static bool serve_next(struct session *s)
{
    struct http_mhd_handlers handlers = {keep_body, answer, s};
    struct http_connection *c = s->c;
    struct http_refusal why;
    struct err err = ERR_INIT;
    struct http_head head;
    char *bytes = NULL; /* a copy: c->in moves when more bytes arrive */
    bool keep_open = false;
    size_t n;
    int rc = http_connection_read_head(c, &n, &why);

    if (rc == 0)
        return false;
    if (!s->m && http_mhd_create(c, &handlers, &s->m, &err) != 0) {
        log_warn("http", "result=\"a connection is closed: %s\"", err.msg);
        return false;
    }
    s->rq = (struct http_request){.context = &s->h->context,
                                  .rules = &s->h->rules,
                                  .events = s->h->events,
                                  .series = s->h->series,
                                  .connection = c};
    if (rc > 0) {
        bytes = xmalloc(n + 1);
        memcpy(bytes, c->in.data + c->n_used, n);
        c->n_used += n;
        s->rq.head = &head;
    }
    if (bytes && http_head_parse(bytes, n, &head, &why)) {
        set_id(&s->rq);
        keep_open = serve_request(s);
    } else {
        refuse(s, &why);
    }
    free(bytes);
    return keep_open;
}

/* Begins TLS, when it is configured. */
static bool secure(struct session *s)
{
    struct http_tls_session *tls = NULL;
    bool is_plain;

    pthread_mutex_lock(&s->h->mutex); /* a reload may free h->tls */
    is_plain = !s->h->tls || s->c->origin != HTTP_FROM_LISTEN;
    if (!is_plain)
        tls = http_tls_session_create(s->h->tls, s->c->fd);
    pthread_mutex_unlock(&s->h->mutex);
    return is_plain || (tls && http_connection_secure(s->c, tls));
}

void http_serve(void *arg, struct http_connection *c)
{
    struct session s = {.h = arg, .c = c};

    if (!secure(&s))
        return;
    while (serve_next(&s))
        ;
    http_mhd_free(s.m);
}
