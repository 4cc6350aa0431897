/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reply becomes a response of libmicrohttpd's: one body, or what a stream's
 * writer writes.
 */
#include "config.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#include "daemon/http_private.h"
#include "daemon/http_stream.h"

#define STREAM_BLOCK 4096 /* bytes asked of a stream at once */

static struct MHD_Response *response_of(struct http_reply *reply)
{
    char *body;
    size_t n;

    if (reply->json) {
        body = json_dumps(reply->json, JSON_COMPACT | JSON_REAL_PRECISION(12));
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
    if (p->retry_never) /* OpenAI's clients try a 503 again without it */
        MHD_add_response_header(r, "X-Should-Retry", "false");
    else if (p->retry_seconds)
        add_number(r, MHD_HTTP_HEADER_RETRY_AFTER, p->retry_seconds);
    if (p->allow)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, p->allow);
    if (p->status == 401)
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (p->close)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
}

enum MHD_Result http_send(struct http_request *rq)
{
    enum http_phase phase = rq->reply.stream ? HTTP_STREAMING : HTTP_WRITING;
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
                              HTTP_INACTIVE_SECONDS);
    http_connections_set(rq->http->connections, rq->connection, phase);
    rc = MHD_queue_response(rq->connection, (unsigned)rq->reply.status, r);
    MHD_destroy_response(r);
    return rc;
}
