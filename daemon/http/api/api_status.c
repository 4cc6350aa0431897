/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of the daemon: status, metrics, health, history and series.
 */
#include "config.h"

#include "daemon/http/api/http_endpoints.h"
#include "store/tags.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/metrics.h"
#include "daemon/board/series.h"
#include "daemon/http/wire/http_head.h"

#define HISTORY_ROWS 1000

void api_status(struct http_request *rq)
{
    http_answer(rq, 200, status_to_json(rq->context->board));
}

void api_domains(struct http_request *rq)
{
    http_answer(rq, 200, status_domains_json(rq->context->board));
}

/* The quality of a media type in an Accept header; 0: it is not named. Of
 * several entries the best one counts. */
static double quality(const char *accept, const char *type)
{
    double best = 0;

    while (accept && *accept) {
        size_t n, n_type;
        char *entry, *q;

        accept += strspn(accept, ", \t");
        n = strcspn(accept, ",");
        entry = xstrndup(accept, n);
        n_type = strcspn(entry, "; \t");
        q = strstr(entry, "q=");
        if (n_type == strlen(type) && !strncasecmp(entry, type, n_type))
            best = fmax(best, q ? strtod(q + 2, NULL) : 1);
        free(entry);
        accept += n;
    }
    return best;
}

/* OpenMetrics for a reader that names it, and does not like text better. */
void api_metrics(struct http_request *rq)
{
    const char *accept = http_head_field(rq->head, "Accept");
    double open = quality(accept, "application/openmetrics-text");

    status_to_metrics(rq->context->board, &rq->reply.text);
    http_cancel_metrics(rq->rules, &rq->reply.text);
    rq->reply.type = "text/plain; version=0.0.4; charset=utf-8";
    if (open > 0 && open >= quality(accept, "text/plain")) {
        metrics_to_openmetrics(&rq->reply.text);
        rq->reply.type =
            "application/openmetrics-text; version=1.0.0; charset=utf-8";
    }
    rq->reply.status = 200;
}

void api_series(struct http_request *rq)
{
    int64_t after_ms = -1;

    if (!http_query_integer(rq, "after", 0, INT64_MAX, &after_ms))
        return;
    series_to_json(rq->series, after_ms, &rq->reply.text);
    rq->reply.type = "application/json";
    rq->reply.status = 200;
}

void api_healthz(struct http_request *rq)
{
    http_answer(rq, 200, json_pack("{s:s}", "status", "alive"));
}

void api_readyz(struct http_request *rq)
{
    int64_t version = serving_version(rq->context->serving);
    struct status *s;

    if (http_cancel_stopping(rq->rules)) {
        http_fail(rq, 503, "stopping", NULL, "the daemon is stopping");
        return;
    }
    if (version) {
        http_answer(rq, 200,
                    json_pack("{s:s, s:I}", "status", "ready", "version",
                              (json_int_t)version));
        return;
    }
    s = status_copy(rq->context->board);
    http_fail(rq, 503, "not_ready", NULL,
              "no version serves yet: the daemon is %s%s%s",
              status_state_name(s->state), s->reason[0] ? ": " : "",
              s->reason);
    free(s);
}

static json_t *time_or_null(int64_t ms)
{
    char text[TIMING_ISO_MAX];

    if (!ms)
        return json_null();
    timing_iso8601(ms, text);
    return json_string(text);
}

static json_t *history_row_json(const struct catalog_history *row)
{
    return json_pack("{s:I, s:I, s:I, s:s?, s:s?, s:I, s:I, s:o, s:o}", "id",
                     (json_int_t)row->id, "version",
                     (json_int_t)row->version, "previous",
                     (json_int_t)row->previous, "cause", row->cause,
                     "reason", row->reason, "from_ms",
                     (json_int_t)row->from_ms, "until_ms",
                     (json_int_t)row->until_ms, "from",
                     time_or_null(row->from_ms), "until",
                     time_or_null(row->until_ms));
}

/* The changes of tags, newest first. False: the request has failed. */
static bool add_tag_moves(struct http_request *rq, size_t limit, json_t **list)
{
    struct tags_move *moves = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;

    if (tags_moves(rq->context->catalog, limit, &moves, &n, &err) != 0) {
        http_fail_err(rq, &err);
        return false;
    }
    *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            *list,
            json_pack("{s:s, s:o, s:o}", "name", moves[i].name, "version",
                      moves[i].version ? json_integer(moves[i].version)
                                       : json_null(),
                      "time", time_or_null(moves[i].time_ms)));
    tags_moves_free(moves, n);
    return true;
}

void api_history(struct http_request *rq)
{
    struct catalog_history *rows = NULL;
    struct err err = ERR_INIT;
    int64_t limit = HISTORY_ROWS;
    size_t n = 0;
    json_t *list, *tags;

    if (!http_query_integer(rq, "limit", 1, 1000000, &limit))
        return;
    if (catalog_history(rq->context->catalog, (size_t)limit, &rows, &n,
                        &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, history_row_json(&rows[i]));
    catalog_history_free(rows, n);
    if (add_tag_moves(rq, (size_t)limit, &tags))
        http_answer(rq, 200,
                    json_pack("{s:o, s:o}", "history", list, "tags", tags));
    else
        json_decref(list);
}

static json_t *range_json(const struct catalog_skip *r)
{
    return json_pack("{s:I, s:s?, s:s?, s:i, s:I, s:I, s:I, s:s?, s:o, s:o}",
                     "id", (json_int_t)r->id, "kind", r->kind, "topic",
                     r->topic, "partition", (int)r->partition,
                     "first_offset", (json_int_t)r->range.first_offset,
                     "last_offset", (json_int_t)r->range.last_offset,
                     "version", (json_int_t)r->version, "reason", r->reason,
                     "time", time_or_null(r->time_ms), "released",
                     time_or_null(r->released_ms));
}

void api_ranges(struct http_request *rq)
{
    struct catalog_skip *rows = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;
    json_t *list;

    if (catalog_ranges(rq->context->catalog, &rows, &n, &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, range_json(&rows[i]));
    catalog_ranges_free(rows, n);
    http_answer(rq, 200, json_pack("{s:o}", "ranges", list));
}
