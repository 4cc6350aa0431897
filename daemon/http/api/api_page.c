/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page: GET / is page/index.html, GET /page/{} another file of that folder.
 *
 * A file's ETag is a checksum of its bytes. A browser keeps the file, and asks
 * with If-None-Match whether it is still the same: an upgrade takes effect at
 * the next load.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/api/page_files.h"
#include "daemon/http/wire/http_head.h"

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    if (strcmp(dot, ".html") == 0)
        return "text/html; charset=utf-8";
    if (strcmp(dot, ".css") == 0)
        return "text/css; charset=utf-8";
    if (strcmp(dot, ".svg") == 0)
        return "image/svg+xml";
    return "text/javascript; charset=utf-8";
}

static void answer_file(struct http_request *rq, const char *name)
{
    const char *known = http_head_field(rq->head, "If-None-Match");
    const struct page_file *file = page_files;
    struct http_reply *reply = &rq->reply;

    while (file->name && strcmp(file->name, name) != 0)
        file++;
    if (!file->name) {
        http_fail(rq, 404, "unknown_path", NULL, "the page has no file %s",
                  name);
        return;
    }
    for (size_t i = 0; file->lines[i]; i++)
        buf_adds(&reply->text, file->lines[i]);
    snprintf(reply->etag, sizeof reply->etag, "\"%016" PRIx64 "\"",
             checksum_xxh3(reply->text.data, reply->text.len, 0));
    reply->type = type_of(name);
    reply->status = 200;
    if (known && strstr(known, reply->etag)) {
        buf_release(&reply->text);
        reply->status = 304;
    }
}

void api_page(struct http_request *rq)
{
    answer_file(rq, "index.html");
}

void api_page_file(struct http_request *rq)
{
    answer_file(rq, rq->argument);
}
