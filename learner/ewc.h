/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ewc.h - online elastic weight consolidation.
 *
 * Adds lambda/2 * sum_i F_i (w_i - a_i)^2 to the loss: a is the anchor, F the
 * diagonal Fisher estimate (Kirkpatrick et al. 2017). There is one anchor, and
 * F is one running mean (Schwarz et al. 2018, online EWC).
 *
 * F needs no passes of its own. For a gradient g of the mean loss over N
 * tokens, N g^2 estimates a token's mean squared gradient, since the gradients
 * of different tokens hardly correlate. This is the empirical Fisher: its
 * targets are those of the text (Martens 2020, section 5). Each step adds its
 * clipped gradient:
 *     R <- R + (N g^2 - R) / min(t, EWC_HORIZON)    t: steps since the anchor
 * A consolidation takes place before a step, and costs one pass over the
 * weights. T counts the tokens before the last anchor, S those since:
 *     F <- (T F + S R) / (T + S);  T <- decay T + S
 *     a <- the moving average of the weights;  R, S, t <- 0
 *
 * Lambda is a number, or follows from counting. In the Laplace approximation
 * the past weighs as much as its tokens (MacKay 1992): T/S for a mean loss over
 * the tokens since the anchor. So the pull is strong at first, and fades:
 *     lambda = (1 - covered) min(EWC_LAMBDA_MOST,
 *                                EWC_SCALE T / (S + EWC_YOUNG))
 * `covered` is the part of the past that replay already carries (ewc_covered).
 * Where replay carries the whole past, covered is 1 and lambda is 0: EWC then
 * moves no weight. docs/LEARNING.md has the measurements behind the constants.
 *
 * The pull is applied outside Adam, as decoupled weight decay is. It uses the
 * optimizer's metric and an implicit step, so that no lambda diverges:
 *     r = lr lambda F / (sqrt(v^) + eps);  w <- w + (a - w) r / (1 + r)
 *
 * EWC_AUTO consolidates at a shift, with the anchor from just before it: most
 * new tokens of the step are of domains that are younger than the last
 * consolidation. It also does so after EWC_INTERVAL_TOKENS. Publishing versions
 * has no influence: what is learned must not depend on when versions are made.
 *
 * Use:     ewc_init; for each step: ewc_due, perhaps ewc_consolidate, ewc_pull
 *          over all ranges, ewc_count
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

#define EWC_HORIZON 1000 /* steps that R averages at most */
#define EWC_FULL_RATIO 0.25 /* a larger replay ratio carries no more */
#define EWC_FULL_KEPT 0.5   /* a larger share of all rows carries no more; a
                               guess between 0.05 and 1 */
#define EWC_YOUNG 5000 /* tokens; keeps the pull of a young anchor finite */
#define EWC_SCALE 10
#define EWC_LAMBDA_MOST 50
#define EWC_INTERVAL_TOKENS 4000000
#define EWC_LAMBDA_AUTO (-1.0f)

enum ewc_when { EWC_AUTO, EWC_OFF, EWC_EVERY };

struct ewc_options {
    bool enabled;
    float lambda; /* per token; EWC_LAMBDA_AUTO: from counting */
    float decay;  /* part of T that a consolidation keeps */
    enum ewc_when consolidate;
    int64_t every_steps; /* EWC_EVERY */
};

/* The new segments of a step, counted in tokens that are learned. */
struct ewc_fresh {
    int64_t tokens;
    int64_t young;   /* those of domains with ids from ewc.settled on */
    int64_t domains; /* 1 + the highest domain id */
};

struct ewc {
    struct ewc_options options;
    size_t n_params;
    float *fisher;  /* [n_params] F; 0 before the first consolidation */
    float *anchor;  /* [n_params] a */
    float *running; /* [n_params] R */
    int64_t consolidations;
    double tokens_before; /* T */
    int64_t tokens_since; /* S */
    int64_t steps_since;  /* t of the last step */
    int64_t domains;      /* 1 + the highest domain id ever learned */
    int64_t settled;      /* domains at the last consolidation; before it,
                             after the first step */
};

void ewc_init(struct ewc *e, const struct ewc_options *options,
              size_t n_params);
void ewc_release(struct ewc *e);

/* Returns the part of the past that replay carries.
 *   ratio  replayed tokens for each new one
 *   kept   the share of all rows ever offered that the replay buffer has */
double ewc_covered(double ratio, double kept);

/* Returns the lambda of the next pull; 0 before the first consolidation.
 *   covered  by replay, from ewc_covered */
float ewc_lambda(const struct ewc *e, double covered);

/* Is a consolidation due before this step? */
bool ewc_due(const struct ewc *e, const struct ewc_fresh *fresh);

/* Moves the anchor to average[n_params], and folds R into F. */
void ewc_consolidate(struct ewc *e, const struct ewc_fresh *fresh,
                     const float *average);

/*
 * Adds the gradient to R, and pulls w[from, to) towards the anchor.
 *   w, v, grads  float[n_params], one layout; v is Adam's second moment
 *   factor       multiplies grads: below 1 for a clipped gradient
 *   n_tokens     N
 *   covered      by replay, from ewc_covered
 *   v_hat_scale  1 / (1 - beta2^t)
 *   *penalty     raised by lambda/2 F (w - a)^2 in nats, before the pull
 *   *moved       raised by the sum of squares of the displacement
 */
struct ewc_pull {
    float *w;
    const float *v, *grads;
    float factor;
    size_t n_tokens;
    double covered;
    float v_hat_scale, eps, lr;
};
void ewc_pull(struct ewc *e, const struct ewc_pull *p, size_t from, size_t to,
              double *penalty, double *moved);

/* Counts the step, after ewc_pull is done with all ranges. */
void ewc_count(struct ewc *e, const struct ewc_fresh *fresh);

/*
 * Exports and imports the state. ewc.fisher and ewc.anchor (F32) change only
 * at a consolidation and go to `anchor`, once there was one. The rest goes to
 * `state`: ewc.running (F32), ewc.counts (I64), ewc.before (F64). To export,
 * either list may be NULL. While EWC is not enabled, both do nothing.
 *
 * A state without ewc.counts has no EWC, or is of a program whose Fisher had
 * another scale. Then EWC starts anew.
 */
void ewc_export(const struct ewc *e, struct tensor_list *state,
                struct tensor_list *anchor);
int ewc_import(struct ewc *e, const struct tensor_list *state,
               const struct tensor_list *anchor, struct err *err);

#endif
