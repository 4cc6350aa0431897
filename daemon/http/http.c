/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a request, in its connection's thread:
 *
 *     serve_request      the head is there: http_admit
 *     read_body          what is framed well goes on to libmicrohttpd
 *     http_take          it is kept only when nothing is wrong so far
 *     http_answer_whole  the request is whole: a place among
 *                        http.max_connections; a place to compute if it needs
 *                        one; the body is parsed; the endpoint
 *     http_send          the reply
 *
 * A request that is refused is still read to its end, up to a limit, so that
 * the client gets to see the answer instead of a reset. What cannot be read as
 * HTTP is answered, and ends its connection.
 */
#include "config.h"

#include "daemon/http/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/http_mhd.h"
#include "daemon/http/http_private.h"
#include "daemon/http/http_stream.h"
#include "daemon/train/options.h"

#define MOST_WAITING 64    /* in line for a place to compute */
#define LAST_WORDS_MS 2000 /* for what is cancelled to be sent */
#define OTHER_FILES 256    /* of the store, the source and libraries */
#define BODY_GROWTH 2      /* of memory for a byte: buffers grow by doubling */

bool http_closed(const struct http *h)
{
    return atomic_load(&h->rules.stop_ms) != 0;
}

struct event_log *http_events(const struct http *h)
{
    return h->events;
}

void http_metrics(const struct http *h, struct buf *out)
{
    http_cancel_metrics(&h->rules, out);
}

/* --- the body ----------------------------------------------------------- */

void http_take(struct http_request *rq, const char *bytes, size_t n)
{
    size_t most = (size_t)rq->context->conf->http.max_body_bytes;

    if (rq->reply.status)
        return;
    if (rq->bytes.len + n > most)
        http_admit_too_large(rq);
    else if (!http_connection_hold(rq->connection, n * BODY_GROWTH))
        http_fail(rq, 429, "overloaded", NULL,
                  "the bodies of all requests take too much memory; try again");
    else
        buf_add(&rq->bytes, bytes, n);
    if (rq->reply.status) {
        buf_release(&rq->bytes);
        http_connection_let_go(rq->connection);
    }
}

/* No more bytes come. A client that is still there is told why. */
static void cut_short(struct http_request *rq)
{
    if (http_connection_expired(rq->connection))
        http_fail(rq, 408, "timeout", NULL,
                  "the request was not complete in time");
    else
        http_fail(rq, 400, "malformed_request", NULL,
                  "the body ends before its length");
    rq->reply.close = true;
}

/* False: the connection is of no more use. */
static bool read_body(struct http_request *rq)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec part = {(void *)go_on, sizeof go_on - 1};
    struct http_connection *c = rq->connection;
    enum http_body_step step = HTTP_BODY_MORE;
    size_t n_dropped = 0;
    struct http_body body;

    http_body_init(&body, rq->head);
    if (rq->head->expects && c->at == c->in.len)
        http_connection_send(c, &part, 1);
    for (;;) {
        const char *piece = NULL;
        size_t used, n = 0;

        step = http_body_next(&body, c->in.data + c->at, c->in.len - c->at,
                              &used, &piece, &n);
        c->at += used;
        if (step == HTTP_BODY_END)
            return true;
        if (step == HTTP_BODY_BAD) {
            http_fail(rq, 400, "malformed_request", NULL,
                      "the body is not in chunks as RFC 9112 has them");
            rq->reply.close = true;
            return true;
        }
        if (rq->reply.status)
            n_dropped += n;
        else if (step == HTTP_BODY_PIECE && !http_mhd_body(rq->mhd, piece, n))
            return false;
        if (n_dropped > HTTP_ADMIT_DRAIN_BYTES) {
            rq->reply.close = true;
            return true;
        }
        if (step == HTTP_BODY_MORE && !http_connection_fill(c)) {
            cut_short(rq);
            return true;
        }
    }
}

/* --- the answer --------------------------------------------------------- */

/* A stream that computes has its place until its writer is done. */
struct place {
    struct http_places *places;
    uint64_t holder;
};

static void give_place(void *arg)
{
    struct place *p = arg;

    http_places_give(p->places, p->holder);
    free(p);
}

static void give_nothing(void *arg)
{
    (void)arg;
}

/* A stream's writer begins; at its end it gives back the place that it has. */
static void start_stream(struct http_request *rq, bool computes)
{
    void (*at_end)(void *arg) = computes ? give_place : give_nothing;
    struct place *place = NULL;

    if (computes) {
        place = xcalloc(1, sizeof *place);
        *place = (struct place){rq->http->places, rq->holder};
    }
    if (http_stream_start(rq->reply.stream, at_end, place))
        return;
    at_end(place);
    http_stream_free(rq->reply.stream);
    rq->reply.stream = NULL;
    http_fail(rq, 503, "unavailable", NULL, "cannot start a thread");
}

/* A place in line, which is asked for at most a minute, and then work, which
 * has its time from here on. */
static int take_place(struct http_request *rq, struct err *err)
{
    struct http *h = rq->http;
    int fd = rq->connection->fd;
    struct cancel cancel = http_cancel_question(&rq->cancel);
    int rc;

    http_cancel_begin(&rq->cancel, &h->rules, rq->route->path, fd);
    rc = http_places_take(h->places, rq->holder, &cancel, err);
    if (rc == 0)
        http_cancel_begin(&rq->cancel, &h->rules, rq->route->path, fd);
    return rc;
}

/* The place comes first: a body takes many times its size when it is parsed. */
static void run_endpoint(struct http_request *rq)
{
    bool computes = rq->route->computes;
    struct err err = ERR_INIT;
    int rc = computes ? take_place(rq, &err) : 0;

    if (rc == ERR_LIMIT) {
        http_fail(rq, 429, "overloaded", NULL, "%s", err.msg);
    } else if (rc == ERR_STATE) {
        http_fail(rq, 503, "stopping", NULL, "%s", err.msg);
    } else if (rc) {
        http_fail_err(rq, &err);
    } else {
        if (http_parse_body(rq))
            rq->route->endpoint(rq);
        if (rq->reply.stream && strcmp(rq->head->method, "HEAD") != 0)
            start_stream(rq, computes);
        else if (computes)
            http_places_give(rq->http->places, rq->holder);
    }
}

void http_answer_whole(struct http_request *rq)
{
    const char *why;

    if (rq->reply.status)
        return;
    if (http_connection_admit(rq->connection, http_admit_reserved(rq->route),
                              &why)) {
        run_endpoint(rq);
        rq->reply.close |= http_closed(rq->http);
        return;
    }
    http_fail(rq, 429, "too_many_connections", NULL, "%s", why);
    rq->reply.close = true;
}

/* --- a request ---------------------------------------------------------- */

/* What cannot be read as HTTP. */
static void refuse(struct http *h, struct http_connection *c,
                   struct http_mhd *m, const struct http_head *head,
                   const struct http_refusal *why)
{
    struct http_request rq = {.http = h, .context = &h->context,
                              .connection = c, .head = head};

    http_fail(&rq, why->status, why->code, NULL, "%s", why->message);
    rq.reply.close = true;
    http_mhd_begin(m, &rq, false);
    http_mhd_end(m);
    json_decref(rq.reply.json);
    http_connection_linger(c);
}

static void release(struct http_request *rq)
{
    json_decref(rq->body);
    json_decref(rq->reply.json);
    http_stream_free(rq->reply.stream);
    buf_release(&rq->reply.text);
    buf_release(&rq->bytes);
    http_connection_let_go(rq->connection);
}

/* False: the connection has ended. */
static bool serve_request(struct http *h, struct http_connection *c,
                          struct http_mhd *m, const struct http_head *head)
{
    struct http_request rq = {.http = h, .context = &h->context,
                              .connection = c, .head = head};
    bool has_body = head->chunked || head->length;
    bool goes_on = true;

    http_admit(&rq);
    rq.reply.close |= !head->keeps;
    if (rq.reply.status &&
        (head->expects || head->length > HTTP_ADMIT_DRAIN_BYTES)) {
        rq.reply.close = true;
        has_body = false;
    }
    http_mhd_begin(m, &rq, has_body);
    if (has_body)
        goes_on = read_body(&rq);
    goes_on = goes_on && http_mhd_end(m) && !rq.reply.close;
    release(&rq);
    if (goes_on)
        http_connection_set(c, HTTP_IDLE);
    else if (rq.reply.status >= 400 || c->at < c->in.len)
        http_connection_linger(c);
    return goes_on;
}

/* The next request on c. False: the connection has ended. */
static bool serve_next(struct http *h, struct http_connection *c,
                       struct http_mhd **m)
{
    struct http_refusal why;
    struct err err = ERR_INIT;
    struct http_head head;
    char *bytes = NULL; /* those in c->in move when more come */
    bool goes_on = false;
    size_t n;
    int rc = http_connection_head(c, &n, &why);

    if (rc == 0)
        return false;
    if (!*m && http_mhd_create(c, m, &err) != 0) {
        log_warn("http", "result=\"a connection is closed: %s\"", err.msg);
        return false;
    }
    if (rc > 0) {
        bytes = xmalloc(n + 1);
        memcpy(bytes, c->in.data + c->at, n);
        c->at += n;
    }
    if (bytes && http_head_parse(bytes, n, &head, &why))
        goes_on = serve_request(h, c, *m, &head);
    else
        refuse(h, c, *m, bytes ? &head : NULL, &why);
    free(bytes);
    return goes_on;
}

static void serve(void *arg, struct http_connection *c)
{
    struct http_mhd *m = NULL;

    while (serve_next(arg, c, &m))
        ;
    http_mhd_free(m);
}

/* --- starting and stopping ---------------------------------------------- */

/*
 * A process without a free descriptor cannot publish. So the start raises the
 * limit to the descriptors of all connections and of the other parts. It fails
 * when the hard limit is lower.
 */
static int raise_descriptors(const struct conf_http *conf, struct err *err)
{
    rlim_t most = (rlim_t)http_connections_descriptors(
                      (int)conf->max_connections) + OTHER_FILES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_set_errno(err, ERR_IO, errno, "RLIMIT_NOFILE");
    if (limit.rlim_cur >= most)
        return 0;
    if (limit.rlim_max < most)
        return err_set(err, ERR_LIMIT,
                       "http.max_connections: %lld connections need %llu open "
                       "files, and the system's limit is %llu: lower "
                       "http.max_connections, or raise the limit (ulimit -Hn, "
                       "LimitNOFILE)",
                       (long long)conf->max_connections,
                       (unsigned long long)most,
                       (unsigned long long)limit.rlim_max);
    limit.rlim_cur = most;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_set_errno(err, ERR_IO, errno, "RLIMIT_NOFILE");
    return 0;
}

static int start_connections(struct http *h, int fd, struct err *err)
{
    struct http_connections_options o = {
        .listen_fd = fd,
        .most = (int)h->context.conf->http.max_connections,
        .most_bytes = options_http_bytes(h->context.conf),
        .serve = serve,
        .arg = h,
    };

    return http_connections_start(&o, &h->connections, err);
}

static int write_address(struct http *h, struct err *err)
{
    char *line = xasprintf("%s\n", h->address);
    int rc;

    h->address_path = fileio_join(h->context.conf->data_dir, "http.addr");
    rc = fileio_write_atomic(h->address_path, line, strlen(line), err);
    free(line);
    return rc;
}

static struct http *create(const struct http_context *context)
{
    struct http *h = xcalloc(1, sizeof *h);

    h->context = *context;
    h->rules.most_seconds = context->conf->http.max_request_seconds;
    pthread_mutex_init(&h->mutex, NULL);
    h->events = api_events_watch(context->board);
    h->places = http_places_create(options_cores(), MOST_WAITING);
    return h;
}

int http_start(const struct http_context *context, struct http **http,
               struct err *err)
{
    const struct conf_http *conf = &context->conf->http;
    struct http *h = create(context);
    int fd = -1;
    int rc = raise_descriptors(conf, err);

    if (rc == 0)
        rc = http_tokens_load(conf->token_file, &h->tokens, err);
    if (rc == 0)
        rc = http_listen(conf, &fd, &h->address, err);
    if (rc == 0 && conf->listen_kind == CONF_LISTEN_UNIX)
        h->socket_path = xstrdup(conf->listen_host);
    if (rc == 0)
        rc = start_connections(h, fd, err);
    if (rc == 0)
        rc = write_address(h, err);
    if (rc) {
        http_stop(h);
        return rc;
    }
    *http = h;
    return 0;
}

const char *http_address(const struct http *h)
{
    return h->address;
}

int http_reload(struct http *h, struct err *err)
{
    struct http_tokens *tokens = NULL, *old;
    int rc = http_tokens_load(h->context.conf->http.token_file, &tokens, err);

    if (rc)
        return rc;
    pthread_mutex_lock(&h->mutex);
    old = h->tokens;
    h->tokens = tokens;
    pthread_mutex_unlock(&h->mutex);
    http_tokens_free(old);
    return 0;
}

static void remove_files(const struct http *h)
{
    if (h->address_path)
        unlink(h->address_path);
    if (h->socket_path)
        unlink(h->socket_path);
}

void http_close(struct http *h)
{
    long long open = 0;

    if (!h)
        return;
    atomic_compare_exchange_strong(
        &h->rules.stop_ms, &open, timing_mono_ms() + HTTP_GRACE_SECONDS * 1000);
    http_places_close(h->places);
}

/* Streams of events end when the log does; what computes, when its grace is
 * over; and last words are sent. */
static void stop_connections(struct http *h)
{
    int64_t left_ms = atomic_load(&h->rules.stop_ms) - timing_mono_ms();
    int n_cut;

    event_log_stop(h->events);
    n_cut = http_connections_stop(h->connections,
                                  (left_ms > 0 ? left_ms : 0) + LAST_WORDS_MS);
    if (n_cut)
        log_warn("http",
                 "result=\"%d answers were not taken by their clients "
                 "in time, and are cut short\"",
                 n_cut);
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    http_close(h);
    stop_connections(h);
    remove_files(h);
    http_places_free(h->places);
    http_tokens_free(h->tokens);
    event_log_free(h->events);
    pthread_mutex_destroy(&h->mutex);
    free(h->address);
    free(h->address_path);
    free(h->socket_path);
    free(h);
}
