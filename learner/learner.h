/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learner.h - what learns: model, optimizer, consolidation and class head
 * behind one step.
 *
 * A step takes fresh segments (scored first: their loss in this forward pass is
 * the prequential loss), replayed ones, and a few for the Fisher information;
 * shares all of them among a fixed number of shards; sums the shards'
 * gradients in shard order; applies one update and the pull of EWC. The
 * result depends on the segments in their order, the options and the seed,
 * never on the number of threads.
 *
 * Between scoring and learning a judge may refuse fresh segments: they are
 * masked out, of the gradient, of the losses of the step and of the class head.
 * When it refuses all of them the step makes no update.
 *
 * The loss of a step is the sum over the counted tokens of the whole step
 * divided by their number; labelled segments add class_weight times the mean
 * class loss.
 *
 * Owner:   the learner owns every block; segments are only read
 * Threads: one (the trainer) for everything; its workers are its own
 */
#ifndef MNEME_LEARNER_LEARNER_H
#define MNEME_LEARNER_LEARNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/model_shape.h"
#include "base/names.h"
#include "base/segment.h"
#include "base/tensor.h"
#include "learner/ewc.h"
#include "learner/head.h"
#include "learner/infer/infer.h"
#include "learner/optim.h"
#include "learner/tokenizer/tokenizer.h"

struct learner_options {
    const struct model_shape *shape; /* NULL: preset linear */
    const struct tokenizer *tokenizer; /* outlives the learner; NULL too */
    int threads; /* workers, at least 1 */
    int shards;  /* gradient blocks; fixed for a data directory */
    uint64_t seed;
    struct optim_options optim;
    struct ewc_options ewc;
    struct head_options head; /* dim is filled in from shape */
    float class_weight;       /* of the class loss in the trunk */
};

/* Everything at the values that measured best. */
void learner_options_default(struct learner_options *o);

struct learner; /* fields are in learner.c */

int learner_create(const struct learner_options *options,
                   struct learner **learner, struct err *err);
void learner_free(struct learner *l);

/* Memory it holds or will hold in steps of up to step_tokens tokens. */
size_t learner_bytes(const struct learner_options *options,
                     size_t step_tokens);

/*
 * The fresh segments have been scored: losses as in struct learner_step_output.
 * Sets refused[i] for those that are not to be learned; all are 0.
 */
typedef void learner_judge(void *arg, const double *text_nats,
                           uint8_t *refused);

/* What one step gets. All pointers are the caller's. */
struct learner_step_input {
    const struct segment *fresh;
    size_t n_fresh;
    const struct segment *replayed;
    size_t n_replayed;
    const struct segment *fisher; /* from replay, as learner_fisher_wants */
    size_t n_fisher;
    bool trusted; /* somebody wants this learned: only a gradient that is not
                     finite skips the step, however large it is */
    learner_judge *judge; /* NULL: all are learned. Not for preset linear */
    void *judge_arg;
};

struct learner_step_output {
    /* Of segment i, fresh ones first, then replayed: the caller's arrays of
     * n_fresh + n_replayed, or NULL. */
    double *nats;      /* summed -ln p over counted targets */
    double *text_nats; /* the same without the end mark: for bits per byte */
    float *logits;     /* [n_fresh][head max_labels] class logits of labelled
                          fresh segments, for replay; NULL: not wanted */
    uint8_t *right;    /* [n_fresh] labelled and classified right before the
                          update */
    /* About the step. */
    int64_t counted_tokens;
    double mean_loss;     /* nats a counted token, fresh and replayed, without
                             refused ones */
    double grad_norm;     /* before clipping */
    float rate;
    size_t n_refused;     /* fresh segments, by the judge */
    bool skipped;         /* no update, neither of the model nor of the class
                             head: the gradient was not finite or far too
                             large */
    double ewc_penalty;   /* nats */
    double ewc_share;     /* |EWC displacement| / |optimizer displacement| */
    bool consolidated;    /* a consolidation was completed in this step */
    size_t n_labels;      /* that the class head knows after it */
    int64_t n_labelled;   /* examples the class head was trained on */
    double class_loss;    /* nats, mean over those */
};

/*
 * One step. ERR_DIVERGED when a weight is not finite after it: the caller goes
 * back to a version.
 */
int learner_step(struct learner *l, const struct learner_step_input *in,
                 struct learner_step_output *out, struct err *err);

/* How many tokens of replayed segments the Fisher information wants in a step
 * of step_tokens; 0 mostly. */
size_t learner_fisher_wants(const struct learner *l, size_t step_tokens);

int64_t learner_steps(const struct learner *l); /* steps taken, skipped too */
const struct optim *learner_optim(const struct learner *l);
const struct ewc *learner_ewc(const struct learner *l);
size_t learner_params(const struct learner *l);

/* Changes what may change while it runs. */
void learner_set_rate(struct learner *l, float lr);
void learner_set_lambda(struct learner *l, float lambda);

/*
 * A copy of everything, for a version:
 *   weights  the model's tensors under their Hugging Face names
 *   state    what a restart needs besides: optimizer, counters, running sums
 *   anchor   Fisher and anchor; left empty when they have not changed since
 *            the generation *anchor_generation, which is then set
 *   head     the class head as it serves
 * Any of the lists may be NULL. Blocks are copies: the learner may go on.
 */
void learner_export(const struct learner *l, struct tensor_list *weights,
                    struct tensor_list *state, struct tensor_list *anchor,
                    struct tensor_list *head, int64_t *anchor_generation);

/* The reverse; all four are needed, but anchor may be empty before the first
 * consolidation. On an error the learner is as it was. */
int learner_import(struct learner *l, const struct tensor_list *weights,
                   const struct tensor_list *state,
                   const struct tensor_list *anchor,
                   const struct tensor_list *head, struct err *err);

/* Starts from another model's weights (init: PATH); moments start at 0. */
int learner_import_weights(struct learner *l,
                           const struct tensor_list *weights,
                           struct err *err);

#endif
