/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learner_private.h - the fields of a learner, for learner.c, learner_step.c
 * and the benchmarks.
 *
 * Threads: as in learner.h
 */
#ifndef MNEME_LEARNER_LEARNER_PRIVATE_H
#define MNEME_LEARNER_LEARNER_PRIVATE_H

#include "base/buf.h"
#include "learner/learner.h"
#include "learner/model.h"
#include "learner/kernels/workers.h"

/* One part of a step's batch, with its gradient. */
struct shard {
    struct batch batch;
    struct model_work *work;
    float *loss;      /* [cap_tokens] */
    float *dstates;   /* [cap_tokens][C], allocated when a segment has a
                         label */
    size_t cap_tokens, cap_dstates;
    bool has_dstates; /* dstates is used in this step */
    float *grads;     /* [n_params] */
    struct ngram_reader *reader; /* NULL: not used yet */
};

/* The shard of a segment, and its first token in the shard's batch. */
struct placement {
    size_t shard;
    size_t first;
};

/* A segment's length, for sorting. */
struct length {
    size_t segment;
    uint32_t n_tokens;
};

/* A range of parameters within one tensor. A worker sums gradients and updates
 * weights range by range. */
struct range {
    size_t from, to;
    bool decays;
};

/* The results of a range. They are summed in the order of the ranges. */
struct range_result {
    double squares;   /* of the gradient */
    double moved;     /* the same of the optimizer's displacement */
    double ewc_moved; /* the same of EWC's displacement */
    double penalty;   /* of EWC, in nats */
    bool finite; /* all weights are finite after the update */
};

struct learner {
    struct learner_options options;
    struct model *model; /* NULL for preset linear, which uses no field from
                            here to ngram */
    float *params;
    struct shard *shards; /* [options.shards] */
    struct workers *workers;
    struct range *ranges;
    struct range_result *results; /* [n_ranges] */
    size_t n_ranges;
    struct optim optim;
    struct ewc ewc;
    struct average average;
    struct ngram *ngram; /* NULL: none is kept */

    struct head *head;
    int64_t steps;

    /* The current step. */
    const struct segment **segments; /* fresh, then replayed */
    struct placement *placements;
    struct length *lengths;
    double *nats, *text_nats;
    float *mixed;     /* [context] losses of a segment, of the mixture */
    uint8_t *refused; /* 1: the filter refused the segment */
    size_t n_segments, cap_segments;
    size_t counted;      /* counted tokens */
    float average_decay; /* d of this update (average.h) */
    double covered;      /* by replay (ewc.h) */
    float factor;        /* multiplies the gradient; below 1 when clipped */
    struct head_example *examples;
    size_t *owners; /* index of each example's segment */
    size_t n_examples, cap_examples;
    struct buf text; /* the decoded text of all examples */
};

/* The weights that a version serves: the moving average, or the live weights
 * if no average is kept. */
static inline const float *learner_served(const struct learner *l)
{
    return l->average.weights ? l->average.weights : l->params;
}

#endif
