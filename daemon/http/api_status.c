/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the daemon is doing, and what it is asked to do.
 */
#include "config.h"

#include "daemon/http/http_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/http/dashboard.h"

#define OPERATION_WAIT_MS 5000
#define REFUSAL_WAIT_MS 2000 /* a rollback that cannot be is told at once */
#define HISTORY_ROWS 1000

/* --- looking ------------------------------------------------------------ */

void api_status(struct http_request *rq)
{
    http_answer(rq, 200, status_to_json(rq->context->board));
}

void api_domains(struct http_request *rq)
{
    http_answer(rq, 200, status_domains_json(rq->context->board));
}

void api_metrics(struct http_request *rq)
{
    status_to_metrics(rq->context->board, &rq->reply.text);
    http_metrics(rq->http, &rq->reply.text);
    rq->reply.type = "text/plain; version=0.0.4; charset=utf-8";
    rq->reply.status = 200;
}

void api_dashboard(struct http_request *rq)
{
    for (size_t i = 0; dashboard_lines[i]; i++)
        buf_adds(&rq->reply.text, dashboard_lines[i]);
    rq->reply.type = "text/html; charset=utf-8";
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

    if (http_closed(rq->http)) {
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

void api_history(struct http_request *rq)
{
    struct catalog_history *rows = NULL;
    struct err err = ERR_INIT;
    int64_t limit = HISTORY_ROWS;
    size_t n = 0;
    json_t *list;

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
    http_answer(rq, 200, json_pack("{s:o}", "history", list));
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

/* What rollbacks left out of the stream. */
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

/* --- asking for something ----------------------------------------------- */

static void answer_operation(struct http_request *rq, int status,
                             struct control_operation *op)
{
    char *href = xasprintf("/v1/operations/%lld", (long long)op->id);
    json_t *json;

    /* Both may have been cut to size in the middle of a character. */
    op->reason[utf8_whole(op->reason, strlen(op->reason))] = '\0';
    op->detail[utf8_whole(op->detail, strlen(op->detail))] = '\0';
    json = control_to_json(op);

    json_object_set_new(json, "id", json_integer(op->id));
    json_object_set_new(json, "href", json_string(href));
    free(href);
    http_answer(rq, status, json);
}

void api_operation(struct http_request *rq)
{
    struct control_operation op;
    struct err err = ERR_INIT;
    int64_t id;

    if (!http_parse_number(rq->argument, &id))
        http_fail(rq, 404, "not_found", NULL, "no operation %s",
                  rq->argument);
    else if (control_get(rq->context->control, id, &op, &err) != 0)
        http_fail_err(rq, &err);
    else
        answer_operation(rq, 200, &op);
}

/* Fails unless there is such a version, and undamaged. */
static bool need_version(struct http_request *rq, int64_t version,
                         bool whole)
{
    struct catalog_version v;
    struct err err = ERR_INIT;
    bool damaged;

    if (catalog_get(rq->context->catalog, version, &v, &err) != 0) {
        http_fail_err(rq, &err);
        return false;
    }
    damaged = v.state == STORE_DAMAGED;
    catalog_version_release(&v);
    if (whole && damaged) {
        http_fail(rq, 409, "damaged", NULL, "version %lld is damaged",
                  (long long)version);
        return false;
    }
    return true;
}

/* Answers come from it at once. Where that cannot be, the operation says why.
 */
static void choose_now(struct http_request *rq, int64_t version)
{
    struct err err = ERR_INIT;

    if (serving_choose(rq->context->serving, version, &err) != 0) {
        log_debug("serving", "%s", err.msg);
        return;
    }
    status_lock(rq->context->board)->serving_version = version;
    status_unlock(rq->context->board);
}

void api_operate(struct http_request *rq, enum control_kind kind,
                 int64_t version, const char *reason, int64_t wait_ms,
                 int done)
{
    struct control *control = rq->context->control;
    struct control_operation op;
    struct err err = ERR_INIT;
    int64_t id;

    if (control_submit(control, kind, version, reason, &id, &err) != 0) {
        http_fail(rq, 429, "too_many_operations", NULL, "%s", err.msg);
        return;
    }
    if (control_chooses(kind))
        choose_now(rq, version);
    control_start(control, id);
    if (control_wait(control, id, wait_ms, &op, &err) != 0)
        http_fail_err(rq, &err);
    else if (op.state == CONTROL_FAILED)
        http_fail_err(rq, &op.err);
    else
        answer_operation(rq, op.state == CONTROL_DONE ? done : 202, &op);
}

static bool get_stream(struct http_request *rq, enum control_kind *kind)
{
    static const char *const names[] = {"rewind", "skip", "keep"};
    static const enum control_kind kinds[] = {CONTROL_ROLLBACK_REWIND,
                                              CONTROL_ROLLBACK_SKIP,
                                              CONTROL_ROLLBACK_KEEP};
    const char *stream = "rewind";

    if (!http_get_string(rq, "stream", &stream))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(stream, names[i]) != 0)
            continue;
        *kind = kinds[i];
        return true;
    }
    http_fail(rq, 400, "invalid_value", "stream",
              "'stream' must be rewind, skip or keep");
    return false;
}

void api_rollback(struct http_request *rq)
{
    enum control_kind kind;
    const char *reason = "";
    int64_t version = 0;

    if (!get_stream(rq, &kind) ||
        !http_get_string(rq, "reason", &reason) ||
        !http_get_integer(rq, "version", 1, INT64_MAX, &version))
        return;
    if (version == 0)
        http_fail(rq, 400, "missing_parameter", "version",
                  "'version' is needed: the number to go back to");
    else if (need_version(rq, version, true))
        api_operate(rq, kind, version, reason, REFUSAL_WAIT_MS, 202);
}

/* POST /v1/versions/{n}/..., with the reason in an optional body. */
static void on_version(struct http_request *rq, enum control_kind kind)
{
    const char *reason = "";
    int64_t version;

    if (!http_get_string(rq, "reason", &reason))
        return;
    if (!http_parse_number(rq->argument, &version))
        http_fail(rq, 404, "not_found", NULL, "no version %s",
                  rq->argument);
    else if (need_version(rq, version, kind == CONTROL_PROMOTE))
        api_operate(rq, kind, version, reason, OPERATION_WAIT_MS, 200);
}

void api_pin(struct http_request *rq)
{
    on_version(rq, CONTROL_PIN);
}

void api_unpin(struct http_request *rq)
{
    on_version(rq, CONTROL_UNPIN);
}

/* POST /v1/ranges/{id}/release */
void api_release_range(struct http_request *rq)
{
    const char *reason = "";
    int64_t range;

    if (!http_get_string(rq, "reason", &reason))
        return;
    if (!http_parse_number(rq->argument, &range))
        http_fail(rq, 404, "not_found", NULL, "no range %s", rq->argument);
    else
        api_operate(rq, CONTROL_RELEASE_RANGE, range, reason,
                    OPERATION_WAIT_MS, 200);
}

void api_promote(struct http_request *rq)
{
    const char *reason = "";

    if (strcmp(rq->argument, "latest") != 0)
        on_version(rq, CONTROL_PROMOTE);
    else if (http_get_string(rq, "reason", &reason))
        api_operate(rq, CONTROL_PROMOTE_LATEST, 0, reason, OPERATION_WAIT_MS,
                200);
}
