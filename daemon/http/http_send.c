/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reply becomes a response of libmicrohttpd: one body, or what a stream's
 * writer writes.
 */
#include "config.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#include "daemon/http/http_mhd.h"
#include "daemon/http/http_private.h"
#include "daemon/http/http_stream.h"

#define STREAM_BLOCK 4096 /* bytes asked of a stream at once */

static struct MHD_Response *body_of(struct http_reply *p)
{
    char *body = p->json ? json_dumps(p->json, JSON_COMPACT |
                                                   JSON_REAL_PRECISION(12))
                         : NULL;
    size_t n = p->text.len;

    if (p->json)
        n = body ? strlen(body) : 0;
    else
        body = buf_detach(&p->text);
    return MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE);
}

/* Waits for what is written next; the writer ends when the daemon stops. What
 * was written before goes to the client first. */
static ssize_t read_stream(void *arg, uint64_t at, char *bytes, size_t size)
{
    struct http_request *rq = arg;
    size_t n;

    (void)at;
    if (!http_mhd_forward(rq->mhd))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    n = http_stream_read(rq->reply.stream, bytes, size);
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static struct MHD_Response *stream_of(struct http_request *rq)
{
    struct MHD_Response *r;

    if (strcmp(rq->head->method, "HEAD") != 0)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                 read_stream, rq, NULL);
    /* libmicrohttpd 0.9.75 ends the reply to a HEAD with a last chunk. No body
     * at all, and no length: a stream has none. */
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

static void add_fields(struct MHD_Response *r, const struct http_reply *p)
{
    MHD_add_response_header(r, "Content-Type", p->type);
    MHD_add_response_header(r, "Cache-Control", "no-store");
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
        add_number(r, "Retry-After", p->retry_seconds);
    if (p->allow)
        MHD_add_response_header(r, "Allow", p->allow);
    if (p->status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (p->close)
        MHD_add_response_header(r, "Connection", "close");
}

enum MHD_Result http_send(struct http_request *rq, struct MHD_Connection *to)
{
    struct http_reply *p = &rq->reply;
    struct MHD_Response *r;
    enum MHD_Result rc;

    /* json_pack gave nothing: a text in it is not UTF-8. */
    if (!p->json && !p->type && !p->stream)
        http_fail(rq, 503, "unavailable", NULL,
                  "the answer cannot be written as JSON");
    if (p->stream) {
        p->type = HTTP_STREAM_TYPE;
        p->close |= !rq->head->minor; /* which is the end of the stream */
        r = stream_of(rq);
        http_connection_set(rq->connection, HTTP_STREAMING);
    } else {
        if (p->json)
            p->type = "application/json";
        r = body_of(p);
        /* A refused request has no place: it can still be evicted. */
        if (rq->connection->has_place)
            http_connection_set(rq->connection, HTTP_WRITING);
    }
    if (!r)
        return MHD_NO;
    add_fields(r, p);
    rc = MHD_queue_response(to, (unsigned)p->status, r);
    MHD_destroy_response(r);
    return rc;
}
