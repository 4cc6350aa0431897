/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learner_private.h - the insides of a learner, for learner.c, learner_step.c,
 * learner_examples.c and learner_state.c.
 *
 * Threads: as learner.h says
 */
#ifndef MNEME_LEARNER_LEARNER_PRIVATE_H
#define MNEME_LEARNER_LEARNER_PRIVATE_H

#include "base/buf.h"
#include "learner/learner.h"
#include "learner/model.h"
#include "learner/kernels/workers.h"

/* One share of a step, and its gradient. */
struct shard {
    struct batch batch;
    struct model_work *work;
    float *loss;      /* [cap_tokens] */
    float *dstates;   /* [cap_tokens][C], as far as labels need it */
    size_t cap_tokens, cap_dstates;
    bool has_dstates; /* in this step */
    float *grads;     /* [n_params] */
};

/* Where a segment of the step lies. */
struct place {
    size_t shard;
    size_t first; /* token in the shard's batch */
};

/* How long a segment of the step is. */
struct length {
    size_t segment;
    uint32_t n_tokens;
};

/* A piece of the parameters, within one tensor: a worker's unit when the
 * gradients are summed and the update is made. */
struct range {
    size_t from, to;
    bool decays;
};

/* What came out of a range, added up in the order of the ranges. */
struct range_result {
    double squares;   /* of the gradient */
    double moved;     /* squares of the optimizer's displacement */
    double ewc_moved; /* and of EWC's */
    double penalty;
    bool finite;      /* the weights after it */
};

struct learner {
    struct learner_options options;
    struct model *model; /* NULL: preset linear, which uses nothing down to
                            fisher_credit */
    float *params;
    struct shard *shards; /* [options.shards] */
    struct workers *workers;
    struct range *ranges;
    struct range_result *results; /* [n_ranges] */
    size_t n_ranges;
    struct optim optim;
    struct ewc ewc;
    int64_t fisher_credit; /* tokens that Fisher passes may still take */

    struct head *head;
    int64_t steps;

    /* The step in hand. */
    const struct segment **segments; /* fresh, then replayed */
    struct place *places;
    struct length *lengths; /* for sharing out */
    double *nats, *text_nats;
    uint8_t *refused; /* 1: scored, and not learned */
    size_t n_segments, cap_segments;
    size_t counted;   /* tokens with a loss */
    float factor;     /* of the gradient */
    struct head_example *examples;
    size_t *owners;   /* segment of an example */
    size_t n_examples, cap_examples;
    struct buf text;  /* of the examples */
};

#endif
