/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a request, in its connection's thread:
 *
 *     begin    headers are there: framing, path, method, token, length
 *     take     a piece of the body; kept only when nothing is wrong so far
 *     answer   the body is complete: a place when it computes, the endpoint
 *     send     the reply, as a body or as a stream of events
 *
 * A request that is refused is still read to its end, up to a limit, so that
 * the client gets to see the answer instead of a reset.
 *
 * libmicrohttpd's own timeout is one of inactivity, which a byte now and then
 * satisfies. So every connection has a deadline of ours as well, and a thread,
 * the reaper, shuts down those that have passed it:
 *
 *     opened, or a request line seen  ->  READ_MS to be complete
 *     answered                        ->  WRITE_MS to be taken; a stream: none
 *     sent                            ->  IDLE_MS to the next request
 */
#include "config.h"

#include "daemon/http.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/api_text.h"
#include "daemon/http_impl.h"
#include "daemon/http_stream.h"
#include "daemon/options.h"

#define READ_MS 30000
#define WRITE_MS 600000
#define IDLE_MS 60000
#define INACTIVE_SECONDS 30u
#define REAP_MS 500
#define MOST_WAITING 64 /* in line for a place to compute */
#define SPARE_CONNECTIONS 16 /* beyond the limit, to say so */
#define HEADER_BYTES 32768
#define DRAIN_BYTES ((size_t)16 << 20) /* of a body that is refused */
#define STREAM_BLOCK 4096
#define NO_DEADLINE INT64_MAX

struct connection {
    struct connection *next, *previous;
    int fd;
    int64_t deadline_ms; /* monotonic */
};

struct http {
    struct http_context context;
    struct MHD_Daemon *daemon;
    struct http_places *places;
    char *address;
    char *address_path; /* data_dir/http.addr */
    char *socket_path;  /* of a unix socket, or NULL */
    atomic_bool stopping;
    atomic_int n_connections;
    bool reaping;
    pthread_t reaper;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t stop;
    struct connection *connections;
    struct http_tokens *tokens;
};

bool http_stopping(const struct http *h)
{
    return atomic_load(&h->stopping);
}

/* --- paths -------------------------------------------------------------- */

enum { COMPUTES = 1 };

struct http_route {
    const char *method;
    const char *path; /* {} stands for one part */
    http_endpoint *endpoint;
    enum http_scope scope;
    int flags;
};

static const struct http_route routes[] = {
    {"GET", "/", api_dashboard, HTTP_OPEN, 0},
    {"GET", "/healthz", api_healthz, HTTP_OPEN, 0},
    {"GET", "/readyz", api_readyz, HTTP_OPEN, 0},
    {"GET", "/metrics", api_metrics, HTTP_INFER, 0},
    {"GET", "/v1/status", api_status, HTTP_INFER, 0},
    {"GET", "/v1/domains", api_domains, HTTP_INFER, 0},
    {"GET", "/v1/history", api_history, HTTP_INFER, 0},
    {"GET", "/v1/events", api_events, HTTP_INFER, 0},
    {"GET", "/v1/versions", api_versions, HTTP_INFER, 0},
    {"GET", "/v1/versions/{}", api_version, HTTP_INFER, 0},
    {"POST", "/v1/versions/{}/pin", api_pin, HTTP_ADMIN, 0},
    {"POST", "/v1/versions/{}/unpin", api_unpin, HTTP_ADMIN, 0},
    {"POST", "/v1/versions/{}/promote", api_promote, HTTP_ADMIN, 0},
    {"POST", "/v1/rollback", api_rollback, HTTP_ADMIN, 0},
    {"GET", "/v1/operations/{}", api_operation, HTTP_INFER, 0},
    {"GET", "/v1/models", api_models, HTTP_INFER, 0},
    {"GET", "/v1/models/{}", api_model, HTTP_INFER, 0},
    {"POST", "/v1/completions", api_completions, HTTP_INFER, COMPUTES},
    {"POST", "/v1/chat/completions", api_chat_completions, HTTP_INFER,
     COMPUTES},
    {"POST", "/v1/score", api_score, HTTP_INFER, COMPUTES},
    {"POST", "/v1/classify", api_classify, HTTP_INFER, COMPUTES},
    {"POST", "/v1/embeddings", api_embeddings, HTTP_INFER, COMPUTES},
    {"POST", "/tokenize", api_tokenize, HTTP_INFER, COMPUTES},
    {"POST", "/detokenize", api_detokenize, HTTP_INFER, COMPUTES},
    {"GET", "/tokenizer_info", api_tokenizer_info, HTTP_INFER, 0},
};

/* Does path fit the pattern? Then *argument holds what {} stands for. */
static bool fits(const char *pattern, const char *path, char *argument)
{
    const char *hole = strstr(pattern, "{}");
    size_t n;

    if (!hole)
        return strcmp(pattern, path) == 0;
    n = (size_t)(hole - pattern);
    if (strncmp(pattern, path, n) != 0)
        return false;
    path += n;
    n = strcspn(path, "/");
    if (n == 0 || n >= HTTP_MAX_ARGUMENT || strcmp(path + n, hole + 2) != 0)
        return false;
    memcpy(argument, path, n);
    argument[n] = '\0';
    return true;
}

static void find_route(struct http_request *rq, const char *path,
                       const char *method)
{
    const char *allow = NULL;

    if (!strcmp(method, "HEAD"))
        method = "GET";
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!fits(routes[i].path, path, rq->argument))
            continue;
        allow = routes[i].method;
        if (strcmp(method, allow) != 0)
            continue;
        rq->route = &routes[i];
        return;
    }
    if (!allow) {
        http_fail(rq, 404, "unknown_path", NULL, "no such path: %s", path);
        return;
    }
    http_fail(rq, 405, "method_not_allowed", NULL, "%s is asked with %s",
              path, allow);
    rq->reply.allow = allow;
}

/* --- who may ask -------------------------------------------------------- */

static const char *header(struct http_request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->connection, MHD_HEADER_KIND, name);
}

/* "localhost", an address, or what ends in .localhost: a name that no page on
 * the net can make point here. */
static bool is_local_name(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");

    if (host[0] == '[' || strspn(host, "0123456789.") == n)
        return true;
    return (n == 9 && !strncasecmp(host, "localhost", 9)) ||
           (n > 10 && !strncasecmp(host + n - 10, ".localhost", 10));
}

/*
 * Without tokens, whoever reaches the address may do everything; a browser on
 * this machine reaches it too, on behalf of any page. Pages give themselves
 * away by their origin, or by the name that they made point here.
 */
static bool check_origin(struct http_request *rq)
{
    const char *origin = header(rq, "Origin"), *host = header(rq, "Host");
    const char *name = origin ? strstr(origin, "://") : NULL;

    if (origin && (!name || !host || strcasecmp(name + 3, host) != 0)) {
        http_fail(rq, 403, "foreign_origin", NULL,
                  "a page of another origin may not ask this daemon");
        return false;
    }
    if (host && rq->context->conf->http.listen_kind == CONF_LISTEN_TCP &&
        !is_local_name(host)) {
        http_fail(rq, 403, "foreign_host", NULL,
                  "asked under a name that is not localhost or an address; "
                  "set http.token_file to allow any");
        return false;
    }
    return true;
}

static void check_token(struct http_request *rq)
{
    struct http *h = rq->http;
    enum http_scope scope;
    bool needed;

    if (!rq->route || rq->route->scope == HTTP_OPEN)
        return;
    pthread_mutex_lock(&h->mutex);
    scope = http_tokens_check(h->tokens, header(rq, "Authorization"));
    needed = http_tokens_needed(h->tokens);
    pthread_mutex_unlock(&h->mutex);
    if (!needed)
        check_origin(rq);
    else if (scope == HTTP_OPEN)
        http_fail(rq, 401, "invalid_token", NULL,
                  "a token is needed: Authorization: Bearer TOKEN");
    else if (scope < rq->route->scope)
        http_fail(rq, 403, "scope", NULL, "an admin token is needed");
}

/* --- framing ------------------------------------------------------------ */

struct framing {
    int lengths, encodings;
};

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind,
                                    const char *key, const char *value)
{
    struct framing *f = arg;

    (void)kind;
    (void)value;
    f->lengths += !strcasecmp(key, MHD_HTTP_HEADER_CONTENT_LENGTH);
    f->encodings += !strcasecmp(key, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    return MHD_YES;
}

/* Two readers of the same bytes must not see two different requests. */
static bool check_framing(struct http_request *rq)
{
    struct framing f = {0, 0};

    MHD_get_connection_values(rq->connection, MHD_HEADER_KIND, count_header,
                              &f);
    if (f.lengths + f.encodings <= 1)
        return true;
    http_fail(rq, 400, "ambiguous_length", NULL,
              "one Content-Length or one Transfer-Encoding, not more");
    rq->reply.close = true;
    return false;
}

static void too_large(struct http_request *rq)
{
    http_fail(rq, 413, "too_large", NULL,
              "the body is larger than http.max_body_bytes, %lld",
              (long long)rq->context->conf->http.max_body_bytes);
}

/* The length that the client announces, 0 when it does not. */
static uint64_t announced(struct http_request *rq)
{
    const char *length = header(rq, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length ? strtoull(length, NULL, 10) : 0;
}

static void check_length(struct http_request *rq)
{
    if (announced(rq) > (uint64_t)rq->context->conf->http.max_body_bytes)
        too_large(rq);
}

static void check_crowd(struct http_request *rq)
{
    int64_t most = rq->context->conf->http.max_connections;

    if (atomic_load(&rq->http->n_connections) <= most)
        return;
    http_fail(rq, 429, "too_many_connections", NULL,
              "more than %lld connections are open", (long long)most);
    rq->reply.close = true;
}

/* --- connections and their deadlines ------------------------------------ */

static void set_deadline(struct http *h, struct MHD_Connection *connection,
                         int64_t ms, bool only_sooner)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    int64_t deadline =
        ms == NO_DEADLINE ? NO_DEADLINE : timing_mono_ms() + ms;

    if (!c)
        return;
    pthread_mutex_lock(&h->mutex);
    if (!only_sooner || deadline < c->deadline_ms)
        c->deadline_ms = deadline;
    pthread_mutex_unlock(&h->mutex);
}

static void open_connection(struct http *h, int fd, void **context)
{
    struct connection *c = xcalloc(1, sizeof *c);

    c->fd = fd;
    c->deadline_ms = timing_mono_ms() + READ_MS;
    pthread_mutex_lock(&h->mutex);
    c->next = h->connections;
    if (c->next)
        c->next->previous = c;
    h->connections = c;
    pthread_mutex_unlock(&h->mutex);
    atomic_fetch_add(&h->n_connections, 1);
    *context = c;
}

static void close_connection(struct http *h, struct connection *c)
{
    pthread_mutex_lock(&h->mutex);
    if (c->previous)
        c->previous->next = c->next;
    else
        h->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    pthread_mutex_unlock(&h->mutex);
    atomic_fetch_sub(&h->n_connections, 1);
    free(c);
}

/* Called before the socket is closed: the reaper never meets another's. */
static void on_connection(void *arg, struct MHD_Connection *connection,
                          void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        info = MHD_get_connection_info(connection,
                                       MHD_CONNECTION_INFO_CONNECTION_FD);
        open_connection(arg, info ? info->connect_fd : -1, context);
    } else if (*context) {
        close_connection(arg, *context);
        *context = NULL;
    }
}

static void *on_request_line(void *arg, const char *uri,
                             struct MHD_Connection *connection)
{
    (void)uri;
    set_deadline(arg, connection, READ_MS, true);
    return NULL;
}

static void *reap(void *arg)
{
    struct http *h = arg;

    pthread_mutex_lock(&h->mutex);
    while (!http_stopping(h)) {
        struct timespec until = timing_deadline(REAP_MS);
        int64_t now = timing_mono_ms();

        for (struct connection *c = h->connections; c; c = c->next)
            if (c->deadline_ms < now)
                shutdown(c->fd, SHUT_RDWR);
        pthread_cond_timedwait(&h->stop, &h->mutex, &until);
    }
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

/* --- the reply ---------------------------------------------------------- */

static struct MHD_Response *response_of(struct http_reply *reply)
{
    char *body;
    size_t n;

    if (reply->json) {
        body = json_dumps(reply->json,
                          JSON_COMPACT | JSON_REAL_PRECISION(12));
        n = body ? strlen(body) : 0;
        reply->type = "application/json";
    } else {
        n = reply->text.len;
        body = buf_detach(&reply->text);
    }
    return MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE);
}

/* Waits for what is written next; the writer ends when the daemon stops. */
static ssize_t read_stream(void *arg, uint64_t at, char *bytes, size_t size)
{
    size_t n = http_stream_read(arg, bytes, size);

    (void)at;
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static void free_stream(void *arg)
{
    http_stream_free(arg);
}

static struct MHD_Response *stream_of(struct http_reply *reply)
{
    struct http_stream *stream = reply->stream;
    struct MHD_Response *r = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, stream, free_stream);

    reply->stream = NULL;
    reply->type = HTTP_STREAM_TYPE;
    if (!r)
        http_stream_free(stream);
    return r;
}

static void add_number(struct MHD_Response *r, const char *name, int64_t x)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)x);
    MHD_add_response_header(r, name, text);
}

static void add_headers(struct MHD_Response *r, const struct http_reply *p)
{
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, p->type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Content-Security-Policy",
                            "default-src 'none'; connect-src 'self'; "
                            "style-src 'unsafe-inline'; "
                            "script-src 'unsafe-inline'; "
                            "frame-ancestors 'none'");
    if (p->version)
        add_number(r, "X-Mneme-Version", p->version);
    if (p->retry_seconds)
        add_number(r, MHD_HTTP_HEADER_RETRY_AFTER, p->retry_seconds);
    if (p->allow)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, p->allow);
    if (p->status == 401)
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                "Bearer");
    if (p->close)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
}

static enum MHD_Result send_reply(struct http_request *rq)
{
    int64_t deadline = rq->reply.stream ? NO_DEADLINE : WRITE_MS;
    struct MHD_Response *r;
    enum MHD_Result rc;

    /* json_pack gave nothing: a text in it is not UTF-8. */
    if (!rq->reply.json && !rq->reply.type && !rq->reply.stream)
        http_fail(rq, 503, "unavailable", NULL,
                  "the answer cannot be written as JSON");
    r = rq->reply.stream ? stream_of(&rq->reply) : response_of(&rq->reply);
    if (!r)
        return MHD_NO;
    add_headers(r, &rq->reply);
    /* The time that it took to compute is not the client's inactivity. */
    MHD_set_connection_option(rq->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                              INACTIVE_SECONDS);
    set_deadline(rq->http, rq->connection, deadline, false);
    rc = MHD_queue_response(rq->connection, (unsigned)rq->reply.status, r);
    MHD_destroy_response(r);
    return rc;
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
    if (!check_framing(rq))
        return rq;
    find_route(rq, path, method);
    check_token(rq);
    if (!rq->reply.status)
        check_length(rq);
    if (!rq->reply.status)
        check_crowd(rq);
    return rq;
}

/* Not to be read to its end: the client waits for our word, its length cannot
 * be trusted, or there is too much of it. */
static bool answers_at_once(struct http_request *rq)
{
    return rq->reply.status &&
           (rq->reply.close || header(rq, MHD_HTTP_HEADER_EXPECT) ||
            announced(rq) > DRAIN_BYTES);
}

static enum MHD_Result take(struct http_request *rq, const char *bytes,
                            size_t n)
{
    size_t most = (size_t)rq->context->conf->http.max_body_bytes;

    if (!rq->reply.status && rq->bytes.len + n > most) {
        buf_release(&rq->bytes);
        too_large(rq);
    }
    if (!rq->reply.status) {
        buf_add(&rq->bytes, bytes, n);
        return MHD_YES;
    }
    rq->n_dropped += n;
    return rq->n_dropped > DRAIN_BYTES ? MHD_NO : MHD_YES;
}

static void give_place(void *arg)
{
    struct http *h = arg;

    http_places_give(h->places);
}

static void give_nothing(void *arg)
{
    (void)arg;
}

/* A stream's writer begins; at its end it gives back the place that it has. */
static void start_stream(struct http_request *rq, void (*at_end)(void *arg))
{
    if (http_stream_start(rq->reply.stream, at_end, rq->http))
        return;
    at_end(rq->http);
    http_stream_free(rq->reply.stream);
    rq->reply.stream = NULL;
    http_fail(rq, 503, "unavailable", NULL, "cannot start a thread");
}

static void run_endpoint(struct http_request *rq)
{
    bool computes = rq->route->flags & COMPUTES;
    struct err err = ERR_INIT;
    int rc = computes ? http_places_take(rq->http->places, &err) : 0;

    if (rc == ERR_AGAIN) {
        http_fail(rq, 429, "overloaded", NULL, "%s", err.msg);
    } else if (rc) {
        http_fail(rq, 503, "stopping", NULL, "%s", err.msg);
    } else {
        rq->route->endpoint(rq);
        if (rq->reply.stream)
            start_stream(rq, computes ? give_place : give_nothing);
        else if (computes)
            http_places_give(rq->http->places);
    }
}

static void answer(struct http_request *rq)
{
    set_deadline(rq->http, rq->connection, NO_DEADLINE, false);
    if (!rq->reply.status && http_parse_body(rq))
        run_endpoint(rq);
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
        return answers_at_once(rq) ? send_reply(rq) : MHD_YES;
    }
    if (*n) {
        rc = take(rq, bytes, *n);
        *n = 0;
        return rc;
    }
    answer(rq);
    return send_reply(rq);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct http_request *rq = *context;

    (void)code;
    if (!rq)
        return;
    set_deadline(arg, connection, IDLE_MS, false);
    json_decref(rq->body);
    json_decref(rq->reply.json);
    http_stream_free(rq->reply.stream);
    buf_release(&rq->reply.text);
    buf_release(&rq->bytes);
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
        MHD_OPTION_CONNECTION_TIMEOUT, INACTIVE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, h, MHD_OPTION_END);
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

static void start_reaper(struct http *h)
{
    if (pthread_create(&h->reaper, NULL, reap, h) != 0)
        BUG("cannot start a thread");
    h->reaping = true;
}

static struct http *create(const struct http_context *context)
{
    struct http *h = xcalloc(1, sizeof *h);

    h->context = *context;
    atomic_init(&h->stopping, false);
    atomic_init(&h->n_connections, 0);
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->stop, NULL);
    h->places = http_places_create(options_cores(), MOST_WAITING);
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
        start_reaper(h);
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
    int rc = http_tokens_load(h->context.conf->http.token_file, &tokens,
                              err);

    if (rc)
        return rc;
    pthread_mutex_lock(&h->mutex);
    old = h->tokens;
    h->tokens = tokens;
    pthread_mutex_unlock(&h->mutex);
    http_tokens_free(old);
    return 0;
}

static void stop_reaper(struct http *h)
{
    pthread_mutex_lock(&h->mutex);
    pthread_cond_signal(&h->stop);
    pthread_mutex_unlock(&h->mutex);
    if (h->reaping)
        pthread_join(h->reaper, NULL);
}

static void remove_files(const struct http *h)
{
    if (h->address_path)
        unlink(h->address_path);
    if (h->socket_path)
        unlink(h->socket_path);
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    atomic_store(&h->stopping, true);
    http_places_close(h->places);
    stop_reaper(h);
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    remove_files(h);
    http_places_free(h->places);
    http_tokens_free(h->tokens);
    pthread_cond_destroy(&h->stop);
    pthread_mutex_destroy(&h->mutex);
    free(h->address);
    free(h->address_path);
    free(h->socket_path);
    free(h);
}
