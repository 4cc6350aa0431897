/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optim.h - AdamW for a stream with no end (Loshchilov, Hutter 2019).
 *
 *     m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
 *     w <- w - lr (m^ / (sqrt(v^) + eps) + decay w),  m^, v^ bias-corrected
 *
 * Warm-up is linear over warmup_steps, then the rate is constant. The gradient
 * is clipped at min(clip_norm, 3 x the running median of past norms); a step
 * whose norm is not finite, or above skip_medians x that median once 32 norms
 * are known, is skipped and counted (LEARNING: "skip the step").
 *
 * Owner:   the learner; m and v are blocks like the parameters
 * Threads: trainer; optim_apply's range form may run on workers
 */
#ifndef MNEME_LEARNER_OPTIM_H
#define MNEME_LEARNER_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

#define OPTIM_NORMS 64        /* norms remembered for the median */
#define OPTIM_NORMS_NEEDED 32 /* before the median decides anything */

struct optim_options {
    float lr;
    int warmup_steps;
    float beta1, beta2, eps;
    float weight_decay;
    float clip_norm;    /* 0: never clip */
    float skip_medians; /* 0: skip only what is not finite */
};

struct optim {
    struct optim_options options;
    size_t n_params;
    float *m, *v;        /* [n_params] */
    int64_t step;        /* updates applied */
    int64_t warm_from;   /* step at which the present warm-up began */
    int64_t skipped;     /* updates refused */
    double norms[OPTIM_NORMS]; /* ring of the last norms */
    int64_t n_norms;     /* norms ever seen */
};

void optim_init(struct optim *o, const struct optim_options *options,
                size_t n_params);
void optim_release(struct optim *o);

/* The rate of the next update. */
float optim_rate(const struct optim *o);

/* 1 / (1 - beta2^t) of the next update: v^ is v times that. */
float optim_v_hat_scale(const struct optim *o);

/*
 * Decides about a gradient of the given norm: returns the factor for it
 * (1, less when clipped), or 0 when the step must be skipped. Remembers the
 * norm. Call once a step, then optim_apply unless 0, then optim_advance.
 */
float optim_admit(struct optim *o, double grad_norm);

/* The same, but one that is finite is never skipped, only clipped. */
float optim_admit_any(struct optim *o, double grad_norm);

/*
 * One update of params[from, to).
 *   grads    float[n_params], multiplied by factor on the way
 *   decays   weight decay applies to this range: the caller goes tensor by
 *            tensor
 *   returns  the sum of squares of the displacement
 */
double optim_apply(struct optim *o, float *params, const float *grads,
                   float factor, size_t from, size_t to, bool decays);

/* The update is complete: counts it. */
void optim_advance(struct optim *o);

/* State: tensors optim.m, optim.v (F32), optim.counters (I64), optim.norms
 * (F64). */
void optim_export(const struct optim *o, struct tensor_list *out);
/* What optim_import would say; changes nothing. */
int optim_check(const struct optim *o, const struct tensor_list *in,
                struct err *err);
int optim_import(struct optim *o, const struct tensor_list *in,
                 struct err *err);

#endif
