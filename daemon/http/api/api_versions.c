/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/versions and /v1/versions/{n}; and the versions as models, which is
 * how OpenAI's clients see them: GET /v1/models and /v1/models/{name}.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/request/http_model.h"

/* --- versions ----------------------------------------------------------- */

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

/* The gate's JSON; null before the verdict. */
static json_t *gate_json(const struct catalog_version *v)
{
    json_t *gate = v->gate_json ? json_loads(v->gate_json, 0, NULL) : NULL;

    return gate ? gate : json_null();
}

/* The names between the blanks of v->tags. */
static json_t *tags_json(const struct catalog_version *v)
{
    const char *at = v->tags ? v->tags : "";
    json_t *list = json_array();
    size_t n;

    for (; (n = strcspn(at, " ")) > 0; at += n + (at[n] == ' '))
        json_array_append_new(list, json_stringn(at, n));
    return list;
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
    json_object_set_new(json, "tags", tags_json(v));
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

    if (!http_path_number(rq, "version", &n))
        return;
    if (catalog_get(rq->context->catalog, n, &v, &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    http_answer(rq, 200, version_json(&v));
    catalog_version_release(&v);
}

/* --- models ------------------------------------------------------------- */

static json_t *model_json(struct http_request *rq, const char *id,
                          int64_t version, int64_t created_ms)
{
    bool int8 = serving_options(rq->context->serving)->quantize == INFER_INT8;

    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:s}", "id", id, "object",
                     "model", "created", (json_int_t)(created_ms / 1000),
                     "owned_by", HTTP_MODEL_NAME, "version",
                     (json_int_t)version, "quantize", int8 ? "int8" : "none");
}

static void append_tags(struct http_request *rq, json_t *list,
                        const struct catalog_version *v)
{
    json_t *names = tags_json(v);
    const json_t *name;
    size_t i;

    json_array_foreach(names, i, name)
    {
        char *id = xasprintf(HTTP_MODEL_NAME "@%s", json_string_value(name));

        json_array_append_new(list,
                              model_json(rq, id, v->version, v->created_ms));
        free(id);
    }
    json_decref(names);
}

void api_models(struct http_request *rq)
{
    struct catalog_version *versions = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;
    json_t *list;

    if (catalog_list(rq->context->catalog, 0, 0, &versions, &n, &err) != 0) {
        http_fail_err(rq, &err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct catalog_version *v = &versions[i];
        char id[48];

        if (v->serving)
            json_array_insert_new(
                list, 0,
                model_json(rq, HTTP_MODEL_NAME, v->version, v->created_ms));
        snprintf(id, sizeof id, HTTP_MODEL_NAME "@%lld", (long long)v->version);
        if (v->state == STORE_DAMAGED)
            continue;
        json_array_append_new(list,
                              model_json(rq, id, v->version, v->created_ms));
        append_tags(rq, list, v);
    }
    catalog_versions_free(versions, n);
    http_answer(rq, 200,
                json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void api_model(struct http_request *rq)
{
    struct catalog_version v;
    struct err err = ERR_INIT;
    int64_t version;

    if (!http_model_find(rq, rq->argument, &version))
        return;
    if (version == 0)
        version = serving_version(rq->context->serving);
    if (version == 0) {
        http_fail(rq, 503, "not_ready", NULL, "no version serves yet");
        return;
    }
    if (catalog_get(rq->context->catalog, version, &v, &err) != 0) {
        http_model_fail(rq, &err, version);
        return;
    }
    http_answer(rq, 200, model_json(rq, rq->argument, version, v.created_ms));
    catalog_version_release(&v);
}
