/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ewc.h - online elastic weight consolidation.
 *
 * Adds lambda/2 * sum_i F_i (w_i - a_i)^2 to the loss: a is the anchor, F the
 * diagonal Fisher estimate (Kirkpatrick et al. 2017). There is one anchor, and
 * F is one decayed running mean (Schwarz et al. 2018, online EWC).
 *
 * F is the true Fisher: its targets are sampled from the model. For a
 * mean-loss gradient g over N tokens, N g^2 is an unbiased estimate, since the
 * sampled scores have mean zero and the cross terms vanish. ewc_observe adds
 * one such backward pass. After EWC_PASSES of them the consolidation is
 * complete:
 *     F <- decay F + (1 - decay) mean(N g^2)      (the first time F <- mean)
 *     a <- w
 *
 * The pull is applied outside Adam, as decoupled weight decay is. It uses the
 * optimizer's metric and an implicit step, so that no lambda diverges:
 *     r = lr lambda F / (sqrt(v^) + eps);  w <- w + (a - w) r / (1 + r)
 *
 * ewc_decide begins a consolidation in two cases. One is a loss plateau: in
 * the window of recent losses, both halves have nearly the same mean and the
 * variance is small. A plateau triggers once, until the loss has left it. The
 * other case is a number of tokens since the last consolidation. A
 * consolidation takes several steps and uses at most a tenth of their tokens.
 * Publishing versions has no influence: what is learned must not depend on
 * when versions are made.
 *
 * Use:     ewc_init; each step ewc_pull, ewc_decide; while ewc_collecting:
 *          ewc_observe for each Fisher pass, until it returns true
 * Owner:   the learner; copies what it keeps; no blocks while not enabled
 * Threads: trainer; ewc_pull also workers, on ranges
 */
#ifndef MNEME_LEARNER_EWC_H
#define MNEME_LEARNER_EWC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

/* backward passes in a consolidation, of one segment each */
#define EWC_PASSES 128
#define EWC_WINDOW 64 /* losses in the plateau window */
/* least tokens between two consolidations by plateau */
#define EWC_MIN_TOKENS 250000
#define EWC_BACKSTOP_TOKENS 4000000

enum ewc_when { EWC_AUTO, EWC_OFF, EWC_EVERY };

struct ewc_options {
    bool enabled;
    float lambda; /* per token; useful values are 1 to 100 */
    float decay;  /* weight of the old F */
    enum ewc_when consolidate;
    int64_t every_steps; /* EWC_EVERY */
};

struct ewc {
    struct ewc_options options;
    size_t n_params;
    float *fisher;  /* [n_params] F; 0 before the first consolidation */
    float *anchor;  /* [n_params] a */
    float *sum;     /* [n_params] sum of N g^2 of the passes so far */
    int64_t passes; /* passes in sum; -1: no consolidation is under way */
    int64_t consolidations;
    int64_t tokens_since;
    int64_t steps_since;
    double window[EWC_WINDOW]; /* mean losses of fresh segments in recent
                                  steps */
    int64_t n_window;          /* losses ever added to the window */
    bool armed;                /* a plateau may trigger a consolidation */
    double plateau;            /* mean loss of the last plateau, 0: none */
};

void ewc_init(struct ewc *e, const struct ewc_options *options,
              size_t n_params);
void ewc_release(struct ewc *e);

/*
 * Pulls w[from, to) towards the anchor.
 *   w, v         float[n_params], one layout; v is Adam's second moment
 *   v_hat_scale  1 / (1 - beta2^t)
 *   *penalty     raised by lambda/2 F (w - a)^2 in nats, before the pull
 *   *moved       raised by the sum of squares of the displacement
 */
void ewc_pull(const struct ewc *e, float *w, const float *v,
              float v_hat_scale, float eps, float lr, size_t from, size_t to,
              double *penalty, double *moved);

/* Call it after each step, with n_tokens fresh tokens of mean loss `loss` (nats
 * a token). Returns true if a consolidation begins. */
bool ewc_decide(struct ewc *e, int64_t n_tokens, double loss);

/* Begins a consolidation without asking the rules. */
void ewc_begin(struct ewc *e);

bool ewc_collecting(const struct ewc *e);

/*
 * Adds one Fisher pass: grads is the gradient of the mean loss over n_tokens
 * sampled targets. The last pass updates F, sets the anchor to params and
 * returns true. A gradient that is not finite, or extremely large, is ignored.
 */
bool ewc_observe(struct ewc *e, const float *grads, size_t n_tokens,
                 const float *params);

/*
 * Exports and imports the state. ewc.fisher and ewc.anchor (F32) change only
 * at a consolidation and go to `anchor`, once there was one. The rest goes to
 * `state`: ewc.sum (during a consolidation), ewc.counters (I64), ewc.window,
 * ewc.plateau (F64). To export, either list may be NULL. While EWC is not
 * enabled, import does nothing.
 */
void ewc_export(const struct ewc *e, struct tensor_list *state,
                struct tensor_list *anchor);
int ewc_import(struct ewc *e, const struct tensor_list *state,
               const struct tensor_list *anchor, struct err *err);

#endif
