/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/learning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "daemon/train/options.h"
#include "learner/kernels/ops.h"
#include "store/store.h"

/* Limits of the replay ratio, and of the share of records that are learned. */
#define REPLAY_MOST 4.0
#define REPLAY_LEAST 0.25
#define LEAST_SHARE 0.05
/* The size of a step: docs/LEARNING.md, "The size of a step". */
#define FIRST_TOKENS 128
#define GROWTH 0.8

int learning_open(struct learning *l, const struct conf *conf, int threads,
                  int shards, struct err *err)
{
    memset(l, 0, sizeof *l);
    l->conf = conf;
    l->threads = threads;
    l->shards = shards;
    l->has_model = conf->model.preset != CONF_PRESET_LINEAR;
    progress_init(&l->progress);
    refusals_init(&l->refusals);
    /* Workers, threads that answer requests, the trainer, the publisher. */
    if (l->has_model &&
        ops_reserve(threads + options_cores() + 2, err) != 0)
        return err->code;
    return conf->data_dir ? catalog_open(conf->data_dir, &l->catalog, err) : 0;
}

void learning_close(struct learning *l)
{
    intake_free(l->intake);
    filter_free(l->filter);
    replay_free(l->replay);
    replay_free(l->holdout);
    learner_free(l->learner);
    tokenizer_free(l->tokenizer);
    progress_release(&l->progress);
    refusals_release(&l->refusals);
    catalog_close(l->catalog);
    free(l->drifted);
    free(l->replayed);
    free(l->nats);
    free(l->text_nats);
    free(l->mixed_nats);
    free(l->average_nats);
    free(l->right);
    free(l->logits);
    memset(l, 0, sizeof *l);
}

const struct model_shape *learning_shape(const struct learning *l)
{
    return l->has_model ? &l->shape : NULL;
}

/* Creates replay, holdout, filter and intake. */
static void create_intake(struct learning *l)
{
    struct sqlite3 *db = NULL;
    struct replay_options options;
    struct intake_options intake = {
        .conf = l->conf,
        .tokenizer = l->tokenizer,
        .context = l->has_model ? (size_t)l->shape.context : 0,
        .progress = &l->progress,
    };

    if (l->catalog) {
        /* Used after the unlock: no other thread uses this catalog. */
        db = catalog_lock(l->catalog);
        catalog_unlock(l->catalog);
    }
    options_replay(l->conf, REPLAY_ROWS, &options);
    options.limits = &l->limits;
    l->replay = replay_create(&options, db);
    options_replay(l->conf, REPLAY_HOLDOUT, &options);
    options.limits = &l->limits;
    l->holdout = replay_create(&options, db);
    l->filter = filter_create(&l->conf->filter, l->tokenizer);
    intake.holdout = l->holdout;
    intake.filter = l->filter;
    intake.refusals = &l->refusals;
    l->intake = intake_create(&intake);
    l->replay_ratio = l->conf->learner.replay.ratio;
}

int learning_prepare_shape(struct learning *l, struct tokenizer *tokenizer,
                           const struct model_shape *shape, struct err *err)
{
    struct learner_options options;
    int rc;

    tokenizer_free(l->tokenizer); /* an earlier attempt may have failed */
    l->tokenizer = tokenizer;
    if (tokenizer && (rc = tokenizer_fit(tokenizer, shape->vocab_size, err)))
        return rc;
    if (l->has_model)
        l->shape = *shape;
    options_learner(l->conf, learning_shape(l), tokenizer, l->threads,
                    l->shards, &options);
    rc = learner_create(&options, &l->learner, err);
    if (rc == 0)
        create_intake(l);
    return rc;
}

int learning_prepare(struct learning *l, struct tokenizer *tokenizer,
                     struct err *err)
{
    struct model_shape shape;
    int rc;

    if (!l->has_model)
        return learning_prepare_shape(l, NULL, NULL, err);
    rc = options_shape(l->conf, tokenizer_vocab_size(tokenizer), &shape, err);
    if (rc) {
        tokenizer_free(tokenizer);
        return rc;
    }
    return learning_prepare_shape(l, tokenizer, &shape, err);
}

int learning_prepare_version(struct learning *l, int64_t version,
                             struct err *err)
{
    struct buf json = BUF_INIT;
    struct tokenizer *tokenizer = NULL;
    struct model_shape shape;
    int rc;

    if (!l->has_model)
        return learning_prepare(l, NULL, err);
    rc = store_load_text(l->catalog, version, "tokenizer.json", &json, err);
    if (rc == 0)
        rc = store_load_shape(l->catalog, version, &shape, err);
    if (rc == 0)
        rc = tokenizer_from_json(json.data ? json.data : "", json.len,
                                 &tokenizer, err);
    if (rc == 0)
        rc = learning_prepare_shape(l, tokenizer, &shape, err);
    else
        tokenizer_free(tokenizer);
    if (rc == ERR_INVALID) /* a stored file is invalid if damaged */
        rc = err->code = ERR_CORRUPT;
    buf_release(&json);
    return rc;
}

/* --- a version's state -------------------------------------------------- */

struct loaded {
    struct tensor_list weights, state, holdout, anchor, head, ngram;
    struct catalog_version row;
};

static void loaded_release(struct loaded *v)
{
    tensor_list_release(&v->weights);
    tensor_list_release(&v->state);
    tensor_list_release(&v->holdout);
    tensor_list_release(&v->anchor);
    tensor_list_release(&v->head);
    tensor_list_release(&v->ngram);
    catalog_version_release(&v->row);
}

static int load_files(struct learning *l, int64_t version, struct loaded *v,
                      struct err *err)
{
    int rc = catalog_get(l->catalog, version, &v->row, err);

    if (rc == 0 && l->has_model)
        rc = store_load(l->catalog, version, STORE_WEIGHTS, &v->weights, err);
    if (rc == 0)
        rc = store_load(l->catalog, version, STORE_STATE, &v->state, err);
    if (rc == 0)
        rc = store_load(l->catalog, version, STORE_HOLDOUT, &v->holdout, err);
    if (rc == 0)
        rc = store_load(l->catalog, version, STORE_ANCHOR, &v->anchor, err);
    if (rc == 0)
        rc = store_load(l->catalog, version, STORE_HEAD, &v->head, err);
    if (rc == 0)
        rc = store_load(l->catalog, version, STORE_NGRAM, &v->ngram, err);
    return rc;
}

/* Gives each partition the id that it has in the store. */
static int load_partitions(struct learning *l, struct err *err)
{
    struct catalog_offset *rows = NULL;
    size_t n = 0;
    int rc = catalog_partitions(l->catalog, &rows, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++)
        if (progress_partition_id(&l->progress, rows[i].topic,
                                  rows[i].partition) != rows[i].partition_id)
            rc = err_set(err, ERR_CORRUPT,
                         "mneme.db: an id is missing in the table of "
                         "partitions");
    catalog_offsets_free(rows, n);
    return rc;
}

int learning_load_skipped(struct learning *l, struct err *err)
{
    struct catalog_range *ranges = NULL;
    struct tombstone *tombstones = NULL;
    size_t n = 0, n_tombstones = 0;
    int rc = catalog_skipped(l->catalog, &ranges, &n, err);

    if (rc == 0)
        rc = tombstones_read(l->catalog, &tombstones, &n_tombstones, err);
    if (rc) {
        free(ranges);
        return rc;
    }
    intake_set_skipped(l->intake, ranges, n);
    intake_set_forgotten(l->intake, tombstones, n_tombstones);
    return 0;
}

int learning_load(struct learning *l, int64_t version, int64_t branch,
                  struct err *err)
{
    struct loaded v = {0};
    int rc = load_files(l, version, &v, err);

    if (rc == 0)
        rc = load_partitions(l, err);
    if (rc == 0)
        rc = learner_import(l->learner, l->has_model ? &v.weights : NULL,
                            &v.state, &v.anchor, &v.head, err);
    if (rc == 0)
        rc = learner_import_ngram(l->learner, &v.ngram, err);
    if (rc == 0)
        rc = replay_import(l->replay, &v.state, branch, err);
    if (rc == 0)
        rc = replay_import(l->holdout, v.holdout.n ? &v.holdout : &v.state,
                           branch, err);
    if (rc == 0)
        rc = filter_import(l->filter, &v.state, err);
    if (rc == 0)
        rc = progress_import(&l->progress, v.row.metadata_json,
                             strlen(v.row.metadata_json), err);
    /* make_room allocates logits for model.max_labels labels. */
    if (rc == 0 &&
        l->progress.labels.n > (size_t)l->conf->model.max_labels)
        rc = err_set(err, ERR_LIMIT,
                     "version %lld has %zu labels, model.max_labels is %lld",
                     (long long)version, l->progress.labels.n,
                     (long long)l->conf->model.max_labels);
    if (rc == 0) {
        progress_set_positions(&l->progress, v.row.offsets, v.row.n_offsets);
        rc = learning_load_skipped(l, err);
    }
    l->anchor_generation = 0;
    loaded_release(&v);
    return rc;
}

struct snapshot *learning_snapshot(struct learning *l)
{
    struct snapshot *s =
        snapshot_take(l->learner, l->replay, l->holdout, &l->progress,
                      l->mixed_settings ? NULL : options_settings(l->conf),
                      &l->anchor_generation);

    filter_export(l->filter, &s->state);
    return s;
}

int learning_infer(const struct learning *l, bool live, struct infer **infer,
                   struct err *err)
{
    struct tensor_list weights = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT;
    struct tensor_list ngram = TENSOR_LIST_INIT;
    struct infer_options options;
    struct infer *f = NULL;
    int rc;

    options_infer(l->conf, &options);
    learner_export(l->learner, live ? NULL : &weights, NULL, NULL, &head, NULL);
    learner_export_ngram(l->learner, &ngram);
    if (live)
        learner_export_live(l->learner, &weights);
    rc = infer_create(learning_shape(l), l->tokenizer, &weights, &head,
                      &l->progress.labels, &options, &f, err);
    if (rc == 0)
        rc = infer_add_ngram(f, &ngram, err);
    tensor_list_release(&weights);
    tensor_list_release(&head);
    tensor_list_release(&ngram);
    if (rc) {
        infer_free(f);
        return rc;
    }
    *infer = f;
    return 0;
}

/* Interpolates on a logarithmic scale: a at 0, b at 1. */
static double interpolate(double a, double b, double at)
{
    return a * pow(b / a, at < 0 ? 0 : at > 1 ? 1 : at);
}

double learning_covered(const struct learning *l)
{
    bool replays = l->conf->learner.replay.enabled;

    return ewc_covered(replays ? l->replay_ratio : 0.0,
                       replay_kept(l->replay));
}

void learning_set_pressure(struct learning *l, double fill)
{
    const struct conf_replay *r = &l->conf->learner.replay;

    l->replay_ratio = r->ratio;
    if (r->adaptive && r->ratio > 0)
        l->replay_ratio =
            fill < 0.5 ? interpolate(REPLAY_MOST, r->ratio, 2 * fill)
                       : interpolate(r->ratio, REPLAY_LEAST, 2 * fill - 1);
    if (l->conf->source.when_behind == CONF_WHEN_BEHIND_SAMPLE)
        intake_set_share(l->intake, interpolate(1, LEAST_SHARE, 2 * fill - 1));
}

/* --- a step ------------------------------------------------------------- */

/* Returns the number of new tokens of the next step. It depends on nothing but
 * the tokens learned, so that the same records make the same steps. */
static size_t step_tokens(const struct learning *l)
{
    int64_t most = l->conf->learner.batch_tokens;
    int64_t n = (int64_t)(GROWTH * sqrt((double)l->progress.tokens_seen));

    if (n < FIRST_TOKENS)
        n = FIRST_TOKENS;
    return (size_t)(n < most ? n : most);
}

bool learning_ready(const struct learning *l)
{
    return intake_tokens(l->intake) >= step_tokens(l) ||
           intake_is_long(l->intake);
}

static void copy_segments(const struct replay_sampled *sample, size_t n,
                          struct segment **segments, size_t *cap)
{
    if (n > *cap) {
        *cap = 2 * n;
        *segments = xreallocarray(*segments, *cap, sizeof **segments);
    }
    for (size_t i = 0; i < n; i++)
        (*segments)[i] = sample[i].segment;
}

static void make_room(struct learning *l, size_t n_fresh, size_t n_all)
{
    size_t labels = (size_t)l->conf->model.max_labels;

    if (n_all > l->cap_nats) {
        l->cap_nats = 2 * n_all;
        l->nats = xreallocarray(l->nats, l->cap_nats, sizeof *l->nats);
        l->text_nats =
            xreallocarray(l->text_nats, l->cap_nats, sizeof *l->text_nats);
    }
    if (n_fresh > l->cap_right) {
        l->cap_right = 2 * n_fresh;
        l->right = xreallocarray(l->right, l->cap_right, sizeof *l->right);
        l->mixed_nats = xreallocarray(l->mixed_nats, l->cap_right,
                                      sizeof *l->mixed_nats);
        l->average_nats = xreallocarray(l->average_nats, l->cap_right,
                                        sizeof *l->average_nats);
        l->logits = xreallocarray(l->logits, l->cap_right * labels,
                                  sizeof *l->logits);
    }
}

struct filter_context {
    struct filter *filter;
    const struct intake_batch *batch;
};

/* Called between scoring and learning. The filter decides on a record by its
 * first segment; the other segments in this batch get that decision. */
static void filter_batch(void *arg, const double *text_nats, uint8_t *refused)
{
    const struct filter_context *c = arg;
    const struct intake_batch *b = c->batch;

    for (size_t i = 0; i < b->n; i++) {
        if (b->origins[i].part == 0)
            b->refused[i] = filter_judge(c->filter, &b->segments[i],
                                         text_nats[i], b->released);
        else if (i > 0) /* segment 0 may continue a record of the last step */
            b->refused[i] = b->refused[i - 1];
        refused[i] = b->refused[i] != NULL;
    }
}

/* nats: of the Transformer alone. */
static void test_drift(struct learning *l, const struct segment *s,
                       double nats)
{
    if (!l->conf->learner.drift.enabled || !l->has_model ||
        !progress_test_drift(&l->progress, s->domain, nats, s->n_bytes))
        return;
    XGROW(l->drifted, l->n_drifted, l->cap_drifted);
    l->drifted[l->n_drifted++] = s->domain;
}

/* Counts a learned batch by domain and label. */
static void count_batch(struct learning *l, const struct intake_batch *b,
                        size_t n_replayed)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct segment *s = &b->segments[i];

        if (b->refused[i])
            continue;
        progress_learned(&l->progress, s->domain,
                         l->has_model ? l->mixed_nats[i] : NAN,
                         l->has_model ? s->n_bytes : s->text_bytes,
                         l->conf->publish.gate.traffic_half_life);
        test_drift(l, s, l->text_nats[i]);
        progress_loss_add(&l->progress.train_loss, l->text_nats[i],
                          s->n_bytes);
        if (!isnan(l->average_nats[i]))
            progress_loss_add(&l->progress.average_loss, l->average_nats[i],
                              s->n_bytes);
        if (s->label >= 0)
            progress_count_label(&l->progress, s->domain, l->right[i]);
    }
    for (size_t i = 0; i < n_replayed; i++)
        progress_loss_add(&l->progress.train_loss, l->text_nats[b->n + i],
                          l->replayed[i].n_bytes);
}

/* Offers the learned segments to replay. */
static void offer_batch(struct learning *l, const struct intake_batch *b,
                       size_t n_labels)
{
    size_t stride = (size_t)l->conf->model.max_labels;

    if (!l->conf->learner.replay.enabled)
        return;
    for (size_t i = 0; i < b->n; i++) {
        struct segment s = b->segments[i];

        if (b->refused[i])
            continue;
        if (s.label >= 0) {
            s.old_logits = l->logits + i * stride;
            s.n_old_logits = (uint32_t)n_labels;
        }
        replay_offer(l->replay, &s, &b->origins[i], l->nats[i]);
    }
}

int learning_step(struct learning *l, struct learner_step_output *out,
                  struct err *err)
{
    const struct conf_replay *replay = &l->conf->learner.replay;
    struct replay_sampled *sample = NULL;
    struct intake_batch b;
    struct filter_context filter = {l->filter, &b};
    struct learner_step_input in;
    uint64_t step = (uint64_t)learner_steps(l->learner);
    size_t n_sample = 0, wanted = 0;
    int rc;

    memset(out, 0, sizeof *out);
    l->n_drifted = 0;
    intake_next_batch(l->intake, step_tokens(l), &b);
    BUG_ON(b.n == 0);
    l->limits = (struct segment_limits){
        .domains = l->progress.domains.n,
        .labels = l->progress.labels.n,
        .vocab_size = l->has_model ? (size_t)l->shape.vocab_size : 0,
        .context = l->has_model ? (size_t)l->shape.context : 0,
    };
    if (replay->enabled)
        wanted = (size_t)llround(
            l->replay_ratio * (double)(l->has_model ? b.tokens : b.n));
    rc = replay_sample(l->replay, step, wanted, !l->has_model, &sample,
                       &n_sample, err);
    if (rc)
        return rc;
    copy_segments(sample, n_sample, &l->replayed, &l->cap_replayed);
    make_room(l, b.n, b.n + n_sample);
    in = (struct learner_step_input){
        .fresh = b.segments,
        .n_fresh = b.n,
        .replayed = l->replayed,
        .n_replayed = n_sample,
        .covered = learning_covered(l),
        .trusted = b.released,
        .filter = l->has_model ? filter_batch : NULL,
        .filter_arg = &filter,
    };
    out->nats = l->nats;
    out->text_nats = l->text_nats;
    out->mixed_nats = l->mixed_nats;
    out->average_nats = l->average_nats;
    out->right = l->right;
    out->logits = l->logits;
    rc = learner_step(l->learner, &in, out, err);
    if (rc == ERR_DIVERGED) /* so that a rollback skips these records */
        intake_apply(l->intake, &b, "diverged", learner_steps(l->learner));
    if (rc)
        return rc;
    if (!out->skipped) {
        if (out->n_refused == b.n)
            n_sample = 0; /* there was no update: nothing was replayed */
        for (size_t i = 0; i < n_sample; i++)
            replay_replayed(l->replay, &sample[i], step, l->nats[b.n + i]);
        count_batch(l, &b, n_sample);
        offer_batch(l, &b, out->n_labels);
    }
    intake_apply(l->intake, &b, out->skipped ? "step_skipped" : NULL,
                 learner_steps(l->learner));
    return 0;
}
