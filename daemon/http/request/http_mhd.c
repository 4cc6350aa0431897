/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each connection has its own daemon of libmicrohttpd, without a thread (an
 * "external" event loop) and with one connection. This file reads and writes
 * our_end of the socket pair, libmicrohttpd the other end.
 *
 * 1. The client's head never reaches libmicrohttpd, so two parsers cannot
 *    disagree. It gets a head that says only what the framing of a reply
 *    depends on: whether the request is a HEAD, its version, and whether there
 *    is a body.
 * 2. Every body is passed on in chunks, however the client framed it. A body
 *    that breaks off is ended here, so that libmicrohttpd writes that reply,
 *    too.
 * 3. The next request begins when libmicrohttpd has reported the last one
 *    complete, and its reply is sent.
 */
#include "config.h"

#include "daemon/http/request/http_mhd.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "daemon/http/request/http_cors.h"
#include "daemon/http/request/http_request.h"
#include "daemon/http/wire/http_coding.h"
#include "daemon/http/wire/http_connections.h"
#include "daemon/http/wire/http_stream.h"

#define POOL_BYTES ((size_t)16384) /* libmicrohttpd's memory for a request */
#define BLOCK_BYTES 16384          /* passed on at a time */
#define STREAM_BYTES 4096          /* read from a stream at a time */

struct http_mhd {
    struct http_connection *connection;
    struct http_mhd_handlers handlers;
    struct MHD_Daemon *daemon;
    int our_end;
    struct buf out; /* not yet written to our_end */
    struct http_request *rq;
    bool has_body;
    bool complete; /* all of the reply is written */
    bool closed;   /* libmicrohttpd has ended the connection */
    bool broken;   /* the client reads no more */
};

/* Sends the client the bytes that libmicrohttpd has written so far. */
static bool forward(struct http_mhd *m)
{
    char bytes[BLOCK_BYTES];
    ssize_t n = -1;

    while (!m->broken &&
           (n = recv(m->our_end, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        struct iovec part = {bytes, (size_t)n};

        m->broken = !http_connection_send(m->connection, &part, 1);
    }
    if (!m->broken && (n == 0 || (errno != EAGAIN && errno != EINTR)))
        m->closed = true;
    return !m->broken;
}

/* --- the reply ---------------------------------------------------------- */

static struct MHD_Response *create_body(struct http_reply *p)
{
    char *body =
        p->json ? json_dumps(p->json, JSON_COMPACT | JSON_REAL_PRECISION(12))
                : NULL;
    size_t n = p->text.len;

    if (p->json)
        n = body ? strlen(body) : 0;
    else
        body = buf_detach(&p->text);
    return MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE);
}

/* The next bytes of a stream, for libmicrohttpd. It may wait long for them, so
 * it first sends those that libmicrohttpd has already written. */
static ssize_t read_stream(void *arg, uint64_t at, char *bytes, size_t size)
{
    struct http_mhd *m = arg;
    size_t n;

    (void)at;
    if (!forward(m))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    n = http_stream_read(m->rq->reply.stream, m->connection->fd, bytes,
                         size);
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

/* libmicrohttpd closes the file. */
static struct MHD_Response *create_file(struct http_reply *p)
{
    struct http_file *f = p->file;
    struct MHD_Response *r;
    char text[96];

    r = MHD_create_response_from_fd_at_offset64((uint64_t)f->n_bytes, f->fd,
                                                (uint64_t)f->first);
    if (!r)
        return NULL;
    f->fd = -1;
    MHD_add_response_header(r, "Accept-Ranges", "bytes");
    MHD_add_response_header(r, "ETag", f->etag);
    if (p->status == 206) {
        snprintf(text, sizeof text, "bytes %lld-%lld/%lld", (long long)f->first,
                 (long long)(f->first + f->n_bytes - 1), (long long)f->size);
        MHD_add_response_header(r, "Content-Range", text);
    }
    return r;
}

static struct MHD_Response *create_stream(struct http_mhd *m)
{
    struct MHD_Response *r;

    if (strcmp(m->rq->head->method, "HEAD") != 0)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES,
                                                 read_stream, m, NULL);
    /* libmicrohttpd 0.9.75 ends the reply to a HEAD with a last chunk. This
     * response has no body at all, and no length: a stream has none. */
    r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (r)
        MHD_set_response_options(r, MHD_RF_INSANITY_HEADER_CONTENT_LENGTH,
                                 MHD_RO_END);
    return r;
}

static void add_number(struct MHD_Response *r, const char *name, int64_t x)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)x);
    MHD_add_response_header(r, name, text);
}

/* With 416: the size of the file, of which the client asked for no part. */
static void add_size(struct MHD_Response *r, int64_t size)
{
    char text[48];

    snprintf(text, sizeof text, "bytes */%lld", (long long)size);
    MHD_add_response_header(r, "Content-Range", text);
}

/* The headers of CORS. Vary: a cache must not give the reply to another page.
 */
static void add_cors(struct MHD_Response *r, const struct http_request *rq)
{
    const char *origin = http_cors_origin(rq);

    if (rq->context->conf->http.cors_origins.n)
        MHD_add_response_header(r, "Vary", "Origin");
    if (!origin)
        return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(r, "Access-Control-Expose-Headers",
                            "X-Mneme-Version, X-Request-Id, Retry-After, "
                            "Accept-Ranges, Content-Range, ETag");
    if (!rq->reply.preflight)
        return;
    MHD_add_response_header(r, "Access-Control-Allow-Methods",
                            "GET, POST, PUT, DELETE");
    MHD_add_response_header(r, "Access-Control-Allow-Headers",
                            "Authorization, Content-Type, Content-Encoding, "
                            "Last-Event-ID, X-Request-Id, Range, If-Range");
    MHD_add_response_header(r, "Access-Control-Max-Age", "600");
}

static void add_headers(struct MHD_Response *r, const struct http_request *rq)
{
    const struct http_reply *p = &rq->reply;

    MHD_add_response_header(r, "Content-Type", p->type);
    MHD_add_response_header(r, "Cache-Control",
                            p->etag[0] ? "no-cache" : "no-store");
    if (p->etag[0])
        MHD_add_response_header(r, "ETag", p->etag);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Content-Security-Policy",
                            "default-src 'none'; script-src 'self'; "
                            "style-src 'self'; connect-src 'self'; "
                            "img-src 'self'; base-uri 'none'; "
                            "form-action 'none'; frame-ancestors 'none'; "
                            "require-trusted-types-for 'script'; "
                            "trusted-types 'none'");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    add_cors(r, rq);
    if (rq->id[0])
        MHD_add_response_header(r, "X-Request-Id", rq->id);
    if (p->status == 415)
        MHD_add_response_header(r, "Accept-Encoding", HTTP_CODINGS);
    if (p->version)
        add_number(r, "X-Mneme-Version", p->version);
    if (p->retry_never) /* OpenAI's clients would repeat a 503 */
        MHD_add_response_header(r, "X-Should-Retry", "false");
    else if (p->retry_seconds)
        add_number(r, "Retry-After", p->retry_seconds);
    if (p->allow[0])
        MHD_add_response_header(r, "Allow", p->allow);
    if (p->status == 416 && p->file)
        add_size(r, p->file->size);
    if (p->status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (p->close)
        MHD_add_response_header(r, "Connection", "close");
}

static enum MHD_Result send_reply(struct http_mhd *m, struct MHD_Connection *to)
{
    struct http_reply *p = &m->rq->reply;
    struct MHD_Response *r;
    enum MHD_Result rc;

    /* json_pack returns NULL when a text in it is not UTF-8. */
    if (!p->json && !p->type && !p->stream && !p->file)
        http_fail(m->rq, 503, "unavailable", NULL,
                  "the answer cannot be written as JSON");
    if (p->stream) {
        p->type = HTTP_STREAM_TYPE;
        /* In HTTP/1.0 a stream ends with its connection. */
        p->close |= !m->rq->head->minor;
        r = create_stream(m);
        http_connection_set_phase(m->connection, HTTP_STREAMING);
    } else {
        if (p->json)
            p->type = "application/json";
        r = p->file && !p->json ? create_file(p) : create_body(p);
        /* A refused request is not admitted: it can still be evicted. */
        if (m->connection->admitted)
            http_connection_set_phase(m->connection, HTTP_WRITING);
    }
    if (!r)
        return MHD_NO;
    add_headers(r, m->rq);
    rc = MHD_queue_response(to, (unsigned)p->status, r);
    MHD_destroy_response(r);
    return rc;
}

/* --- callbacks of libmicrohttpd ----------------------------------------- */

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
                                  const char *path, const char *method,
                                  const char *protocol, const char *bytes,
                                  size_t *n, void **begun)
{
    struct http_mhd *m = arg;

    (void)path;
    (void)method;
    (void)protocol;
    if (!*begun) {
        *begun = m;
        return MHD_YES;
    }
    if (*n) {
        m->handlers.body(m->handlers.arg, bytes, *n);
        *n = 0;
        return MHD_YES;
    }
    m->handlers.answer(m->handlers.arg);
    return send_reply(m, connection);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **begun, enum MHD_RequestTerminationCode code)
{
    struct http_mhd *m = arg;

    (void)connection;
    (void)begun;
    m->complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    m->closed = !m->complete;
}

/* --- the event loop ----------------------------------------------------- */

/* One turn of libmicrohttpd's event loop.
 *   wait_ms  for an event; -1: without a limit */
static bool run_once(struct http_mhd *m, int wait_ms)
{
    if (MHD_run_wait(m->daemon, wait_ms) != MHD_YES)
        m->closed = true;
    return forward(m);
}

static bool flush(struct http_mhd *m)
{
    size_t n_sent = 0;

    while (n_sent < m->out.len) {
        ssize_t n = send(m->our_end, m->out.data + n_sent,
                         m->out.len - n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            n_sent += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return false;
        if (n_sent < m->out.len && !run_once(m, 0))
            return false;
    }
    buf_clear(&m->out);
    return true;
}

/* --- a request ---------------------------------------------------------- */

void http_mhd_begin(struct http_mhd *m, struct http_request *rq, bool has_body)
{
    const struct http_head *head = rq->head;
    bool is_head = head && head->method && strcmp(head->method, "HEAD") == 0;
    bool is_http_1_0 = head && !head->minor;

    m->rq = rq;
    m->has_body = has_body;
    m->complete = false;
    buf_addf(&m->out, "%s / HTTP/1.%d\r\nHost: localhost\r\n%s%s\r\n",
             is_head ? "HEAD" : "POST", is_http_1_0 ? 0 : 1,
             is_http_1_0 ? "Connection: keep-alive\r\n" : "",
             has_body ? "Transfer-Encoding: chunked\r\n" : "");
}

bool http_mhd_body(struct http_mhd *m, const char *bytes, size_t n)
{
    buf_addf(&m->out, "%zx\r\n", n);
    buf_add(&m->out, bytes, n);
    buf_adds(&m->out, "\r\n");
    return m->out.len < BLOCK_BYTES || (flush(m) && run_once(m, 0));
}

bool http_mhd_end(struct http_mhd *m)
{
    bool ok;

    if (m->has_body)
        buf_adds(&m->out, "0\r\n\r\n");
    ok = flush(m);
    while (ok && !m->complete && !m->closed)
        ok = run_once(m, -1);
    m->rq = NULL;
    return ok && m->complete && !m->closed;
}

/* --- creating and freeing ----------------------------------------------- */

int http_mhd_create(struct http_connection *c,
                    const struct http_mhd_handlers *handlers,
                    struct http_mhd **mhd, struct err *err)
{
    struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    struct http_mhd *m = xcalloc(1, sizeof *m);
    const char *part = "libmicrohttpd";
    int ends[2], rc;

    m->connection = c;
    m->handlers = *handlers;
    m->our_end = -1;
    m->daemon = MHD_start_daemon(
        MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL, 0, NULL, NULL, on_request, m,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, m, MHD_OPTION_END);
    if (!m->daemon)
        goto failed;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        part = "a socket pair";
        goto failed;
    }
    m->our_end = ends[0];
    /* libmicrohttpd owns the other end, even when this fails. */
    if (MHD_add_connection(m->daemon, ends[1],
                           (const struct sockaddr *)&nobody,
                           sizeof nobody.ss_family) != MHD_YES)
        goto failed;
    *mhd = m;
    return 0;
failed:
    rc = err_set_errno(err, ERR_IO, errno, "%s", part);
    http_mhd_free(m);
    return rc;
}

void http_mhd_free(struct http_mhd *m)
{
    if (!m)
        return;
    if (m->daemon)
        MHD_stop_daemon(m->daemon);
    if (m->our_end >= 0)
        close(m->our_end);
    buf_release(&m->out);
    free(m);
}
