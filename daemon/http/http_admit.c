/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked, and who may ask it: everything that can be said of a request
 * by its headers, before a byte of its body is kept.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/http/api_text.h"
#include "daemon/http/http_private.h"

/* --- paths -------------------------------------------------------------- */

enum { QUICK, COMPUTES }; /* does it take a place? */

static const struct http_route routes[] = {
    {"GET", "/", api_dashboard, HTTP_OPEN, QUICK},
    {"GET", "/healthz", api_healthz, HTTP_OPEN, QUICK},
    {"GET", "/readyz", api_readyz, HTTP_OPEN, QUICK},
    {"GET", "/metrics", api_metrics, HTTP_INFER, QUICK},
    {"GET", "/v1/status", api_status, HTTP_INFER, QUICK},
    {"GET", "/v1/domains", api_domains, HTTP_INFER, QUICK},
    {"GET", "/v1/history", api_history, HTTP_INFER, QUICK},
    {"GET", "/v1/events", api_events, HTTP_INFER, QUICK},
    {"GET", "/v1/versions", api_versions, HTTP_INFER, QUICK},
    {"GET", "/v1/versions/{}", api_version, HTTP_INFER, QUICK},
    {"POST", "/v1/versions/{}/pin", api_pin, HTTP_ADMIN, QUICK},
    {"POST", "/v1/versions/{}/unpin", api_unpin, HTTP_ADMIN, QUICK},
    {"POST", "/v1/versions/{}/promote", api_promote, HTTP_ADMIN, QUICK},
    {"POST", "/v1/rollback", api_rollback, HTTP_ADMIN, QUICK},
    {"GET", "/v1/ranges", api_ranges, HTTP_INFER, QUICK},
    {"POST", "/v1/ranges/{}/release", api_release_range, HTTP_ADMIN, QUICK},
    {"GET", "/v1/quarantine", api_quarantine, HTTP_ADMIN, QUICK},
    {"GET", "/v1/quarantine/{}", api_quarantined, HTTP_ADMIN, QUICK},
    {"POST", "/v1/quarantine/release", api_release_many, HTTP_ADMIN, QUICK},
    {"POST", "/v1/quarantine/{}/release", api_release, HTTP_ADMIN, QUICK},
    {"POST", "/v1/forget", api_forget, HTTP_ADMIN, QUICK},
    {"GET", "/v1/operations/{}", api_operation, HTTP_INFER, QUICK},
    {"GET", "/v1/models", api_models, HTTP_INFER, QUICK},
    {"GET", "/v1/models/{}", api_model, HTTP_INFER, QUICK},
    {"POST", "/v1/completions", api_completions, HTTP_INFER, COMPUTES},
    {"POST", "/v1/chat/completions", api_chat_completions, HTTP_INFER,
     COMPUTES},
    {"POST", "/v1/score", api_score, HTTP_INFER, COMPUTES},
    {"POST", "/v1/classify", api_classify, HTTP_INFER, COMPUTES},
    {"POST", "/v1/embeddings", api_embeddings, HTTP_INFER, COMPUTES},
    {"POST", "/tokenize", api_tokenize, HTTP_INFER, COMPUTES},
    {"POST", "/detokenize", api_detokenize, HTTP_INFER, COMPUTES},
    {"GET", "/tokenizer_info", api_tokenizer_info, HTTP_INFER, QUICK},
};

/* Does path fit the pattern? Then *argument holds what {} stands for. */
static bool fits(const char *pattern, const char *path, char *argument)
{
    const char *hole = strstr(pattern, "{}");
    size_t n;

    if (!hole)
        return strcmp(pattern, path) == 0;
    n = (size_t)(hole - pattern);
    if (strncmp(pattern, path, n) != 0)
        return false;
    path += n;
    n = strcspn(path, "/");
    if (n == 0 || n >= HTTP_MAX_ARGUMENT || strcmp(path + n, hole + 2) != 0)
        return false;
    memcpy(argument, path, n);
    argument[n] = '\0';
    return true;
}

static void find_route(struct http_request *rq, const char *path,
                       const char *method)
{
    const char *allow = NULL;

    if (!strcmp(method, "HEAD"))
        method = "GET";
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!fits(routes[i].path, path, rq->argument))
            continue;
        allow = routes[i].method;
        if (strcmp(method, allow) != 0)
            continue;
        rq->route = &routes[i];
        return;
    }
    if (!allow) {
        http_fail(rq, 404, "unknown_path", NULL, "no such path: %s", path);
        return;
    }
    http_fail(rq, 405, "method_not_allowed", NULL, "%s is asked with %s", path,
              allow);
    rq->reply.allow = allow;
}

/* --- who may ask -------------------------------------------------------- */

static const char *header(struct http_request *rq, const char *name)
{
    return http_head_field(rq->head, name);
}

/* "localhost", an address, or what ends in .localhost: a name that no page on
 * the net can make point here. */
static bool is_local_name(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");

    if (host[0] == '[' || strspn(host, "0123456789.") == n)
        return true;
    return (n == 9 && !strncasecmp(host, "localhost", 9)) ||
           (n > 10 && !strncasecmp(host + n - 10, ".localhost", 10));
}

/*
 * Without tokens, whoever reaches the address may do everything; a browser on
 * this machine reaches it too, on behalf of any page. Pages give themselves
 * away by their origin, or by the name that they made point here.
 */
static bool check_origin(struct http_request *rq)
{
    const char *origin = header(rq, "Origin"), *host = header(rq, "Host");
    const char *name = origin ? strstr(origin, "://") : NULL;
    const char *target = rq->head->authority;

    if (origin && (!name || !host || strcasecmp(name + 3, host) != 0)) {
        http_fail(rq, 403, "foreign_origin", NULL,
                  "a page of another origin may not ask this daemon");
        return false;
    }
    if (rq->context->conf->http.listen_kind == CONF_LISTEN_TCP &&
        ((host && !is_local_name(host)) ||
         (target && !is_local_name(target)))) {
        http_fail(rq, 403, "foreign_host", NULL,
                  "asked under a name that is not localhost or an address; "
                  "set http.token_file to allow any");
        return false;
    }
    return true;
}

static void check_token(struct http_request *rq)
{
    struct http *h = rq->http;
    enum http_scope scope;
    bool needed;

    if (!rq->route || rq->route->scope == HTTP_OPEN)
        return;
    pthread_mutex_lock(&h->mutex);
    scope = http_tokens_check(h->tokens, header(rq, "Authorization"));
    needed = http_tokens_needed(h->tokens);
    rq->holder = http_tokens_holder(h->tokens, header(rq, "Authorization"));
    pthread_mutex_unlock(&h->mutex);
    if (!needed)
        check_origin(rq);
    else if (scope == HTTP_OPEN)
        http_fail(rq, 401, "invalid_token", NULL,
                  "a token is needed: Authorization: Bearer TOKEN");
    else if (scope < rq->route->scope)
        http_fail(rq, 403, "scope", NULL, "an admin token is needed");
}

/* --- the body ----------------------------------------------------------- */

void http_admit_too_large(struct http_request *rq)
{
    http_fail(rq, 413, "too_large", NULL,
              "the body is larger than http.max_body_bytes, %lld",
              (long long)rq->context->conf->http.max_body_bytes);
}

static void check_body(struct http_request *rq)
{
    const char *coding = header(rq, "Content-Encoding");

    if (coding && *coding && strcasecmp(coding, "identity") != 0)
        http_fail(rq, 415, "unsupported_encoding", NULL,
                  "Content-Encoding: %s is not understood; send the body as "
                  "it is",
                  coding);
    else if (rq->head->length >
             (uint64_t)rq->context->conf->http.max_body_bytes)
        http_admit_too_large(rq);
}

/* --- the whole ---------------------------------------------------------- */

void http_admit(struct http_request *rq)
{
    find_route(rq, rq->head->path, rq->head->method);
    check_token(rq);
    if (!rq->reply.status)
        check_body(rq);
}

bool http_admit_reserved(const struct http_route *route)
{
    return route->scope == HTTP_ADMIN || route->endpoint == api_healthz ||
           route->endpoint == api_readyz || route->endpoint == api_operation;
}
