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
#include "base/xalloc.h"
#include "daemon/http_private.h"
#include "daemon/http_stream.h"
#include "daemon/options.h"

#define MOST_WAITING 64      /* in line for a place to compute */
#define SPARE_CONNECTIONS 16 /* beyond the limit, to say so */
#define HEADER_BYTES 32768

bool http_stopping(const struct http *h)
{
    return atomic_load(&h->stopping);
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
    bool computes = rq->route->computes;
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
    http_connections_set(rq->http->connections, rq->connection, HTTP_COMPUTING);
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
    atomic_init(&h->stopping, false);
    pthread_mutex_init(&h->mutex, NULL);
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

void http_stop(struct http *h)
{
    if (!h)
        return;
    atomic_store(&h->stopping, true);
    http_places_close(h->places);
    http_connections_stop(h->connections);
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    remove_files(h);
    http_places_free(h->places);
    http_connections_free(h->connections);
    http_tokens_free(h->tokens);
    pthread_mutex_destroy(&h->mutex);
    free(h->address);
    free(h->address_path);
    free(h->socket_path);
    free(h);
}
