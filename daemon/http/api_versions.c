/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/versions and /v1/versions/{n}.
 */
#include "config.h"

#include "daemon/http/http_impl.h"

#include "base/json_value.h"
#include "base/timing.h"

static json_t *offsets_json(const struct catalog_version *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->n_offsets; i++) {
        const struct catalog_offset *o = &v->offsets[i];

        json_array_append_new(
            list, json_pack("{s:s, s:i, s:I, s:I}", "topic", o->topic,
                            "partition", (int)o->partition, "offset",
                            (json_int_t)o->next_offset, "tokens_done",
                            (json_int_t)o->tokens_done));
    }
    return list;
}

static json_t *holdout_json(const struct catalog_version *v)
{
    json_t *domains = json_object();

    for (size_t i = 0; i < v->n_domains; i++) {
        const struct catalog_domain *d = &v->domains[i];

        json_object_set_new(domains, d->domain,
                            json_pack("{s:o, s:o, s:I}", "bits_per_byte",
                                      json_value_real(d->bits_per_byte),
                                      "accuracy", json_value_real(d->accuracy),
                                      "chunks", (json_int_t)d->chunks));
    }
    return domains;
}

/* What the gate wrote; null while there is nothing. */
static json_t *gate_json(const struct catalog_version *v)
{
    json_t *gate = v->gate_json ? json_loads(v->gate_json, 0, NULL) : NULL;

    return gate ? gate : json_null();
}

static json_t *version_json(const struct catalog_version *v)
{
    char created[TIMING_ISO_MAX];
    json_t *json;

    timing_iso8601(v->created_ms, created);
    json = json_pack(
        "{s:I, s:o, s:I, s:s, s:I, s:I, s:s, s:I, s:s, s:b, s:b, s:b}",
        "version", (json_int_t)v->version, "parent",
        v->parent ? json_integer(v->parent) : json_null(), "created",
        (json_int_t)(v->created_ms / 1000), "created_at", created, "step",
        (json_int_t)v->step, "tokens_seen", (json_int_t)v->tokens_seen,
        "weights_sha256", v->weights_sha256, "bytes", (json_int_t)v->bytes,
        "state", store_state_name(v->state), "serving", v->serving, "pinned",
        v->pinned, "head", v->head);
    json_object_set_new(json, "forgotten", json_boolean(v->forgotten));
    json_object_set_new(json, "offsets", offsets_json(v));
    json_object_set_new(json, "holdout", holdout_json(v));
    json_object_set_new(json, "gate", gate_json(v));
    return json;
}

void api_versions(struct http_request *rq)
{
    struct catalog_version *versions = NULL;
    int64_t before = 0, limit = 0;
    struct err err = ERR_INIT;
    size_t n = 0;
    json_t *list;

    if (!http_query_integer(rq, "before", 0, INT64_MAX, &before) ||
        !http_query_integer(rq, "limit", 1, 1000000, &limit))
        return;
    if (catalog_list(rq->context->catalog, before, (size_t)limit, &versions,
                     &n, &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, version_json(&versions[i]));
    catalog_versions_free(versions, n);
    http_answer(rq, 200, json_pack("{s:o}", "versions", list));
}

void api_version(struct http_request *rq)
{
    struct catalog_version v;
    struct err err = ERR_INIT;
    int64_t n;

    if (!http_parse_number(rq->argument, &n)) {
        http_fail(rq, 404, "not_found", NULL, "no version %s",
                  rq->argument);
        return;
    }
    if (catalog_get(rq->context->catalog, n, &v, &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    http_answer(rq, 200, version_json(&v));
    catalog_version_release(&v);
}
