/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of versions, and GET /v1/models: the versions as OpenAI's clients see
 * them.
 *
 *     mneme            the one that serves
 *     mneme@42         version 42
 *     mneme@latest     the newest published, whatever the gate said
 *     mneme@previous   the one that served before
 */
#include "config.h"

#include "daemon/http/http_impl.h"

#include <stdio.h>
#include <string.h>

#define NAME "mneme"

/* --- a name to a number ------------------------------------------------- */

static bool unknown(struct http_request *rq, const char *name)
{
    http_fail(rq, 404, "model_not_found", "model",
              "no model '%s'; there are mneme, mneme@N, mneme@latest and "
              "mneme@previous",
              name);
    return false;
}

static bool latest(struct http_request *rq, int64_t *version)
{
    struct catalog_pointers pointers = {0};
    struct err err = ERR_INIT;

    if (catalog_pointers(rq->context->catalog, &pointers, &err) != 0) {
        http_fail_err(rq, &err);
        return false;
    }
    *version = pointers.head;
    if (!*version)
        http_fail(rq, 503, "not_ready", "model", "no version yet");
    return *version != 0;
}

static bool previous(struct http_request *rq, int64_t *version)
{
    struct catalog_history *rows = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;

    if (catalog_history(rq->context->catalog, 1, &rows, &n, &err) != 0) {
        http_fail_err(rq, &err);
        return false;
    }
    *version = n ? rows[0].previous : 0;
    catalog_history_free(rows, n);
    if (!*version)
        http_fail(rq, 404, "model_not_found", "model",
                  "no version served before the present one");
    return *version != 0;
}

/* *version 0: the serving one. */
static bool resolve(struct http_request *rq, const char *name,
                    int64_t *version)
{
    const char *which = name + strlen(NAME) + 1;

    *version = 0;
    if (!name[0] || !strcmp(name, NAME))
        return true;
    if (strncmp(name, NAME "@", strlen(NAME) + 1) != 0)
        return unknown(rq, name);
    if (!strcmp(which, "latest"))
        return latest(rq, version);
    if (!strcmp(which, "previous"))
        return previous(rq, version);
    if (!http_parse_number(which, version) || *version == 0)
        return unknown(rq, name);
    return true;
}

/* --- a number to what answers ------------------------------------------- */

static const struct infer *refuse(struct http_request *rq,
                                  const struct err *err, int64_t version)
{
    if (err->code == ERR_NOTFOUND)
        http_fail(rq, 404, "model_not_found", "model", "%s", err->msg);
    else if (err->code == ERR_STATE && version == 0)
        http_fail(rq, 503, "not_ready", "model", "%s", err->msg);
    else
        http_fail_err(rq, err);
    return NULL;
}

/* Is it one that can be asked? Files of a version that is known to be damaged
 * are not read again. */
static bool check(struct http_request *rq, int64_t version, struct err *err)
{
    struct catalog_version v;
    int rc = catalog_get(rq->context->catalog, version, &v, err);

    if (rc == 0 && v.state == STORE_DAMAGED)
        rc = err_set(err, ERR_CORRUPT, "version %lld is damaged",
                     (long long)version);
    else if (rc)
        return false;
    catalog_version_release(&v);
    return rc == 0;
}

const struct infer *http_find_model(struct http_request *rq,
                                    const char *name, int64_t *version)
{
    struct err err = ERR_INIT;
    const struct infer *f;
    int64_t wanted;

    if (!resolve(rq, name ? name : NAME, &wanted))
        return NULL;
    if (wanted && !check(rq, wanted, &err))
        return refuse(rq, &err, wanted);
    f = serving_get(rq->context->serving, wanted, version, &err);
    if (!f)
        return refuse(rq, &err, wanted);
    rq->reply.version = *version;
    return f;
}

const struct infer *http_get_model(struct http_request *rq, int64_t *version)
{
    const char *name = NULL;

    if (!http_get_string(rq, "model", &name))
        return NULL;
    return http_find_model(rq, name, version);
}

bool http_need_text_model(struct http_request *rq, const struct infer *f)
{
    if (infer_tokenizer(f))
        return true;
    http_fail(rq, 400, "no_text_model", "model",
              "this daemon learns labels only (model.preset: linear); it can "
              "classify");
    return false;
}

/* --- as models ---------------------------------------------------------- */

static json_t *model_json(struct http_request *rq, const char *id,
                          int64_t version, int64_t created_ms)
{
    bool int8 =
        serving_options(rq->context->serving)->quantize == INFER_INT8;

    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:s}", "id", id, "object",
                     "model", "created", (json_int_t)(created_ms / 1000),
                     "owned_by", NAME, "version", (json_int_t)version,
                     "quantize", int8 ? "int8" : "none");
}

static void add_version(struct http_request *rq, json_t *list,
                        const struct catalog_version *v)
{
    char id[48];

    if (v->serving)
        json_array_insert_new(
            list, 0, model_json(rq, NAME, v->version, v->created_ms));
    snprintf(id, sizeof id, NAME "@%lld", (long long)v->version);
    if (v->state != STORE_DAMAGED)
        json_array_append_new(
            list, model_json(rq, id, v->version, v->created_ms));
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
    for (size_t i = 0; i < n; i++)
        add_version(rq, list, &versions[i]);
    catalog_versions_free(versions, n);
    http_answer(rq, 200,
                json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void api_model(struct http_request *rq)
{
    struct catalog_version v;
    struct err err = ERR_INIT;
    int64_t version;

    if (!resolve(rq, rq->argument, &version))
        return;
    if (version == 0)
        version = serving_version(rq->context->serving);
    if (version == 0) {
        http_fail(rq, 503, "not_ready", NULL, "no version serves yet");
        return;
    }
    if (catalog_get(rq->context->catalog, version, &v, &err) != 0) {
        refuse(rq, &err, version);
        return;
    }
    http_answer(rq, 200,
                model_json(rq, rq->argument, version, v.created_ms));
    catalog_version_release(&v);
}
