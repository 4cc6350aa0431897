/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optim.h - AdamW for a stream without an end (Loshchilov, Hutter 2019).
 *
 *     m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
 *     w <- w - lr (m^ / (sqrt(v^) + eps) + decay w),  m^, v^ bias-corrected
 *
 * The rate rises linearly for warmup_steps, then stays constant. The gradient
 * is clipped at clip_norm or 3 times the running median of past norms,
 * whichever is less. A step is skipped and counted if its norm is not finite,
 * or if it exceeds skip_medians times that median. The median is used once
 * OPTIM_NORMS_NEEDED norms are known.
 *
 * Owner:   the learner; m and v are laid out like the parameters
 * Threads: trainer; optim_apply also workers, on ranges
 */
#ifndef MNEME_LEARNER_OPTIM_H
#define MNEME_LEARNER_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

#define OPTIM_NORMS 64        /* norms that the median is taken of */
#define OPTIM_NORMS_NEEDED 32 /* norms needed before the median is used */

struct optim_options {
    float lr;
    int warmup_steps;
    float beta1, beta2, eps;
    float weight_decay;
    float clip_norm;    /* 0: never clip */
    float skip_medians; /* 0: only gradients that are not finite skip a step */
};

struct optim {
    struct optim_options options;
    size_t n_params;
    float *m, *v;        /* [n_params] */
    int64_t step;        /* updates applied */
    int64_t skipped;     /* steps skipped */
    double norms[OPTIM_NORMS]; /* ring of recent norms */
    int64_t n_norms;
};

void optim_init(struct optim *o, const struct optim_options *options,
                size_t n_params);
void optim_release(struct optim *o);

/* Returns the rate of the next update. */
float optim_rate(const struct optim *o);

/* Returns 1 / (1 - beta2^t) of the next update; v^ is v times that. */
float optim_v_hat_scale(const struct optim *o);

/*
 * Decides about a gradient with this norm, and remembers the norm. Returns the
 * factor for the gradient: 1, less if it is clipped, 0 if the step must be
 * skipped. Call it once a step; unless it returns 0, optim_apply and
 * optim_advance follow.
 */
float optim_admit(struct optim *o, double grad_norm);

/* Does the same, but a finite gradient is only clipped, never skipped. */
float optim_admit_any(struct optim *o, double grad_norm);

/*
 * Updates params[from, to).
 *   grads    float[n_params]; multiplied by factor first
 *   decays   weight decay applies to the range, which lies in one tensor
 *   returns  the sum of squares of the displacement
 */
double optim_apply(struct optim *o, float *params, const float *grads,
                   float factor, size_t from, size_t to, bool decays);

/* Counts the update, when optim_apply is done with all ranges. */
void optim_advance(struct optim *o);

/* Exports the state: tensors optim.m, optim.v (F32), optim.counters (I64),
 * optim.norms (F64). */
void optim_export(const struct optim *o, struct tensor_list *out);
/* Returns what optim_import would return, but changes nothing. */
int optim_check(const struct optim *o, const struct tensor_list *in,
                struct err *err);
int optim_import(struct optim *o, const struct tensor_list *in,
                 struct err *err);

#endif
