/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a request, in its connection's thread:
 *
 *     begin    headers are there: http_admit
 *     take     a piece of the body; kept only when nothing is wrong so far
 *     answer   the body is complete: a place when it computes, the endpoint
 *     send     the reply: http_send
 *
 * A request that is refused is still read to its end, up to a limit, so that
 * the client gets to see the answer instead of a reset.
 */
#include "config.h"

#include "daemon/http.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http_private.h"
#include "daemon/http_stream.h"
#include "daemon/options.h"

#define MOST_WAITING 64      /* in line for a place to compute */
#define SPARE_CONNECTIONS 16 /* beyond the limit, to say so */
#define HEADER_BYTES 32768
#define LAST_WORDS_MS 2000 /* for what is cancelled to be sent */

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

/* --- a request ---------------------------------------------------------- */

static struct http_request *begin(struct http *h,
                                  struct MHD_Connection *connection,
                                  const char *path, const char *method)
{
    struct http_request *rq = xcalloc(1, sizeof *rq);

    rq->http = h;
    rq->context = &h->context;
    rq->connection = connection;
    http_admit(rq, path, method);
    return rq;
}

static enum MHD_Result take(struct http_request *rq, const char *bytes,
                            size_t n)
{
    size_t most = (size_t)rq->context->conf->http.max_body_bytes;

    if (!rq->reply.status && rq->bytes.len + n > most) {
        buf_release(&rq->bytes);
        http_admit_too_large(rq);
    }
    if (!rq->reply.status) {
        buf_add(&rq->bytes, bytes, n);
        return MHD_YES;
    }
    rq->n_dropped += n;
    return rq->n_dropped > HTTP_ADMIT_DRAIN_BYTES ? MHD_NO : MHD_YES;
}

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

/* The client's socket. What stands between it and us hands a hang-up on. */
static int client_fd(struct http_request *rq)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        rq->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

/* A place in line, which is asked for at most a minute, and then work, which
 * has its time from here on. */
static int take_place(struct http_request *rq, struct err *err)
{
    struct http *h = rq->http;
    int fd = client_fd(rq);
    struct cancel cancel = http_cancel_question(&rq->cancel);
    int rc;

    http_cancel_begin(&rq->cancel, &h->rules, rq->route->path, fd);
    rc = http_places_take(h->places, rq->holder, &cancel, err);
    if (rc == 0)
        http_cancel_begin(&rq->cancel, &h->rules, rq->route->path, fd);
    return rc;
}

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
        rq->route->endpoint(rq);
        if (rq->reply.stream)
            start_stream(rq, computes);
        else if (computes)
            http_places_give(rq->http->places, rq->holder);
    }
}

/* An answer is under way, which http_stop waits for. */
static void begin_answer(struct http_request *rq)
{
    struct http *h = rq->http;

    pthread_mutex_lock(&h->mutex);
    rq->answering = !h->stopping;
    h->n_answering += rq->answering;
    pthread_mutex_unlock(&h->mutex);
}

static void end_answer(struct http_request *rq)
{
    struct http *h = rq->http;

    if (!rq->answering)
        return;
    pthread_mutex_lock(&h->mutex);
    if (--h->n_answering == 0)
        pthread_cond_signal(&h->answered);
    pthread_mutex_unlock(&h->mutex);
}

static void answer(struct http_request *rq)
{
    begin_answer(rq);
    http_connections_set(rq->http->connections, rq->connection, HTTP_COMPUTING);
    if (!rq->reply.status && http_parse_body(rq))
        run_endpoint(rq);
    if (http_closed(rq->http))
        rq->reply.close = true;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
                                  const char *path, const char *method,
                                  const char *protocol, const char *bytes,
                                  size_t *n, void **context)
{
    struct http_request *rq = *context;
    enum MHD_Result rc;

    (void)protocol;
    if (!rq) {
        rq = begin(arg, connection, path, method);
        *context = rq;
        return http_admit_ends(rq) ? http_send(rq) : MHD_YES;
    }
    if (*n) {
        rc = take(rq, bytes, *n);
        *n = 0;
        return rc;
    }
    answer(rq);
    return http_send(rq);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **context, enum MHD_RequestTerminationCode code)
{
    struct http_request *rq = *context;

    (void)code;
    if (!rq)
        return;
    http_connections_set(arg, connection, HTTP_IDLE);
    json_decref(rq->body);
    json_decref(rq->reply.json);
    http_stream_free(rq->reply.stream);
    buf_release(&rq->reply.text);
    buf_release(&rq->bytes);
    end_answer(rq);
    free(rq);
    *context = NULL;
}

/* --- starting and stopping ---------------------------------------------- */

static int start_daemon(struct http *h, int fd, struct err *err)
{
    const struct conf_http *conf = &h->context.conf->http;

    h->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
            MHD_USE_POLL | MHD_USE_ITC,
        0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)conf->max_connections + SPARE_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, HTTP_INACTIVE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION,
        http_connections_notify, h->connections, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, h->connections, MHD_OPTION_URI_LOG_CALLBACK,
        http_connections_asked, h->connections, MHD_OPTION_END);
    if (h->daemon)
        return 0;
    return err_set(err, ERR_IO, "http.listen: %s: the server does not start",
                   conf->listen);
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
    pthread_cond_init(&h->answered, NULL);
    h->events = api_events_watch(context->board);
    h->places = http_places_create(options_cores(), MOST_WAITING);
    h->connections = http_connections_create();
    return h;
}

int http_start(const struct http_context *context, struct http **http,
               struct err *err)
{
    const struct conf_http *conf = &context->conf->http;
    struct http *h = create(context);
    int fd = -1;
    int rc = http_tokens_load(conf->token_file, &h->tokens, err);

    if (rc == 0)
        rc = http_listen(conf, &fd, &h->address, err);
    if (rc == 0 && conf->listen_kind == CONF_LISTEN_UNIX)
        h->socket_path = xstrdup(conf->listen_host);
    if (rc == 0)
        rc = start_daemon(h, fd, err);
    if (rc == 0) {
        http_connections_start(h->connections);
        rc = write_address(h, err);
    }
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
static void wait_for_answers(struct http *h)
{
    int64_t left_ms = atomic_load(&h->rules.stop_ms) - timing_mono_ms();
    struct timespec deadline =
        timing_deadline((left_ms > 0 ? left_ms : 0) + LAST_WORDS_MS);
    int rc = 0;

    pthread_mutex_lock(&h->mutex);
    h->stopping = true;
    while (h->n_answering && rc == 0)
        rc = timing_wait(&h->answered, &h->mutex, &deadline);
    if (h->n_answering)
        log_warn("http",
                 "result=\"%d answers were not taken by their clients "
                 "in time, and are cut short\"",
                 h->n_answering);
    pthread_mutex_unlock(&h->mutex);
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    http_close(h);
    event_log_stop(h->events);
    wait_for_answers(h);
    http_connections_stop(h->connections);
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    remove_files(h);
    http_places_free(h->places);
    http_connections_free(h->connections);
    http_tokens_free(h->tokens);
    event_log_free(h->events);
    pthread_cond_destroy(&h->answered);
    pthread_mutex_destroy(&h->mutex);
    free(h->address);
    free(h->address_path);
    free(h->socket_path);
    free(h);
}
