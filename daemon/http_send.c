/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reply on its way: the head, and one body, or what a stream's writer writes,
 * in chunks.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/timing.h"
#include "daemon/http_private.h"
#include "daemon/http_stream.h"

#define STREAM_BLOCK 4096 /* bytes asked of a stream at once */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status"; /* any text will do */
}

static void add_date(struct buf *head)
{
    time_t now = (time_t)(timing_wall_ms() / 1000);
    struct tm tm;
    char text[64];

    if (gmtime_r(&now, &tm) &&
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        buf_addf(head, "Date: %s\r\n", text);
}

static void add_fields(const struct http_reply *p, struct buf *head)
{
    buf_addf(head, "HTTP/1.1 %d %s\r\n", p->status, reason_of(p->status));
    add_date(head);
    buf_addf(head, "Content-Type: %s\r\n", p->type);
    buf_adds(head, "Cache-Control: no-store\r\n"
                   "X-Content-Type-Options: nosniff\r\n"
                   "Content-Security-Policy: default-src 'none'; "
                   "connect-src 'self'; style-src 'unsafe-inline'; "
                   "script-src 'unsafe-inline'; frame-ancestors 'none'\r\n");
    if (p->version)
        buf_addf(head, "X-Mneme-Version: %lld\r\n", (long long)p->version);
    if (p->retry_never) /* OpenAI's clients try a 503 again without it */
        buf_adds(head, "X-Should-Retry: false\r\n");
    else if (p->retry_seconds)
        buf_addf(head, "Retry-After: %d\r\n", p->retry_seconds);
    if (p->allow)
        buf_addf(head, "Allow: %s\r\n", p->allow);
    if (p->status == 401)
        buf_adds(head, "WWW-Authenticate: Bearer\r\n");
}

/* --- a stream ----------------------------------------------------------- */

/* Waits for what is written next; the writer ends when the daemon stops. */
static bool send_events(struct http_request *rq, bool chunked)
{
    char bytes[STREAM_BLOCK], size[16];
    size_t n;

    while ((n = http_stream_read(rq->reply.stream, bytes, sizeof bytes))) {
        struct iovec plain = {bytes, n};
        struct iovec chunk[3] = {{size, 0}, {bytes, n}, {(char[]){"\r\n"}, 2}};

        chunk[0].iov_len = (size_t)snprintf(size, sizeof size, "%zx\r\n", n);
        if (!http_connection_send(rq->connection, chunked ? chunk : &plain,
                                  chunked ? 3 : 1))
            return false;
    }
    return true;
}

static bool send_stream(struct http_request *rq, struct buf *head, bool is_head)
{
    bool chunked = rq->head->minor > 0;
    struct iovec start, end = {(char[]){"0\r\n\r\n"}, 5};

    if (chunked && !is_head)
        buf_adds(head, "Transfer-Encoding: chunked\r\n");
    else if (!chunked)
        rq->reply.close = true; /* which is the end of the stream */
    if (rq->reply.close)
        buf_adds(head, "Connection: close\r\n");
    buf_adds(head, "\r\n");
    start = (struct iovec){head->data, head->len};
    http_connection_set(rq->connection, HTTP_STREAMING);
    if (!http_connection_send(rq->connection, &start, 1))
        return false;
    return is_head || (send_events(rq, chunked) &&
                       (!chunked || http_connection_send(rq->connection, &end,
                                                         1)));
}

/* --- a body ------------------------------------------------------------- */

static bool send_body(struct http_request *rq, struct buf *head, bool is_head)
{
    struct http_reply *p = &rq->reply;
    char *json = p->json ? json_dumps(p->json, JSON_COMPACT |
                                                   JSON_REAL_PRECISION(12))
                         : NULL;
    struct iovec parts[2] = {{NULL, 0}, {json ? json : p->text.data, 0}};
    bool ok;

    parts[1].iov_len = json ? strlen(json) : p->text.len;
    buf_addf(head, "Content-Length: %zu\r\n", parts[1].iov_len);
    if (p->close)
        buf_adds(head, "Connection: close\r\n");
    else if (!rq->head->minor)
        buf_adds(head, "Connection: keep-alive\r\n");
    buf_adds(head, "\r\n");
    parts[0] = (struct iovec){head->data, head->len};
    /* A refused request has no place: it can still be evicted. */
    if (rq->connection->has_place)
        http_connection_set(rq->connection, HTTP_WRITING);
    ok = http_connection_send(rq->connection, parts,
                              is_head || !parts[1].iov_len ? 1 : 2);
    free(json);
    return ok;
}

bool http_send(struct http_request *rq)
{
    struct http_reply *p = &rq->reply;
    bool is_head = rq->head && rq->head->method &&
                   strcmp(rq->head->method, "HEAD") == 0;
    struct buf head = BUF_INIT;
    bool ok;

    /* json_pack gave nothing: a text in it is not UTF-8. */
    if (!p->json && !p->type && !p->stream)
        http_fail(rq, 503, "unavailable", NULL,
                  "the answer cannot be written as JSON");
    if (p->stream)
        p->type = HTTP_STREAM_TYPE;
    else if (p->json)
        p->type = "application/json";
    add_fields(p, &head);
    ok = p->stream ? send_stream(rq, &head, is_head)
                   : send_body(rq, &head, is_head);
    buf_release(&head);
    return ok && !p->close;
}
