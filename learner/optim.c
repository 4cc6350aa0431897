/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AdamW in one pass over the parameters: the gradient, moments and weight of
 * an element are read once and written once. Each element is computed on its
 * own, so the result does not depend on how ranges are shared among threads.
 *
 * Every finite norm is remembered, also that of a skipped step. If gradients
 * have become larger for good, the median follows and learning goes on after
 * OPTIM_NORMS_NEEDED steps.
 */
#include "config.h"

#include "learner/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"

#define CLIP_MEDIANS 3.0

/* N_UNUSED is 0. It was the step at which a later warm-up began; there never
 * was one. */
enum { N_STEP, N_UNUSED, N_SKIPPED, N_NORMS, N_COUNTERS };

void optim_init(struct optim *o, const struct optim_options *options,
                size_t n_params)
{
    memset(o, 0, sizeof *o);
    o->options = *options;
    o->n_params = n_params;
    o->m = xfloats(n_params);
    o->v = xfloats(n_params);
}

void optim_release(struct optim *o)
{
    free(o->m);
    free(o->v);
    memset(o, 0, sizeof *o);
}

float optim_rate(const struct optim *o)
{
    int64_t warm = o->step + 1;

    if (warm >= o->options.warmup_steps)
        return o->options.lr;
    return o->options.lr * (float)warm / (float)o->options.warmup_steps;
}

/* Returns 1 / (1 - beta^t), where t is the number of the next update. */
static float correction(const struct optim *o, float beta)
{
    return (float)(1.0 / (1.0 - pow(beta, (double)(o->step + 1))));
}

float optim_v_hat_scale(const struct optim *o)
{
    return correction(o, o->options.beta2);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Returns 0 while too few norms are known. */
static double median_norm(const struct optim *o)
{
    double sorted[OPTIM_NORMS];
    size_t n = o->n_norms < OPTIM_NORMS ? (size_t)o->n_norms : OPTIM_NORMS;

    if (n < OPTIM_NORMS_NEEDED)
        return 0.0;
    memcpy(sorted, o->norms, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    return 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]);
}

static float admit(struct optim *o, double grad_norm, double most_medians)
{
    double median = median_norm(o), limit = o->options.clip_norm;

    if (!isfinite(grad_norm)) {
        o->skipped++;
        return 0.0f;
    }
    o->norms[o->n_norms++ % OPTIM_NORMS] = grad_norm;
    if (median > 0.0 && most_medians > 0.0 &&
        grad_norm > most_medians * median) {
        o->skipped++;
        return 0.0f;
    }
    if (limit > 0.0 && median > 0.0)
        limit = fmin(limit, CLIP_MEDIANS * median);
    if (limit > 0.0 && grad_norm > limit)
        return (float)(limit / grad_norm);
    return 1.0f;
}

float optim_admit(struct optim *o, double grad_norm)
{
    return admit(o, grad_norm, (double)o->options.skip_medians);
}

float optim_admit_any(struct optim *o, double grad_norm)
{
    return admit(o, grad_norm, INFINITY);
}

/* The constants of an update. */
struct update {
    float factor, beta1, beta2, new1, new2; /* new = 1 - beta */
    float m_hat_scale, v_hat_scale;
    float eps, rate, decay;
};

HOT static float apply(float *restrict w, float *restrict m,
                            float *restrict v, const float *restrict grads,
                            size_t n, const struct update *u)
{
    const struct update k = *u;
    float moved = 0.0f;

#pragma omp simd reduction(+ : moved)
    for (size_t i = 0; i < n; i++) {
        float g = grads[i] * k.factor;
        float m1 = k.beta1 * m[i] + k.new1 * g;
        float v1 = k.beta2 * v[i] + k.new2 * (g * g);
        float root = sqrtf(v1 * k.v_hat_scale) + k.eps;
        float d = k.rate * (m1 * k.m_hat_scale / root + k.decay * w[i]);

        m[i] = m1;
        v[i] = v1;
        w[i] -= d;
        moved += d * d;
    }
    return moved;
}

double optim_apply(struct optim *o, float *params, const float *grads,
                   float factor, size_t from, size_t to, bool decays)
{
    const struct optim_options *p = &o->options;
    struct update u = {
        .factor = factor,
        .beta1 = p->beta1,
        .beta2 = p->beta2,
        .new1 = 1.0f - p->beta1,
        .new2 = 1.0f - p->beta2,
        .m_hat_scale = correction(o, p->beta1),
        .v_hat_scale = correction(o, p->beta2),
        .eps = p->eps,
        .rate = optim_rate(o),
        .decay = decays ? p->weight_decay : 0.0f,
    };

    return apply(params + from, o->m + from, o->v + from, grads + from,
                 to - from, &u);
}

void optim_advance(struct optim *o)
{
    o->step++;
}

void optim_export(const struct optim *o, struct tensor_list *out)
{
    int64_t counters[N_COUNTERS] = {
        [N_STEP] = o->step,
        [N_SKIPPED] = o->skipped,
        [N_NORMS] = o->n_norms,
    };

    tensor_add_copy(out, "optim.m", TENSOR_F32, 1, &o->n_params, o->m);
    tensor_add_copy(out, "optim.v", TENSOR_F32, 1, &o->n_params, o->v);
    tensor_add_i64(out, "optim.counters", counters, N_COUNTERS);
    tensor_add_f64(out, "optim.norms", o->norms, OPTIM_NORMS);
}

static int check_counters(const int64_t *c, struct err *err)
{
    if (c[N_STEP] < 0 || c[N_STEP] > TENSOR_COUNTER_MOST ||
        c[N_UNUSED] != 0 || c[N_SKIPPED] < 0 ||
        c[N_SKIPPED] > TENSOR_COUNTER_MOST || c[N_NORMS] < 0 ||
        c[N_NORMS] > TENSOR_COUNTER_MOST)
        return err_set(err, ERR_CORRUPT,
                       "tensor optim.counters: values out of range");
    return 0;
}

struct found {
    const struct tensor *m, *v, *counters, *norms;
};

static int find(size_t n_params, const struct tensor_list *in,
                struct found *f, struct err *err)
{
    int rc;

    if ((rc = block_expect(in, "optim.m", n_params, &f->m, err)) ||
        (rc = block_expect_squares(in, "optim.v", n_params, &f->v, err)) ||
        (rc = tensor_expect(in, "optim.counters", TENSOR_I64, N_COUNTERS,
                            &f->counters, err)) ||
        (rc = tensor_expect(in, "optim.norms", TENSOR_F64, OPTIM_NORMS,
                            &f->norms, err)))
        return rc;
    return check_counters(f->counters->data, err);
}

int optim_check(const struct optim *o, const struct tensor_list *in,
                struct err *err)
{
    struct found f;

    return find(o->n_params, in, &f, err);
}

int optim_import(struct optim *o, const struct tensor_list *in,
                 struct err *err)
{
    struct found f;
    const int64_t *c;
    int rc = find(o->n_params, in, &f, err);

    if (rc)
        return rc;
    c = f.counters->data;
    memcpy(o->m, f.m->data, o->n_params * sizeof *o->m);
    memcpy(o->v, f.v->data, o->n_params * sizeof *o->v);
    memcpy(o->norms, f.norms->data, sizeof o->norms);
    o->step = c[N_STEP];
    o->skipped = c[N_SKIPPED];
    o->n_norms = c[N_NORMS];
    return 0;
}
