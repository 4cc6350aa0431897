/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishes versions of preset small as the daemon does. The trainer takes a
 * snapshot, during which no step runs. Then the publisher writes and syncs
 * files and rows. Holdout scoring and the gate are left out. Only the first
 * version writes the anchor; the others link to it, as between two
 * consolidations.
 */
#include "config.h"

#include "bench/speed.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/snapshot.h"
#include "learner/learner.h"
#include "learner/learner_private.h"
#include "replay/replay.h"
#include "store/store.h"

#define PRESET 2 /* small, among shape_preset's */
#define ROWS 1000
#define ROW_TOKENS 128

struct versions {
    const struct speed_options *options;
    struct shape shape;
    struct learner *learner;
    struct replay *replay, *holdout;
    struct progress progress;
    struct store *store;
    const struct tokenizer *tokenizer;
    struct buf tokenizer_json;
    struct segment segments[ROWS];
    int64_t anchor_generation, newest, offset;
    double stop_seconds; /* for the last snapshot */
};

static int make_learner(struct versions *v, struct err *err)
{
    struct learner_options options;
    int rc;

    learner_options_default(&options);
    options.shape = &v->shape.model;
    options.tokenizer = v->tokenizer;
    options.threads = options.shards = v->options->threads;
    rc = learner_create(&options, &v->learner, err);
    if (rc == 0) { /* an anchor, as after a consolidation */
        memcpy(v->learner->ewc.anchor, v->learner->params,
               learner_params(v->learner) * sizeof(float));
        v->learner->ewc.consolidations = 1;
    }
    return rc;
}

static void make_replay(struct versions *v)
{
    struct replay_options options;

    replay_options_default(&options, REPLAY_ROWS);
    v->replay = replay_create(&options, NULL);
    replay_options_default(&options, REPLAY_HOLDOUT);
    v->holdout = replay_create(&options, NULL);
}

static int versions_init(struct versions *v, const struct speed_options *o,
                         struct err *err)
{
    struct store_schema schema = {"replay", replay_schema, replay_schema_n};
    int vocab, rc;

    v->options = o;
    shape_preset(PRESET, &v->shape);
    vocab = v->shape.model.vocab_size;
    progress_init(&v->progress);
    progress_domain_id(&v->progress, "text", 1);
    progress_begin(&v->progress, "text", 0, 0);
    make_replay(v);
    rc = corpus_tokenizer(o->corpus, vocab, &v->tokenizer, err);
    if (rc == 0)
        rc = corpus_segments(o->corpus, vocab, ROW_TOKENS, 0, ROWS,
                             v->segments, err);
    if (rc)
        return rc;
    tokenizer_to_json(v->tokenizer, &v->tokenizer_json);
    rc = make_learner(v, err);
    return rc ? rc : store_open(o->dir, &schema, 1, &v->store, err);
}

static void versions_release(struct versions *v)
{
    store_close(v->store);
    learner_free(v->learner);
    replay_free(v->replay);
    replay_free(v->holdout);
    progress_release(&v->progress);
    buf_release(&v->tokenizer_json);
}

/* Records that ROWS records of one segment each were learned. */
static void learn(struct versions *v)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct segment_origin origin = {.offset = v->offset};

        replay_offer(v->replay, &v->segments[i], &origin, 1.0);
        progress_learned(&v->progress, 0, 1.0, ROW_TOKENS, 2000);
        progress_decide(&v->progress, v->newest + 1, 0, v->offset, 'l');
        progress_move(&v->progress, 0, v->offset++);
    }
}

static int write_replay(struct sqlite3 *db, int64_t version, void *arg,
                        struct err *err)
{
    const struct snapshot *s = arg;
    int rc = replay_db_write(db, s->replay_changes, version, err);

    return rc ? rc : replay_db_write(db, s->holdout_changes, version, err);
}

static int publish(struct versions *v, struct snapshot *s, struct err *err)
{
    struct store_publication p = {
        .parent = v->newest,
        .created_ms = s->created_ms,
        .step = s->step,
        .tokens_seen = s->tokens_seen,
        .shape = &v->shape.model,
        .weights = &s->weights,
        .state = &s->state,
        .anchor = s->anchor_unchanged ? NULL : &s->anchor,
        .head = &s->head,
        .tokenizer_json = v->tokenizer_json.data,
        .tokenizer_json_bytes = v->tokenizer_json.len,
        .end_of_text = tokenizer_end_of_text(v->tokenizer),
        .labels_json = s->labels_json.data,
        .metadata_json = s->metadata.data,
        .offsets = s->offsets,
        .n_offsets = s->n_offsets,
        .ledger = s->stage.ledger,
        .n_ledger = s->stage.n_ledger,
        .in_transaction = write_replay,
        .arg = s,
    };

    return store_publish(v->store, &p, &v->newest, err);
}

static int one_version(struct versions *v, struct err *err)
{
    int64_t begin = timing_mono_ns();
    struct snapshot *s = snapshot_take(v->learner, v->replay, v->holdout,
                                       &v->progress, json_object(),
                                       &v->anchor_generation);
    int rc;

    v->stop_seconds = timing_seconds_since(begin);
    rc = publish(v, s, err);
    if (rc == 0)
        snapshot_stored(s, v->replay, v->holdout);
    else
        snapshot_not_stored(s, v->replay, v->holdout, &v->progress);
    return rc;
}

/* learn(), between two versions, is not timed. */
static int measure(struct versions *v, struct speed_publish *p,
                   struct err *err)
{
    size_t n = v->options->windows + 1; /* the first one warms up */
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        int64_t begin;

        rc = speed_progress(v->options, (double)i / (double)n, err);
        if (rc)
            break;
        learn(v);
        begin = timing_mono_ns();
        rc = one_version(v, err);
        if (i > 0)
            figure_add(&p->seconds, timing_seconds_since(begin));
        figure_add(&p->stop, v->stop_seconds);
    }
    p->longest_stop = figure_most(&p->stop);
    return rc;
}

int speed_publish(const struct speed_options *o, struct speed_publish *p,
                  struct err *err)
{
    struct versions *v = xcalloc(1, sizeof *v);
    int rc = versions_init(v, o, err);

    if (rc == 0)
        rc = measure(v, p, err);
    versions_release(v);
    free(v);
    return rc;
}
