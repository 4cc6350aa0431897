/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The quarantine and forgetting. Fields of the requests:
 *
 *     GET /v1/quarantine             ?limit, before, reason, topic
 *     POST /v1/quarantine/release    {"reason": R} or {"all": true}
 *     POST /v1/forget                {"id": ID} or {"domain": D}
 */
#include "config.h"

#include "daemon/http/api/api_operations.h"

#include <string.h>

#include "base/json_value.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/stream/record_reason.h"
#include "daemon/stream/released_records.h"

#define LIST_ROWS 100
#define PREVIEW_BYTES 200
#define RELEASE_WAIT_MS 5000
#define FORGET_WAIT_MS 2000 /* long enough for a forget to be refused */

/* --- reading ------------------------------------------------------------ */

/* A name comes from a record and may be invalid UTF-8. */
static json_t *name_or_null(const char *s)
{
    return s ? json_value_text(s) : json_null();
}

static json_t *row_json(const struct catalog_quarantine *row)
{
    char at[TIMING_ISO_MAX] = "";

    if (row->time_ms > 0)
        timing_iso8601(row->time_ms, at);
    return json_pack(
        "{s:I, s:o, s:i, s:I, s:I, s:o, s:s, s:o, s:o, s:I, s:b, s:b}", "id",
        (json_int_t)row->row, "topic", name_or_null(row->topic), "partition",
        (int)row->partition, "offset", (json_int_t)row->offset, "time_ms",
        (json_int_t)row->time_ms, "time",
        row->time_ms > 0 ? json_string(at) : json_null(), "reason",
        row->reason ? row->reason : "", "record_id", name_or_null(row->id),
        "domain", name_or_null(row->domain), "bytes", (json_int_t)row->size,
        "whole", row->whole, "released", row->released != 0);
}

void api_quarantine(struct http_request *rq)
{
    struct catalog_quarantine_filter filter = {.most_bytes = PREVIEW_BYTES};
    struct catalog_quarantine *rows = NULL;
    struct err err = ERR_INIT;
    int64_t limit = LIST_ROWS;
    size_t n = 0;
    json_t *list;

    if (!http_query_integer(rq, "limit", 1, 1000000, &limit) ||
        !http_query_integer(rq, "before", 0, INT64_MAX, &filter.before))
        return;
    http_query_text(rq, "reason", &filter.reason);
    http_query_text(rq, "topic", &filter.topic);
    filter.limit = (size_t)limit;
    if (catalog_quarantine_find(rq->context->catalog, &filter, &rows, &n,
                                &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *row = row_json(&rows[i]);

        json_object_set_new(
            row, "preview",
            rows[i].bytes ? json_value_bytes(rows[i].bytes, rows[i].n_bytes)
                          : json_null());
        json_array_append_new(list, row);
    }
    catalog_quarantine_free(rows, n);
    http_answer(rq, 200, json_pack("{s:o}", "quarantine", list));
}

/* The row with the record, in base64 and, if it is UTF-8, as text. */
static json_t *record_json(const struct http_request *rq,
                           const struct catalog_quarantine *row)
{
    int64_t n_labels = status_lock(rq->context->board)->labels;
    struct err why = ERR_INIT;
    json_t *json = row_json(row);
    char detail[160];
    bool is_text = utf8_valid(row->bytes, row->n_bytes);

    status_unlock(rq->context->board);
    record_reason_explain(row->reason ? row->reason : "", row->bytes,
                          row->n_bytes, detail, sizeof detail);
    json_object_set_new(json, "detail",
                        *detail ? json_string(detail) : json_null());
    json_object_set_new(json, "text",
                        is_text ? json_stringn(row->bytes, row->n_bytes)
                                : json_null());
    json_object_set_new(json, "base64", http_base64(row->bytes, row->n_bytes));
    released_records_check(rq->context->conf, row, n_labels, &why);
    json_object_set_new(json, "releasable",
                        json_boolean(why.code == ERR_OK));
    json_object_set_new(json, "why_not",
                        why.code == ERR_OK ? json_null()
                                           : json_string(why.msg));
    return json;
}

/* The row whose number is in the path. NULL: the request has failed. */
static struct catalog_quarantine *find_row(struct http_request *rq)
{
    struct catalog_quarantine_filter filter = {0};
    struct catalog_quarantine *row = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;

    if (http_parse_number(rq->argument, &filter.row) && filter.row != 0 &&
        catalog_quarantine_find(rq->context->catalog, &filter, &row, &n,
                                &err) != 0)
        http_fail_err(rq, &err);
    else if (n == 0)
        http_fail(rq, 404, "not_found", NULL, "no record %s in quarantine",
                  rq->argument);
    return row;
}

void api_quarantined(struct http_request *rq)
{
    struct catalog_quarantine *row = find_row(rq);

    if (!row)
        return;
    http_answer(rq, 200, record_json(rq, row));
    catalog_quarantine_free(row, 1);
}

/* --- releasing ---------------------------------------------------------- */

void api_release(struct http_request *rq)
{
    struct catalog_quarantine *row = find_row(rq);
    int64_t number;

    if (!row)
        return;
    number = row->row;
    catalog_quarantine_free(row, 1);
    api_operations_run(rq, CONTROL_RELEASE, number, "", RELEASE_WAIT_MS, 202);
}

void api_release_many(struct http_request *rq)
{
    const char *reason = "";
    bool all = false;

    if (!http_get_string(rq, "reason", &reason) ||
        !http_get_bool(rq, "all", &all))
        return;
    if (all == (*reason != '\0'))
        http_fail(rq, 400, "missing_parameter", "reason",
                  "either 'reason' or 'all': true is needed");
    else
        api_operations_run(rq, CONTROL_RELEASE, 0, reason, RELEASE_WAIT_MS,
                           202);
}

/* --- forgetting --------------------------------------------------------- */

void api_forget(struct http_request *rq)
{
    const char *id = "", *domain = "";
    const char *name;

    if (!http_get_string(rq, "id", &id) ||
        !http_get_string(rq, "domain", &domain))
        return;
    name = *id ? id : domain;
    if ((*id != '\0') == (*domain != '\0'))
        http_fail(rq, 400, "missing_parameter", "id",
                  "either 'id' or 'domain' is needed");
    else if (strlen(name) > RECORD_NAME_MAX)
        http_fail(rq, 400, "invalid_value", *id ? "id" : "domain",
                  "no record has an id or a domain above %d bytes",
                  RECORD_NAME_MAX);
    else
        api_operations_run(rq, *id ? CONTROL_FORGET_ID : CONTROL_FORGET_DOMAIN,
                           0, name, FORGET_WAIT_MS, 202);
}
