/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/request/http_model.h"

#include <string.h>

#include "store/tags.h"

/* --- a name to a number ------------------------------------------------- */

static bool fail_unknown(struct http_request *rq, const char *name)
{
    http_fail(rq, 404, "model_not_found", "model",
              "no model '%s'; the models are mneme, mneme@N, mneme@latest, "
              "mneme@previous and mneme@TAG",
              name);
    return false;
}

static bool find_latest(struct http_request *rq, int64_t *version)
{
    struct catalog_pointers pointers = {0};
    struct err err = ERR_INIT;

    if (catalog_pointers(rq->context->catalog, &pointers, &err) != 0) {
        http_fail_err(rq, &err);
        return false;
    }
    *version = pointers.head;
    if (!*version)
        http_fail(rq, 503, "not_ready", "model", "there is no version yet");
    return *version != 0;
}

static bool find_previous(struct http_request *rq, int64_t *version)
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
                  "no version served before the serving one");
    return *version != 0;
}

static bool find_tag(struct http_request *rq, const char *name, const char *tag,
                     int64_t *version)
{
    struct err err = ERR_INIT;
    int rc = tags_find(rq->context->catalog, tag, version, &err);

    if (rc == ERR_NOTFOUND)
        return fail_unknown(rq, name);
    if (rc)
        http_fail_err(rq, &err);
    return rc == 0;
}

bool http_model_find(struct http_request *rq, const char *name,
                     int64_t *version)
{
    const char *which = name + strlen(HTTP_MODEL_NAME) + 1;

    *version = 0;
    if (!name[0] || !strcmp(name, HTTP_MODEL_NAME))
        return true;
    if (strncmp(name, HTTP_MODEL_NAME "@", strlen(HTTP_MODEL_NAME) + 1) != 0)
        return fail_unknown(rq, name);
    if (!strcmp(which, "latest"))
        return find_latest(rq, version);
    if (!strcmp(which, "previous"))
        return find_previous(rq, version);
    if (http_parse_number(which, version))
        return *version != 0 || fail_unknown(rq, name);
    return find_tag(rq, name, which, version);
}

/* --- a number to a version ---------------------------------------------- */

void http_model_fail(struct http_request *rq, const struct err *err,
                     int64_t version)
{
    if (err->code == ERR_NOTFOUND)
        http_fail(rq, 404, "model_not_found", "model", "%s", err->msg);
    else if (err->code == ERR_STATE && version == 0)
        http_fail(rq, 503, "not_ready", "model", "%s", err->msg);
    else
        http_fail_err(rq, err);
}

const struct infer *http_model_get(struct http_request *rq, int64_t *version)
{
    const struct infer *f = NULL;
    const char *name = HTTP_MODEL_NAME;
    struct catalog_version v;
    struct err err = ERR_INIT;
    int64_t wanted;
    int rc = 0;

    if (!http_get_string(rq, "model", &name) ||
        !http_model_find(rq, name, &wanted))
        return NULL;
    if (wanted &&
        (rc = catalog_get(rq->context->catalog, wanted, &v, &err)) == 0) {
        /* serving_get would read the files of a damaged version again. */
        if (v.state == STORE_DAMAGED)
            rc = err_set(&err, ERR_CORRUPT, "version %lld is damaged",
                         (long long)wanted);
        catalog_version_release(&v);
    }
    if (rc == 0)
        f = serving_get(rq->context->serving, wanted, version, &err);
    if (f)
        rq->reply.version = *version;
    else
        http_model_fail(rq, &err, wanted);
    return f;
}

const struct infer *http_model_get_text(struct http_request *rq,
                                        int64_t *version)
{
    const struct infer *f = http_model_get(rq, version);

    if (!f || infer_tokenizer(f))
        return f;
    serving_put(rq->context->serving, f);
    http_fail(rq, 400, "no_text_model", "model",
              "this daemon learns labels only (model.preset: linear); it can "
              "classify");
    return NULL;
}
