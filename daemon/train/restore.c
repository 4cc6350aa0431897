/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/restore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "daemon/intake/vocabulary.h"
#include "daemon/train/options.h"
#include "replay/replay.h"
#include "interchange/import.h"
#include "learner/model.h"

/* --- settings ----------------------------------------------------------- */

/* The directory keeps its tokenizer when the configuration sets none: the
 * program's defaults may have been others when the directory was made. */
static int keep_tokenizer(struct store *store, struct conf *conf,
                          struct err *err)
{
    static const char *const keys[] = {"model.tokenizer", "model.vocab_size"};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof keys / sizeof *keys; i++) {
        char *stored = NULL;

        rc = store_setting_get(store, keys[i], &stored, err);
        if (rc == 0 && stored)
            rc = conf_set_default(conf, keys[i], stored, err);
        free(stored);
    }
    return rc;
}

/* Stores the value, or compares it with the stored one. */
static int compare_setting(struct store *store, const char *key,
                           const char *value, struct err *err)
{
    char *stored = NULL;
    int rc = store_setting_get(store, key, &stored, err);

    if (rc == 0 && !stored)
        rc = store_setting_put(store, key, value, err);
    else if (rc == 0 && strcmp(stored, value) != 0)
        rc = err_set(err, ERR_STATE,
                     "%s: this data directory was made with %s: %s, and the "
                     "configuration says %s; set it back, or use another "
                     "data_dir",
                     store_dir(store), key, stored, value);
    free(stored);
    return rc;
}

int restore_parse_shards(const char *stored, int *shards, struct err *err)
{
    char *end;
    long n = strtol(stored, &end, 10);

    if (end == stored || *end || n < 1 || n > RESTORE_MAX_SHARDS)
        return err_set(err, ERR_CORRUPT,
                       "mneme.db: the setting learner.shards is \"%.20s\": "
                       "expected 1 to %d",
                       stored, RESTORE_MAX_SHARDS);
    *shards = (int)n;
    return 0;
}

int restore_settings(struct store *store, struct conf *conf, int threads,
                     int *shards, struct err *err)
{
    static const char *const fixed[] = {
        "model.preset",  "model.tokenizer", "model.vocab_size",
        "model.qk_norm", "model.dim",       "model.layers",
        "model.heads",   "model.kv_heads",  "model.ffn_dim",
        "model.context", "learner.seed",
    };
    char text[16], *stored = NULL;
    int rc = store_setting_get(store, "learner.shards", &stored, err);

    *shards = conf->learner.shards ? (int)conf->learner.shards : threads;
    if (rc == 0 && stored && !conf->learner.shards)
        rc = restore_parse_shards(stored, shards, err);
    free(stored);
    snprintf(text, sizeof text, "%d", *shards);
    if (rc == 0)
        rc = keep_tokenizer(store, conf, err);
    if (rc == 0)
        rc = compare_setting(store, "learner.shards", text, err);
    for (size_t i = 0; rc == 0 && i < sizeof fixed / sizeof *fixed; i++) {
        char *value;

        /* Beside model.init it only decides the first version's shape, which
         * the versions keep. */
        if (conf->model.preset != CONF_PRESET_CUSTOM &&
            strcmp(fixed[i], "model.context") == 0)
            continue;
        value = conf_text(conf, fixed[i]);
        rc = compare_setting(store, fixed[i], value, err);
        free(value);
    }
    return rc;
}

/* --- a new state -------------------------------------------------------- */

/* Checks the shape before the numbers take memory, and reads them. */
static int read_model(const char *source, struct import_model *m,
                      struct err *err)
{
    struct model_shape shape;
    int rc = import_read_shape(source, &shape, err);

    if (rc == 0)
        rc = model_shape_check(&shape, err);
    return rc ? rc : import_read(source, m, err);
}

/* model.init: shape, vocabulary and weights of a published model. */
static int begin_from_model(const struct conf *conf, struct learning *learning,
                            struct err *err)
{
    const char *source = conf->model.init;
    struct import_model m = IMPORT_MODEL_INIT;
    struct tokenizer *tokenizer = NULL;
    int rc = read_model(source, &m, err);

    if (rc == 0) {
        rc = tokenizer_from_json(m.tokenizer_json.data, m.tokenizer_json.len,
                                 &tokenizer, err);
        if (rc && m.is_gguf)
            err_prefix(err, "its tokenizer, written as Hugging Face's");
    }
    options_limit_context(conf, &m.shape);
    if (rc == 0)
        rc = learning_prepare_shape(learning, tokenizer, &m.shape, err);
    if (rc == 0)
        rc = learner_import_weights(learning->learner, &m.weights, err);
    import_release(&m);
    if (rc && err && strncmp(err->msg, source, strlen(source)) != 0)
        err_prefix(err, "%s", source);
    return rc;
}

int restore_new(const struct conf *conf, struct learning *learning,
                struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    int rc;

    if (!learning->has_model)
        return learning_prepare(learning, NULL, err);
    if (conf->model.init)
        return begin_from_model(conf, learning, err);
    rc = vocabulary_known(conf, &tokenizer, err);
    if (rc == 0 && tokenizer)
        rc = learning_prepare(learning, tokenizer, err);
    return rc;
}

int restore_shape(struct catalog *catalog, const struct conf *conf,
                  struct model_shape *shape, struct err *err)
{
    struct catalog_pointers pointers = {0};
    int rc = catalog_pointers(catalog, &pointers, err);

    if (rc == 0 && pointers.head &&
        store_load_shape(catalog, pointers.head, shape, NULL) == 0)
        return 0;
    return rc ? rc : options_first_shape(conf, shape, err);
}

/* --- a stored state ----------------------------------------------------- */

static int mark_damaged(struct store *store, int64_t version, struct err *err)
{
    log_error("damaged", "version=%lld error=\"%s\"", (long long)version,
              err->msg);
    return store_set_state(store, version, STORE_DAMAGED, err->msg, err);
}

/*
 * The head is damaged: the newest whole version becomes the head. The gate may
 * have refused that version, so the serving version stays.
 *   versions  newest first
 *   newest    the largest version number ever used
 */
static int fall_back(struct store *store, struct learning *learning,
                     const struct catalog_version *versions, size_t n,
                     int64_t newest, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct catalog_version *v = &versions[i];
        const struct store_rollback rollback = {
            .to = v->version,
            .mode = "rewind",
            .reason = "a newer version is damaged",
            .keep_serving = true,
            .automatic = true, /* learning stays paused if it was */
            .in_transaction = replay_db_rollback,
        };
        int rc;

        if (v->head || v->state == STORE_DAMAGED ||
            v->state == STORE_ROLLED_BACK || v->state == STORE_PENDING)
            continue;
        rc = learning_load(learning, v->version, newest + 1, err);
        if (rc == 0)
            return store_rollback(store, &rollback, err);
        if (rc == ERR_CORRUPT)
            rc = mark_damaged(store, v->version, err);
        if (rc)
            return rc;
    }
    return err_set(err, ERR_CORRUPT,
                   "%s: no version is whole; `mneme verify --all` lists what "
                   "is damaged",
                   store_dir(store));
}

int restore_state(struct store *store, const struct conf *conf,
                  struct learning *learning, struct err *err)
{
    struct catalog_pointers pointers;
    struct catalog_version *versions = NULL;
    int64_t branch = 0;
    size_t n = 0;
    int rc = catalog_pointers(learning->catalog, &pointers, err);

    if (rc)
        return rc;
    if (pointers.head == 0) {
        rc = restore_new(conf, learning, err);
        if (rc && learning->has_model && conf->model.init)
            err_prefix(err, "model.init");
        return rc;
    }

    /* All versions have the same vocabulary and shape: they come from the
     * newest version whose files are whole. */
    rc = catalog_list(learning->catalog, 0, 0, &versions, &n, err);
    if (rc == 0 && learning->has_model)
        rc = ERR_NOTFOUND;
    else if (rc == 0)
        rc = learning_prepare(learning, NULL, err);
    for (size_t i = 0; learning->has_model && rc != 0 && i < n; i++)
        rc = learning_prepare_version(learning, versions[i].version, err);

    /* When the head is not the newest number, nothing was published after a
     * rollback to it: row keys begin a branch there. */
    if (pointers.head != pointers.newest)
        branch = pointers.newest + 1;
    if (rc == 0) {
        rc = learning_load(learning, pointers.head, branch, err);
        if (rc == ERR_CORRUPT) {
            rc = mark_damaged(store, pointers.head, err);
            if (rc == 0)
                rc = fall_back(store, learning, versions, n, pointers.newest,
                               err);
        }
    }
    catalog_versions_free(versions, n);
    return rc;
}

/* --- serving ------------------------------------------------------------ */

static int serve_another(struct store *store, struct catalog *catalog,
                         struct serving *serving, struct err *err)
{
    struct catalog_version *versions = NULL;
    struct infer *infer = NULL;
    size_t n = 0;
    int rc = catalog_list(catalog, 0, 0, &versions, &n, err);

    for (size_t i = 0; rc == 0 && i < n && !infer; i++) {
        int64_t version = versions[i].version;

        if (versions[i].state != STORE_PASSED ||
            serving_load(serving, version, &infer, err) != 0)
            continue;
        rc = store_serve_instead(store, version,
                                 "the serving version was damaged", err);
        if (rc == 0)
            serving_switch(serving, version, infer);
        else
            infer_free(infer);
    }
    if (rc == 0 && !infer)
        log_error("serving", "error=\"no version that passed is whole\"");
    catalog_versions_free(versions, n);
    return rc;
}

int restore_serving(struct store *store, struct catalog *catalog,
                    struct serving *serving, struct err *err)
{
    struct catalog_pointers pointers;
    struct catalog_version v;
    struct infer *infer = NULL;
    bool damaged = false;
    int rc = catalog_pointers(catalog, &pointers, err);

    if (rc || pointers.serving == 0)
        return rc;
    /* restore_state may have found another file of the version damaged. Its
     * weights would answer, but the gate needs all of its files. */
    if (catalog_get(catalog, pointers.serving, &v, NULL) == 0) {
        damaged = v.state == STORE_DAMAGED;
        catalog_version_release(&v);
    }
    if (!damaged) {
        rc = serving_load(serving, pointers.serving, &infer, err);
        if (rc == 0)
            serving_switch(serving, pointers.serving, infer);
        if (rc != ERR_CORRUPT && rc != ERR_NOTFOUND)
            return rc;
        rc = mark_damaged(store, pointers.serving, err);
    }
    return rc ? rc : serve_another(store, catalog, serving, err);
}
