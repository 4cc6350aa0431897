/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ewc.h - online elastic weight consolidation.
 *
 * Adds lambda/2 * sum_i F_i (w_i - a_i)^2 to the loss: a is the anchor, F the
 * diagonal Fisher information (Kirkpatrick et al. 2017), kept as one decayed
 * running mean with one anchor (Schwarz et al. 2018, online EWC).
 *
 * F is the true Fisher: labels are drawn from the model. With a mean-loss
 * gradient g over N tokens, N g^2 is an unbiased estimate, since the sampled
 * scores have mean zero and the cross terms vanish. ewc_observe adds one such
 * backward pass; after EWC_PASSES of them the consolidation is complete:
 *     F <- decay F + (1 - decay) mean(N g^2)      (the first time F <- mean)
 *     a <- w
 *
 * The pull is applied outside Adam, as decoupled weight decay is, in the
 * optimizer's metric and implicitly, so that no lambda diverges:
 *     r = lr lambda F / (sqrt(v^) + eps);  w <- w + (a - w) r / (1 + r)
 *
 * Consolidation begins on a loss plateau - the halves of the window of last
 * losses have nearly one mean, and it has little variance; once, until the loss
 * has left that plateau - or after a number of tokens (ewc_decide). It goes on
 * over the next steps with at most a tenth of a step's tokens, and the next one
 * waits for it. Nothing here knows of versions: what is learned must not depend
 * on when they are made.
 *
 * Use:     ewc_init; each step ewc_pull, ewc_decide; while ewc_collecting:
 *          ewc_observe for each Fisher pass, which ends by itself
 * Owner:   the learner; copies what it keeps; no blocks while not enabled
 * Threads: trainer
 */
#ifndef MNEME_LEARNER_EWC_H
#define MNEME_LEARNER_EWC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

#define EWC_PASSES 128        /* backward passes of one segment for one F */
#define EWC_WINDOW 64         /* steps in the plateau window */
#define EWC_MIN_TOKENS 250000 /* between two consolidations on a plateau */
#define EWC_BACKSTOP_TOKENS 4000000

enum ewc_when { EWC_AUTO, EWC_OFF, EWC_EVERY };

struct ewc_options {
    bool enabled;
    float lambda;  /* per token; of order 1 to 100 with the true Fisher */
    float decay;   /* gamma */
    enum ewc_when consolidate;
    int64_t every_steps; /* EWC_EVERY */
};

struct ewc {
    struct ewc_options options;
    size_t n_params;
    float *fisher;  /* [n_params] F, 0 before the first consolidation */
    float *anchor;  /* [n_params] a */
    float *sum;     /* [n_params] sum of N g^2 of the passes so far */
    int64_t passes; /* in sum; -1: not collecting */
    int64_t consolidations;
    int64_t tokens_since; /* new tokens since the last consolidation */
    int64_t steps_since;
    double window[EWC_WINDOW]; /* mean new-record loss of the last steps */
    int64_t n_window;          /* losses ever put there */
    bool armed;                /* a plateau may trigger */
    double plateau;            /* mean loss of the last one, 0: none */
};

void ewc_init(struct ewc *e, const struct ewc_options *options,
              size_t n_params);
void ewc_release(struct ewc *e);

/*
 * Pull params[from, to) towards the anchor. v_hat_scale is 1 / (1 - beta2^t).
 *   w, v      float[n_params], laid out alike; v is Adam's second moment
 *   *penalty  added to: lambda/2 F (w - a)^2 in nats, before the pull
 *   *moved    added to: sum of squares of the displacement
 */
void ewc_pull(const struct ewc *e, float *w, const float *v,
              float v_hat_scale, float eps, float lr, size_t from, size_t to,
              double *penalty, double *moved);

/*
 * One step is over: n_tokens new tokens with mean loss `loss` (nats a token).
 * Returns true when a consolidation begins now.
 */
bool ewc_decide(struct ewc *e, int64_t n_tokens, double loss);

/* Begin now, whatever the rules say (a drift alarm). */
void ewc_begin(struct ewc *e);

bool ewc_collecting(const struct ewc *e);

/*
 * One Fisher pass: grads is the gradient of the mean loss over n_tokens drawn
 * labels. The last pass folds F and sets the anchor to params; returns true
 * then. A gradient that is not finite, or absurd, does not count.
 */
bool ewc_observe(struct ewc *e, const float *grads, size_t n_tokens,
                 const float *params);

/*
 * State. ewc.fisher, ewc.anchor (F32) change only at a consolidation and go to
 * `anchor`, from the first on; the rest to `state`: ewc.sum (while
 * collecting), ewc.counters (I64), ewc.window, ewc.plateau (F64). Either list
 * may be NULL to export. Disabled, import keeps nothing of them.
 */
void ewc_export(const struct ewc *e, struct tensor_list *state,
                struct tensor_list *anchor);
int ewc_import(struct ewc *e, const struct tensor_list *state,
               const struct tensor_list *anchor, struct err *err);

#endif
