/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/http_endpoints.h"

#include <string.h>

#include "daemon/http/http_head.h"

#define ROW(method, path, function, scope, work, summary)                      \
    {#method, path, function, HTTP_##scope, HTTP_##work, summary, #function},

static const struct http_endpoint endpoints[] = {HTTP_ENDPOINTS(ROW)};

/* True when path fits the pattern; *argument is then the part at {}. A path
 * that another row has literally does not fit. */
static bool match(const char *pattern, const char *path, char *argument)
{
    const char *braces = strstr(pattern, "{}");
    size_t n;

    if (!braces)
        return strcmp(pattern, path) == 0;
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
        if (strcmp(endpoints[i].path, path) == 0)
            return false;
    n = (size_t)(braces - pattern);
    if (strncmp(pattern, path, n) != 0)
        return false;
    path += n;
    n = strcspn(path, "/");
    if (n == 0 || n >= HTTP_MAX_ARGUMENT || strcmp(path + n, braces + 2) != 0)
        return false;
    memcpy(argument, path, n);
    argument[n] = '\0';
    return true;
}

const struct http_endpoint *http_endpoints_find(struct http_request *rq)
{
    const struct http_endpoint *other = NULL; /* for another method */
    const char *path = rq->head->path, *method = rq->head->method;

    if (!strcmp(method, "HEAD"))
        method = "GET";
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        const struct http_endpoint *e = &endpoints[i];

        if (!match(e->path, path, rq->argument))
            continue;
        if (strcmp(method, e->method) == 0)
            return e;
        other = e;
    }
    if (!other) {
        http_fail(rq, 404, "unknown_path", NULL, "no such path: %s", path);
        return NULL;
    }
    http_fail(rq, 405, "method_not_allowed", NULL, "%s takes %s (%s)", path,
              other->method, other->summary);
    rq->reply.allow = other->method;
    return NULL;
}

const struct http_endpoint *http_endpoints_all(size_t *n)
{
    *n = sizeof endpoints / sizeof *endpoints;
    return endpoints;
}
