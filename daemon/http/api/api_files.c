/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/versions/{n}/files and /v1/versions/{n}/files/{name}: the files of a
 * version, for programs on other machines. A name is one of the version's row;
 * it is never a path.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/wire/http_head.h"
#include "store/store.h"

void api_files(struct http_request *rq)
{
    struct catalog_file *files = NULL;
    struct err err = ERR_INIT;
    char sha256[65];
    int64_t version;
    json_t *list;
    size_t n = 0;

    if (!http_path_number(rq, "version", &version))
        return;
    if (catalog_files(rq->context->catalog, version, &files, &n, sha256,
                      &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name",
                                              files[i].name, "bytes",
                                              (json_int_t)files[i].bytes,
                                              "sha256", files[i].sha256));
    catalog_files_free(files, n);
    http_answer(
        rq, 200,
        json_pack("{s:I, s:o}", "version", (json_int_t)version, "files", list));
}

/* Parses `digits` up to `stop`; false: there is no number. */
static bool parse_part(const char *digits, size_t n, int64_t *value)
{
    char text[20];

    if (n == 0 || n >= sizeof text)
        return false;
    memcpy(text, digits, n);
    text[n] = '\0';
    return http_parse_number(text, value);
}

/*
 * Reads a Range of one part: bytes=A-B, bytes=A- or bytes=-N.
 *   returns  206; 200: there is none, or one of another form, which is ignored
 *            as RFC 9110 allows; 416: it is behind the end
 */
static int read_range(const char *range, struct http_file *f)
{
    int64_t first, last;
    const char *dash;
    size_t n;

    if (!range || strncmp(range, "bytes=", 6) != 0)
        return 200;
    range += 6;
    dash = strchr(range, '-');
    if (!dash)
        return 200;
    n = (size_t)(dash - range);
    if (n == 0) { /* the last bytes */
        if (!parse_part(dash + 1, strlen(dash + 1), &last))
            return 200;
        if (last == 0 || f->size == 0)
            return 416;
        first = last < f->size ? f->size - last : 0;
        last = f->size - 1;
    } else {
        if (!parse_part(range, n, &first))
            return 200;
        last = f->size - 1;
        if (dash[1] && !parse_part(dash + 1, strlen(dash + 1), &last))
            return 200;
        if (last < first && dash[1])
            return 200;
        if (first >= f->size)
            return 416;
        last = last < f->size ? last : f->size - 1;
    }
    f->first = first;
    f->n_bytes = last - first + 1;
    return 206;
}

void api_file(struct http_request *rq)
{
    const char *if_range = http_head_field(rq->head, "If-Range");
    const char *range = http_head_field(rq->head, "Range");
    struct catalog_file *row = NULL;
    struct err err = ERR_INIT;
    struct http_file *f;
    int64_t version;
    int fd = -1;

    if (!http_path_number(rq, "version", &version))
        return;
    if (store_open_file(rq->context->catalog, version, rq->second, &row, &fd,
                        &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    rq->reply.file = f = xcalloc(1, sizeof *f);
    *f =
        (struct http_file){.fd = fd, .n_bytes = row->bytes, .size = row->bytes};
    snprintf(f->etag, sizeof f->etag, "\"%.64s\"", row->sha256);
    catalog_files_free(row, 1);
    /* A HEAD has no part, and another ETag means a part of another file. */
    if (strcmp(rq->head->method, "GET") != 0 ||
        (if_range && strcmp(if_range, f->etag) != 0))
        range = NULL;
    rq->reply.type = "application/octet-stream";
    rq->reply.status = read_range(range, f);
    if (rq->reply.status == 416)
        http_fail(rq, 416, "invalid_range", NULL,
                  "the file has %" PRId64 " bytes", f->size);
}
