/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learner.h - the learner: one step through model, optimizer, EWC and class
 * head.
 *
 * A step gets fresh and replayed segments. Fresh segments are scored before
 * they are learned: their loss is the prequential loss. The segments are shared
 * among a fixed number of shards. The gradients are summed in shard order. One
 * AdamW update follows, then the pulls of EWC, then an update of the moving
 * average of the weights, which a version serves.
 *
 * The n-gram memory (ngram.h) learns each fresh segment that counts in the
 * step, in order, when its prequential loss has been taken. Only that loss is
 * of the mixture: the filter, the optimizer and EWC see the Transformer's own.
 * A skipped step leaves the memory as it was.
 *
 * The result depends on the segments and their order, the options and the
 * seed. It does not depend on the number of threads.
 *
 * After scoring, a filter may refuse fresh segments. Refused segments count
 * neither in the gradient nor in the losses of the step, and the class head
 * does not learn them. If all fresh segments are refused, the step updates
 * nothing.
 *
 * The loss of a step is the sum of the losses of its counted tokens, divided
 * by their number. With labelled segments, class_weight times the mean class
 * loss is added.
 *
 * Owner:   the learner owns its blocks; segments are only read
 * Threads: trainer; the learner has worker threads of its own
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
#include "learner/average.h"
#include "learner/ewc.h"
#include "learner/head.h"
#include "learner/ngram.h"
#include "learner/optim.h"
#include "learner/tokenizer/tokenizer.h"

struct learner_options {
    const struct model_shape *shape; /* NULL: preset linear */
    const struct tokenizer *tokenizer; /* outlives the learner; NULL for preset
                                          linear */
    int threads;                       /* worker threads, at least 1 */
    int shards;                        /* fixed for a data directory */
    uint64_t seed;
    struct optim_options optim;
    struct ewc_options ewc;
    struct average_options average;
    struct ngram_options ngram; /* not used by preset linear */
    struct head_options head; /* dim is set from shape */
    float class_weight;       /* of the class loss in the Transformer's
                                 gradient */
};

/* Sets the defaults, which measured best (bench/NOTES.md). */
void learner_options_default(struct learner_options *o);

struct learner; /* fields are in learner_private.h */

int learner_create(const struct learner_options *options,
                   struct learner **learner, struct err *err);
void learner_free(struct learner *l);

/* Returns the bytes that a learner allocates for steps of up to step_tokens
 * tokens. */
size_t learner_bytes(const struct learner_options *options,
                     size_t step_tokens);

/*
 * Decides which fresh segments are not learned, after they have been scored.
 *   text_nats  losses as in struct learner_step_output
 *   refused    all 0 at the call; set refused[i] to 1 to refuse segment i
 */
typedef void learner_filter(void *arg, const double *text_nats,
                            uint8_t *refused);

/* The inputs of one step. The caller owns everything that they point to. */
struct learner_step_input {
    const struct segment *fresh;
    size_t n_fresh;
    const struct segment *replayed;
    size_t n_replayed;
    double covered; /* part of the past that replay carries, 0 to 1; weakens
                       a lambda from counting (ewc.h) */
    bool trusted; /* released records: only a gradient that is not finite skips
                     the step, however large the gradient is */
    learner_filter *filter; /* NULL: nothing is refused. Preset linear never
                               calls it. */
    void *filter_arg;
};

struct learner_step_output {
    /*
     * Results by segment, fresh segments first. The arrays are the caller's,
     * of n_fresh + n_replayed elements unless noted; NULL: not wanted.
     */
    double *nats;      /* sum of -ln p over the counted targets */
    double *text_nats; /* the same without the end-of-text token, for bits per
                          byte */
    double *mixed_nats; /* [n_fresh] text_nats of the mixture with the n-gram
                           memory; of the Transformer alone without a memory,
                           for refused segments and in a skipped step */
    double *average_nats; /* [n_fresh] mixed_nats by the moving average and the
                             memory, as they were before the step; NaN for all
                             but one segment in sixteen. NULL: none is
                             scored. */
    float *logits;     /* [n_fresh][head.max_labels] class logits of labelled
                          fresh segments, to be stored for replay */
    uint8_t *right;    /* [n_fresh] 1: the class head predicted the label before
                          the update */
    /* Results of the whole step. */
    int64_t counted_tokens;
    double mean_loss;     /* nats a counted token, without refused segments */
    double grad_norm;     /* before clipping */
    float rate;
    size_t n_refused;     /* fresh segments that the filter refused */
    bool skipped;         /* neither model nor class head was updated: the
                             gradient was not finite or far too large */
    double ewc_penalty;   /* nats */
    double ewc_share;     /* |EWC displacement| / |optimizer displacement| */
    bool consolidated;    /* a consolidation came before the update */
    size_t n_labels;      /* labels with a row in the class head after the
                             step */
    int64_t n_labelled;   /* labelled segments that the class head learned */
    double class_loss;    /* nats, the mean over those segments */
};

/*
 * Makes one step. Returns ERR_DIVERGED if a weight is not finite afterwards:
 * then the caller must go back to a version.
 */
int learner_step(struct learner *l, const struct learner_step_input *in,
                 struct learner_step_output *out, struct err *err);

int64_t learner_steps(const struct learner *l); /* including skipped steps */
const struct optim *learner_optim(const struct learner *l);
const struct ewc *learner_ewc(const struct learner *l);
size_t learner_params(const struct learner *l);

/* Change a setting of a running learner. */
void learner_set_rate(struct learner *l, float lr);
void learner_set_lambda(struct learner *l, float lambda);

/*
 * Copies the whole state, for a version.
 *   weights  the model's tensors under their Hugging Face names: the moving
 *            average, or the live weights if no average is kept
 *   state    optimizer, counters and running sums, for a restart; beside an
 *            average also the live weights (live.weights: F32, laid out like
 *            the parameters)
 *   anchor   Fisher and anchor; left empty if consolidation number
 *            *anchor_generation is still the newest. *anchor_generation is
 *            set to the newest.
 *   head     the class head as it serves
 * Any list may be NULL. The learner may go on while the copies are used.
 */
void learner_export(const struct learner *l, struct tensor_list *weights,
                    struct tensor_list *state, struct tensor_list *anchor,
                    struct tensor_list *head, int64_t *anchor_generation);

/* Copies the live weights, under the same names as learner_export's, to be
 * compared with the moving average. */
void learner_export_live(const struct learner *l, struct tensor_list *weights);

/* Loads what learner_export wrote. All four lists are needed; `anchor` may
 * be empty before the first consolidation. A state without live weights is of
 * a learner that kept no average: live weights and average are then `weights`.
 * On an error the learner is unchanged. */
int learner_import(struct learner *l, const struct tensor_list *weights,
                   const struct tensor_list *state,
                   const struct tensor_list *anchor,
                   const struct tensor_list *head, struct err *err);

/* Copies the n-gram memory. Leaves the list empty if there is none. */
void learner_export_ngram(const struct learner *l, struct tensor_list *ngram);

/* Loads what learner_export_ngram wrote. Empty: the memory begins anew. Does
 * nothing when none is kept. On an error the learner is unchanged. */
int learner_import_ngram(struct learner *l, const struct tensor_list *ngram,
                         struct err *err);

/* Loads another model's weights (init: PATH) as live weights and average, and
 * resets the optimizer. */
int learner_import_weights(struct learner *l,
                           const struct tensor_list *weights,
                           struct err *err);

#endif
