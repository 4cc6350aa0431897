/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations: rollback, promote, pin, tags, the release of a skipped range, and
 * the state of an operation.
 */
#include "config.h"

#include "daemon/http/api/api_operations.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "store/tags.h"

#define OPERATION_WAIT_MS 5000
#define REFUSAL_WAIT_MS 2000 /* long enough for a rollback to be refused */

static void answer_operation(struct http_request *rq, int status,
                             struct control_operation *op)
{
    char *href = xasprintf("/v1/operations/%lld", (long long)op->id);
    json_t *json;

    /* Both may have been cut in the middle of a character. */
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

    if (!http_path_number(rq, "operation", &id))
        return;
    if (control_get(rq->context->control, id, &op, &err) != 0)
        http_fail_err(rq, &err);
    else
        answer_operation(rq, 200, &op);
}

/* Fails the request unless the version exists.
 *   undamaged  fails it for a damaged version, too */
static bool check_version(struct http_request *rq, int64_t version,
                          bool undamaged)
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
    if (undamaged && damaged) {
        http_fail(rq, 409, "damaged", NULL, "version %lld is damaged",
                  (long long)version);
        return false;
    }
    return true;
}

void api_operations_run(struct http_request *rq, enum control_kind kind,
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
    if (control_chooses(kind)) {
        /* The version serves at once, before the operation is written. When it
         * cannot serve, the operation fails with the reason. */
        if (serving_choose(rq->context->serving, version, &err) == 0) {
            status_lock(rq->context->board)->serving_version = version;
            status_unlock(rq->context->board);
        } else {
            log_debug("serving", "%s", err.msg);
        }
    }
    control_start(control, id);
    if (control_wait(control, id, wait_ms, &op, &err) != 0)
        http_fail_err(rq, &err);
    else if (op.state == CONTROL_FAILED)
        http_fail_err(rq, &op.err);
    else
        answer_operation(rq, op.state == CONTROL_DONE ? done : 202, &op);
}

static bool get_rollback_kind(struct http_request *rq, enum control_kind *kind)
{
    static const char *const names[] = {"rewind", "skip", "keep"};
    static const enum control_kind kinds[] = {
        CONTROL_ROLLBACK_REWIND, CONTROL_ROLLBACK_SKIP, CONTROL_ROLLBACK_KEEP};
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

    if (!get_rollback_kind(rq, &kind) ||
        !http_get_string(rq, "reason", &reason) ||
        !http_get_integer(rq, "version", 1, INT64_MAX, &version))
        return;
    if (version == 0)
        http_fail(rq, 400, "missing_parameter", "version",
                  "'version' is needed: the number to go back to");
    else if (check_version(rq, version, true))
        api_operations_run(rq, kind, version, reason, REFUSAL_WAIT_MS, 202);
}

/* POST /v1/versions/{n}/KIND, with the reason in an optional body. */
static void run_on_version(struct http_request *rq, enum control_kind kind)
{
    const char *reason = "";
    int64_t version;

    if (http_get_string(rq, "reason", &reason) &&
        http_path_number(rq, "version", &version) &&
        check_version(rq, version, kind == CONTROL_PROMOTE))
        api_operations_run(rq, kind, version, reason, OPERATION_WAIT_MS, 200);
}

void api_pin(struct http_request *rq)
{
    run_on_version(rq, CONTROL_PIN);
}

void api_unpin(struct http_request *rq)
{
    run_on_version(rq, CONTROL_UNPIN);
}

/* --- tags ----------------------------------------------------------------- */

static json_t *tag_json(const struct tags_tag *tag)
{
    char *model = xasprintf("mneme@%s", tag->name);
    json_t *json = json_pack("{s:s, s:I, s:s}", "name", tag->name, "version",
                             (json_int_t)tag->version, "model", model);

    free(model);
    return json;
}

void api_tags(struct http_request *rq)
{
    struct tags_tag *tags = NULL;
    struct err err = ERR_INIT;
    json_t *list;
    size_t n = 0;

    if (tags_list(rq->context->catalog, &tags, &n, &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, tag_json(&tags[i]));
    tags_free(tags, n);
    http_answer(rq, 200, json_pack("{s:o}", "tags", list));
}

void api_put_tag(struct http_request *rq)
{
    int64_t version = 0;

    if (!tags_is_name(rq->argument)) {
        http_fail(rq, 400, "invalid_value", NULL, "%s: " TAGS_RULE,
                  rq->argument);
        return;
    }
    if (!http_get_integer(rq, "version", 1, INT64_MAX, &version))
        return;
    if (version == 0)
        http_fail(rq, 400, "missing_parameter", "version",
                  "'version' is needed: the number of the version");
    else if (check_version(rq, version, false))
        api_operations_run(rq, CONTROL_TAG, version, rq->argument,
                           OPERATION_WAIT_MS, 200);
}

void api_delete_tag(struct http_request *rq)
{
    struct err err = ERR_INIT;
    int64_t version;

    if (tags_find(rq->context->catalog, rq->argument, &version, &err) != 0)
        http_fail_err(rq, &err);
    else
        api_operations_run(rq, CONTROL_UNTAG, 0, rq->argument,
                           OPERATION_WAIT_MS, 200);
}

/* --- ranges, promote ------------------------------------------------------ */

void api_release_range(struct http_request *rq)
{
    const char *reason = "";
    int64_t range;

    if (http_get_string(rq, "reason", &reason) &&
        http_path_number(rq, "range", &range))
        api_operations_run(rq, CONTROL_RELEASE_RANGE, range, reason,
                           OPERATION_WAIT_MS, 200);
}

void api_promote(struct http_request *rq)
{
    const char *reason = "";

    if (strcmp(rq->argument, "latest") != 0)
        run_on_version(rq, CONTROL_PROMOTE);
    else if (http_get_string(rq, "reason", &reason))
        api_operations_run(rq, CONTROL_PROMOTE_LATEST, 0, reason,
                           OPERATION_WAIT_MS, 200);
}
