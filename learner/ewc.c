/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between consolidations, R alone changes. Before the first one, F and the
 * anchor are zero and no weight is pulled.
 *
 * ewc_pull adds each gradient to R in the pass that moves the weights, so R
 * costs one read and one write of a block.
 */
#include "config.h"

#include "learner/ewc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"

/* Far below this, r / (1 + r) is 1 in single precision. It keeps r + 1
 * finite. */
#define PULL_MOST 1e30f

enum {
    N_CONSOLIDATIONS,
    N_TOKENS_SINCE,
    N_STEPS_SINCE,
    N_DOMAINS,
    N_SETTLED,
    N_COUNTS
};

void ewc_init(struct ewc *e, const struct ewc_options *options,
              size_t n_params)
{
    memset(e, 0, sizeof *e);
    e->options = *options;
    e->n_params = n_params;
    if (!options->enabled)
        return;
    e->fisher = xfloats(n_params);
    e->anchor = xfloats(n_params);
    e->running = xfloats(n_params);
}

void ewc_release(struct ewc *e)
{
    free(e->fisher);
    free(e->anchor);
    free(e->running);
    memset(e, 0, sizeof *e);
}

/* --- the pull ----------------------------------------------------------- */

double ewc_covered(double ratio, double kept)
{
    return fmin(kept / EWC_FULL_KEPT, 1.0) *
           fmin(ratio / EWC_FULL_RATIO, 1.0);
}

float ewc_lambda(const struct ewc *e, double covered)
{
    double ratio;

    if (e->consolidations == 0)
        return 0.0f;
    if (e->options.lambda >= 0.0f)
        return e->options.lambda;
    ratio = e->tokens_before / ((double)e->tokens_since + EWC_YOUNG);
    return (float)(fmin(EWC_SCALE * ratio, EWC_LAMBDA_MOST) *
                   (1.0 - covered));
}

HOT static void add_squares(float *restrict running, const float *restrict g,
                            size_t n, float scale, float share)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        running[i] += share * (scale * (g[i] * g[i]) - running[i]);
}

/* Pulls w towards the anchor. Also sums F (w - a)^2 and the squares of the
 * displacement. */
HOT static void pull(float *restrict w, const float *restrict v,
                     const float *restrict fisher, const float *restrict anchor,
                     size_t n, float strength, float v_hat_scale, float eps,
                     float *weighted, float *moved)
{
    float sum = 0.0f, squares = 0.0f;

#pragma omp simd reduction(+ : sum, squares)
    for (size_t i = 0; i < n; i++) {
        float away = anchor[i] - w[i];
        float r = strength * fisher[i] / (sqrtf(v[i] * v_hat_scale) + eps);
        float d;

        r = r < PULL_MOST ? r : PULL_MOST;
        d = away * (r / (1.0f + r));
        w[i] += d;
        sum += fisher[i] * (away * away);
        squares += d * d;
    }
    *weighted = sum;
    *moved = squares;
}

void ewc_pull(struct ewc *e, const struct ewc_pull *p, size_t from, size_t to,
              double *penalty, double *moved)
{
    float lambda = ewc_lambda(e, p->covered);
    float weighted, squares;
    int64_t t = e->steps_since + 1;

    if (!e->options.enabled)
        return;
    add_squares(e->running + from, p->grads + from, to - from,
                (float)p->n_tokens * p->factor * p->factor,
                1.0f / (float)(t < EWC_HORIZON ? t : EWC_HORIZON));
    if (lambda == 0.0f)
        return;
    pull(p->w + from, p->v + from, e->fisher + from, e->anchor + from,
         to - from, p->lr * lambda, p->v_hat_scale, p->eps, &weighted,
         &squares);
    *penalty += 0.5 * (double)lambda * (double)weighted;
    *moved += (double)squares;
}

void ewc_count(struct ewc *e, const struct ewc_fresh *fresh)
{
    e->steps_since++;
    e->tokens_since += fresh->tokens;
    if (e->domains < fresh->domains)
        e->domains = fresh->domains;
    if (e->settled == 0)
        e->settled = e->domains;
}

/* --- consolidations ----------------------------------------------------- */

bool ewc_due(const struct ewc *e, const struct ewc_fresh *fresh)
{
    if (!e->options.enabled || e->steps_since == 0)
        return false;
    switch (e->options.consolidate) {
    case EWC_EVERY:
        return e->steps_since >= e->options.every_steps;
    case EWC_AUTO:
        return 2 * fresh->young > fresh->tokens ||
               e->tokens_since >= EWC_INTERVAL_TOKENS;
    case EWC_OFF:
        break;
    }
    return false;
}

HOT static void fold(float *restrict fisher, const float *restrict running,
                     size_t n, float add)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        fisher[i] += add * (running[i] - fisher[i]);
}

void ewc_consolidate(struct ewc *e, const struct ewc_fresh *fresh,
                     const float *average)
{
    double since = (double)e->tokens_since;
    double all = e->tokens_before + since;

    fold(e->fisher, e->running, e->n_params,
         all > 0.0 ? (float)(since / all) : 1.0f);
    memcpy(e->anchor, average, e->n_params * sizeof *e->anchor);
    memset(e->running, 0, e->n_params * sizeof *e->running);
    e->tokens_before = e->options.decay * e->tokens_before + since;
    e->tokens_since = 0;
    e->steps_since = 0;
    e->settled = e->domains > fresh->domains ? e->domains : fresh->domains;
    e->consolidations++;
}

/* --- state -------------------------------------------------------------- */

void ewc_export(const struct ewc *e, struct tensor_list *state,
                struct tensor_list *anchor)
{
    int64_t counts[N_COUNTS] = {
        [N_CONSOLIDATIONS] = e->consolidations,
        [N_TOKENS_SINCE] = e->tokens_since,
        [N_STEPS_SINCE] = e->steps_since,
        [N_DOMAINS] = e->domains,
        [N_SETTLED] = e->settled,
    };
    const size_t *n = &e->n_params;

    if (!e->options.enabled)
        return;
    if (state) {
        tensor_add_copy(state, "ewc.running", TENSOR_F32, 1, n, e->running);
        tensor_add_i64(state, "ewc.counts", counts, N_COUNTS);
        tensor_add_f64(state, "ewc.before", &e->tokens_before, 1);
    }
    if (anchor && e->consolidations > 0) {
        tensor_add_copy(anchor, "ewc.fisher", TENSOR_F32, 1, n, e->fisher);
        tensor_add_copy(anchor, "ewc.anchor", TENSOR_F32, 1, n, e->anchor);
    }
}

/* The tensors of an import. */
struct found {
    const struct tensor *counts, *before, *running;
    const struct tensor *fisher, *anchor; /* NULL: no consolidation */
};

static int check_counts(const struct found *f, struct err *err)
{
    const int64_t *c = f->counts->data;
    double before = *(const double *)f->before->data;

    for (int i = 0; i < N_COUNTS; i++)
        if (c[i] < 0 || c[i] > TENSOR_COUNTER_MOST)
            return err_set(err, ERR_CORRUPT,
                           "tensor ewc.counts: values out of range");
    if (!(before >= 0.0 && before <= (double)TENSOR_COUNTER_MOST))
        return err_set(err, ERR_CORRUPT,
                       "tensor ewc.before: value out of range");
    return 0;
}

/* A negative Fisher would push weights away from the anchor, without a limit.
 */
static int find(size_t n, const struct tensor_list *state,
                const struct tensor_list *anchor, struct found *f,
                struct err *err)
{
    int rc;

    if ((rc = tensor_expect(state, "ewc.counts", TENSOR_I64, N_COUNTS,
                            &f->counts, err)) ||
        (rc = tensor_expect(state, "ewc.before", TENSOR_F64, 1, &f->before,
                            err)) ||
        (rc = check_counts(f, err)) ||
        (rc = block_expect_squares(state, "ewc.running", n, &f->running, err)))
        return rc;
    if (((const int64_t *)f->counts->data)[N_CONSOLIDATIONS] == 0)
        return 0;
    rc = block_expect_squares(anchor, "ewc.fisher", n, &f->fisher, err);
    return rc ? rc : block_expect(anchor, "ewc.anchor", n, &f->anchor, err);
}

static void copy_block(float *to, const struct tensor *from, size_t n)
{
    if (from)
        memcpy(to, from->data, n * sizeof *to);
    else
        memset(to, 0, n * sizeof *to);
}

int ewc_import(struct ewc *e, const struct tensor_list *state,
               const struct tensor_list *anchor, struct err *err)
{
    static const int64_t none[N_COUNTS] = {0};
    const int64_t *counts = none;
    struct found f = {0};
    int rc;

    if (!e->options.enabled)
        return 0;
    if (tensor_find(state, "ewc.counts")) {
        rc = find(e->n_params, state, anchor, &f, err);
        if (rc)
            return rc;
        counts = f.counts->data;
    }
    copy_block(e->running, f.running, e->n_params);
    copy_block(e->fisher, f.fisher, e->n_params);
    copy_block(e->anchor, f.anchor, e->n_params);
    e->tokens_before = f.before ? *(const double *)f.before->data : 0.0;
    e->consolidations = counts[N_CONSOLIDATIONS];
    e->tokens_since = counts[N_TOKENS_SINCE];
    e->steps_since = counts[N_STEPS_SINCE];
    e->domains = counts[N_DOMAINS];
    e->settled = counts[N_SETTLED];
    return 0;
}
