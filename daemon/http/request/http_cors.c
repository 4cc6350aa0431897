/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/request/http_cors.h"

#include <string.h>
#include <strings.h>

#include "daemon/http/wire/http_head.h"

const char *http_cors_origin(const struct http_request *rq)
{
    const struct conf_strings *list = &rq->context->conf->http.cors_origins;
    const char *origin = rq->head ? http_head_field(rq->head, "Origin") : NULL;

    for (size_t i = 0; origin && i < list->n; i++) {
        if (strcmp(list->items[i], "*") == 0)
            return "*";
        if (strcasecmp(list->items[i], origin) == 0)
            return list->items[i];
    }
    return NULL;
}

bool http_cors_preflight(struct http_request *rq)
{
    if (strcmp(rq->head->method, "OPTIONS") != 0 || !http_cors_origin(rq) ||
        !http_head_field(rq->head, "Access-Control-Request-Method"))
        return false;
    rq->reply.status = 204;
    rq->reply.type = "text/plain";
    rq->reply.preflight = true;
    return true;
}
