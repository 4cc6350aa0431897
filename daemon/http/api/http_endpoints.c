/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/api/http_endpoints.h"

#include <stdio.h>
#include <string.h>

#include "daemon/http/wire/http_head.h"

#define ROW(method, path, function, scope, work, summary)                      \
    {#method, path, function, HTTP_##scope, HTTP_##work, summary},

static const struct http_endpoint endpoints[] = {HTTP_ENDPOINTS(ROW)};

static bool is_literal(const char *path)
{
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
        if (strcmp(endpoints[i].path, path) == 0)
            return true;
    return false;
}

/* True when path fits the pattern; the request then has the parts at {}. A path
 * that another row has literally does not fit. */
static bool match(const char *pattern, const char *path,
                  struct http_request *rq)
{
    char *parts[] = {rq->argument, rq->second};
    const char *braces;
    size_t n;

    if (!strstr(pattern, "{}"))
        return strcmp(pattern, path) == 0;
    if (is_literal(path))
        return false;
    for (size_t i = 0; (braces = strstr(pattern, "{}")); i++) {
        n = (size_t)(braces - pattern);
        if (strncmp(pattern, path, n) != 0)
            return false;
        path += n;
        n = strcspn(path, "/");
        if (n == 0 || n >= HTTP_MAX_ARGUMENT)
            return false;
        memcpy(parts[i], path, n);
        parts[i][n] = '\0';
        path += n;
        pattern = braces + 2;
    }
    return strcmp(path, pattern) == 0;
}

const struct http_endpoint *http_endpoints_find(struct http_request *rq)
{
    const char *path = rq->head->path, *method = rq->head->method;
    struct buf allow = BUF_INIT, takes = BUF_INIT; /* for other methods */
    const struct http_endpoint *found = NULL;

    if (!strcmp(method, "HEAD"))
        method = "GET";
    for (size_t i = 0; !found && i < sizeof endpoints / sizeof *endpoints;
         i++) {
        const struct http_endpoint *e = &endpoints[i];
        const char *comma = allow.len ? ", " : "";

        if (!match(e->path, path, rq))
            continue;
        if (strcmp(method, e->method) == 0)
            found = e;
        buf_addf(&allow, "%s%s", comma, e->method);
        buf_addf(&takes, "%s%s (%s)", comma, e->method, e->summary);
    }
    if (!found && allow.len) {
        http_fail(rq, 405, "method_not_allowed", NULL, "%s takes %s", path,
                  takes.data);
        snprintf(rq->reply.allow, sizeof rq->reply.allow, "%s", allow.data);
    } else if (!found) {
        http_fail(rq, 404, "unknown_path", NULL, "no such path: %s", path);
    }
    buf_release(&allow);
    buf_release(&takes);
    return found;
}

const struct http_endpoint *http_endpoints_all(size_t *n)
{
    *n = sizeof endpoints / sizeof *endpoints;
    return endpoints;
}
