/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a request by its headers, so that a refused request costs no memory
 * for its body.
 */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "base/timing.h"
#include "daemon/http/http_private.h"
#include "daemon/http/request/http_cors.h"
#include "daemon/http/wire/http_coding.h"
#include "daemon/http/wire/http_connections.h"

/* --- token and origin --------------------------------------------------- */

/* True for an address, "localhost" and names that end in ".localhost": no web
 * site can make such a name resolve to this machine. */
static bool is_local_name(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");

    if (host[0] == '[' || strspn(host, "0123456789.") == n)
        return true;
    return (n == 9 && !strncasecmp(host, "localhost", 9)) ||
           (n > 10 && !strncasecmp(host + n - 10, ".localhost", 10));
}

/*
 * Without tokens, every client that reaches the address may do everything. A
 * browser on this machine reaches it, too, on behalf of any web page. Origin
 * names the page. Host has the name that a page used for this machine, also
 * when the page made its own name resolve to it (DNS rebinding).
 */
static void check_origin(struct http_request *rq)
{
    const char *origin = http_head_field(rq->head, "Origin");
    const char *host = http_head_field(rq->head, "Host");
    const char *name = origin ? strstr(origin, "://") : NULL;
    const char *target = rq->head->authority;

    if (origin && !http_cors_origin(rq) &&
        (!name || !host || strcasecmp(name + 3, host) != 0))
        http_fail(rq, 403, "foreign_origin", NULL,
                  "a web page of another origin may not use this daemon "
                  "(http.cors_origins)");
    else if (rq->context->conf->http.listen_kind == CONF_LISTEN_TCP &&
             ((host && !is_local_name(host)) ||
              (target && !is_local_name(target))))
        http_fail(rq, 403, "foreign_host", NULL,
                  "the request names a host other than localhost or an "
                  "address; set http.token_file to allow any host");
}

/* On the admin socket, the credentials of the peer count, and no token. */
static void check_peer(struct http_request *rq)
{
    if (rq->connection->origin == HTTP_FROM_STRANGER)
        http_fail(rq, 403, "peer", NULL,
                  "only root, the user of mnemed and members of "
                  "http.admin_group may use this socket");
}

static uint64_t check_token(struct http *h, struct http_request *rq,
                            enum http_scope needs)
{
    const char *authorization = http_head_field(rq->head, "Authorization");
    const struct conf_http *conf = &rq->context->conf->http;
    enum http_scope scope;
    uint64_t holder;
    int wait_seconds;
    bool needed;

    pthread_mutex_lock(&h->mutex);
    scope = http_tokens_check(h->tokens, authorization);
    needed = http_tokens_needed(h->tokens);
    holder = http_tokens_holder(h->tokens, authorization);
    wait_seconds = http_tokens_take(h->tokens, authorization, timing_mono_ms());
    pthread_mutex_unlock(&h->mutex);
    if (!needed)
        check_origin(rq);
    else if (scope == HTTP_OPEN)
        http_fail(rq, 401, "invalid_token", NULL,
                  "a token is needed: Authorization: Bearer TOKEN");
    else if (scope < needs)
        http_fail(rq, 403, "scope", NULL, "%s admin token is needed",
                  needs == HTTP_FEED ? "a feed or" : "an");
    if (needs == HTTP_ADMIN && conf->admin == CONF_ADMIN_SOCKET &&
        !rq->reply.status)
        http_fail(rq, 403, "admin_socket", NULL,
                  "admin requests are answered only at unix:%s (http.admin: "
                  "socket)",
                  conf->admin_socket);
    if (wait_seconds && !rq->reply.status) {
        http_fail(rq, 429, "rate_limited", NULL,
                  "the token has used up its requests of this minute");
        rq->reply.retry_seconds = wait_seconds;
    }
    return holder;
}

/* --- the body ----------------------------------------------------------- */

void http_admit_too_large(struct http_request *rq)
{
    http_fail(rq, 413, "too_large", NULL,
              "the body is larger than http.max_body_bytes, %lld",
              (long long)rq->context->conf->http.max_body_bytes);
}

static void check_coding(struct http_request *rq, const char *coding)
{
    rq->coding = http_coding_create(coding);
    if (!rq->coding)
        http_fail(rq, 415, "unsupported_encoding", NULL,
                  "Content-Encoding: %s is not supported; the codings are "
                  "gzip and zstd",
                  coding);
}

uint64_t http_admit(struct http *h, struct http_request *rq,
                    const struct http_endpoint *endpoint)
{
    const char *coding = http_head_field(rq->head, "Content-Encoding");
    uint64_t holder = 0;

    if (endpoint && rq->connection->origin != HTTP_FROM_LISTEN)
        check_peer(rq);
    else if (endpoint && endpoint->scope != HTTP_OPEN)
        holder = check_token(h, rq, endpoint->scope);
    if (rq->reply.status)
        return holder;
    if (coding && *coding && strcasecmp(coding, "identity") != 0)
        check_coding(rq, coding);
    if (!rq->reply.status &&
        rq->head->length > (uint64_t)rq->context->conf->http.max_body_bytes)
        http_admit_too_large(rq);
    return holder;
}
