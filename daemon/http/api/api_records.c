/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/records: records to learn from, for source.type http. The answer
 * names their positions; they are durable then.
 *
 * A body is one JSON object, or lines with a record each. A line is taken as it
 * is: whether it is a good record, intake decides, as for the other sources.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/wire/http_coding.h"
#include "daemon/http/wire/http_head.h"
#include "daemon/stream/source.h"

/* Do the lines of a body of this type count as records? */
static bool has_lines(const struct http_request *rq)
{
    static const char *const types[] = {
        "application/x-ndjson", "application/ndjson", "application/jsonl",
        "application/x-jsonlines", "text/plain"};
    const char *type = http_head_field(rq->head, "Content-Type");
    size_t n = type ? strcspn(type, "; \t") : 0;

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (n == strlen(types[i]) && !strncasecmp(type, types[i], n))
            return true;
    return false;
}

/* Adds a line without its CR, unless it is blank. */
static bool add_line(struct buf *lines, const char *line, size_t n)
{
    n -= n > 0 && line[n - 1] == '\r';
    if (strspn(line, " \t") >= n)
        return false;
    buf_add(lines, line, n);
    buf_addc(lines, '\n');
    return true;
}

static int64_t add_lines(struct buf *lines, const char *bytes, size_t n_bytes)
{
    const char *end = bytes + n_bytes;
    int64_t n = 0;

    while (bytes < end) {
        const char *stop = memchr(bytes, '\n', (size_t)(end - bytes));

        stop = stop ? stop : end;
        n += add_line(lines, bytes, (size_t)(stop - bytes));
        bytes = stop + 1;
    }
    return n;
}

/* Adds one JSON object as a line. False: the request has failed. */
static bool add_object(struct http_request *rq, struct buf *line)
{
    buf_add(line, rq->bytes.data, rq->bytes.len);
    if (!http_parse_body(rq))
        return false;
    /* Between the parts of JSON a line end is the same as a blank, and within
     * a string there is none. */
    for (size_t i = 0; i < line->len; i++)
        if (line->data[i] == '\n' || line->data[i] == '\r')
            line->data[i] = ' ';
    buf_addc(line, '\n');
    return true;
}

static void append(struct http_request *rq, const struct buf *lines, int64_t n)
{
    struct source *source = rq->context->source;
    struct err err = ERR_INIT;
    int64_t first = 0;
    int rc = source_append(source, lines->data, lines->len, n, &first, &err);

    if (rc == 0)
        http_answer(rq, 200,
                    json_pack("{s:s, s:i, s:I, s:I, s:I}", "topic",
                              SOURCE_HTTP_TOPIC, "partition", 0, "first_offset",
                              (json_int_t)first, "last_offset",
                              (json_int_t)(first + n - 1), "records",
                              (json_int_t)n));
    else if (rc == ERR_INVALID)
        http_fail(rq, 409, "other_source", NULL, "%s", err.msg);
    else if (rc == ERR_AGAIN)
        http_fail(rq, 429, "queue_full", NULL, "%s", err.msg);
    else if (rc == ERR_LIMIT)
        http_fail(rq, 413, "too_large", NULL, "%s", err.msg);
    else
        http_fail(rq, 503, "unavailable", NULL, "%s", err.msg);
}

void api_records(struct http_request *rq)
{
    struct buf lines = BUF_INIT;
    int64_t n = 0;

    if (!http_charge(rq, HTTP_BODY_GROWTH * rq->bytes.len))
        return;
    if (rq->bytes.len && has_lines(rq))
        n = add_lines(&lines, rq->bytes.data, rq->bytes.len);
    else if (rq->bytes.len)
        n = add_object(rq, &lines);
    if (!rq->reply.status && n == 0)
        http_fail(rq, 400, "missing_parameter", NULL,
                  "the body has no record; it is one JSON object, or lines "
                  "with Content-Type: application/x-ndjson");
    else if (!rq->reply.status)
        append(rq, &lines, n);
    buf_release(&lines);
}
