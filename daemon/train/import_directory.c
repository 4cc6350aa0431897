/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole model is read and checked before the directory is made.
 */
#include "config.h"

#include "daemon/train/import_directory.h"

#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "daemon/publish/snapshot.h"
#include "daemon/train/learning.h"
#include "daemon/train/options.h"
#include "daemon/train/restore.h"
#include "interchange/import.h"
#include "learner/model.h"
#include "store/store.h"

static int write_replay(struct sqlite3 *db, int64_t version, void *arg,
                        struct err *err)
{
    const struct snapshot *s = arg;
    int rc = replay_db_write(db, s->replay_changes, version, err);

    return rc ? rc : replay_db_write(db, s->holdout_changes, version, err);
}

static int publish(struct store *store, const struct learning *l,
                   const struct snapshot *s, struct err *err)
{
    const struct hf_text text = snapshot_text(l->tokenizer);
    struct buf json = BUF_INIT;
    struct store_publication publication = {
        .created_ms = s->created_ms,
        .shape = learning_shape(l),
        .weights = &s->weights,
        .state = &s->state,
        .holdout = &s->holdout,
        .anchor = &s->anchor,
        .head = &s->head,
        .ngram = &s->ngram,
        .text = &text,
        .labels_json = s->labels_json.data,
        .metadata_json = s->metadata.data,
        .in_transaction = write_replay,
        .arg = (void *)s,
    };
    int64_t version;
    int rc;

    tokenizer_to_json(l->tokenizer, &json);
    publication.tokenizer_json = json.data;
    publication.tokenizer_json_bytes = json.len;
    rc = store_publish(store, &publication, &version, err);
    buf_release(&json);
    return rc;
}

/* Makes the directory and publishes the model as version 1. */
static int write_directory(const char *dir, struct learning *l, struct err *err)
{
    const struct store_schema replay = {"replay", replay_schema,
                                        replay_schema_n};
    char *versions = fileio_join(dir, "versions");
    bool was_there = fileio_exists(dir);
    struct snapshot *s = NULL;
    struct store *store = NULL;
    int rc = fileio_mkdirs(dir, err);

    if (rc == 0)
        rc = store_open(dir, &replay, 1, &store, err);
    if (rc == 0) {
        s = learning_snapshot(l);
        rc = publish(store, l, s, err);
    }
    if (s && rc)
        snapshot_not_stored(s, l->replay, l->holdout, &l->progress);
    else if (s)
        snapshot_stored(s, l->replay, l->holdout);
    store_close(store);
    if (rc) { /* a failed publication leaves no files in versions/ */
        fileio_remove_dir(versions, NULL);
        if (was_there)
            fileio_empty_dir(dir, NULL);
        else
            fileio_remove_dir(dir, NULL);
    }
    free(versions);
    return rc;
}

static void fill_report(const struct conf *conf, const struct learning *l,
                        int model_context, struct import_report *report)
{
    struct learner_options learner;
    struct model *m = NULL;
    int threads = options_cores();

    options_learner(conf, learning_shape(l), NULL, threads, threads, &learner);
    report->shape = *learning_shape(l);
    report->model_context = model_context;
    report->memory_bytes = (int64_t)options_memory(conf, &learner);
    if (model_create(&report->shape, &m, NULL) == 0)
        report->n_params = (int64_t)m->n_params;
    model_free(m);
}

int import_directory(struct conf *conf, const char *dir,
                     struct import_report *report, struct err *err)
{
    struct learning l;
    struct model_shape source;
    int rc;

    if (fileio_exists(dir) && fileio_has_entries(dir))
        return err_set(err, ERR_STATE,
                       "%s: not empty: name a new or an empty directory", dir);
    rc = import_read_shape(conf->model.init, &source, err);
    if (rc)
        return rc;
    free(conf->data_dir); /* nothing is stored yet */
    conf->data_dir = NULL;
    rc = learning_open(&l, conf, 1, 1, err);
    if (rc == 0)
        rc = restore_new(conf, &l, err);
    if (rc == 0)
        rc = write_directory(dir, &l, err);
    if (rc == 0)
        fill_report(conf, &l, source.context, report);
    learning_close(&l);
    return rc;
}
