/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a consolidation:
 *
 *     IDLE --ewc_begin (by ewc_decide)--> COLLECTING (passes 0)
 *     COLLECTING --ewc_observe, EWC_PASSES times--> IDLE, with a new F and
 *                                                   anchor
 *
 * `passes` is -1 while idle. Until the first consolidation is complete, F and
 * the anchor are zero and no weight is pulled.
 */
#include "config.h"

#include "learner/ewc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"

#define IDLE (-1)

/* Limits for being on a plateau and for leaving it, as shares of the mean
 * loss. */
#define PLATEAU_SLOPE 0.02  /* difference between the window's halves */
#define PLATEAU_SPREAD 0.25 /* standard deviation in the window */
#define LEFT_SLOPE 0.05
#define LEFT_LEVEL 0.10 /* distance from the level of the last plateau */

/* Far below this, r / (1 + r) is 1 in single precision. It keeps r + 1
 * finite. */
#define PULL_MOST 1e30f

#define GRAD_MOST 1e15f

enum {
    N_PASSES,
    N_CONSOLIDATIONS,
    N_TOKENS_SINCE,
    N_STEPS_SINCE,
    N_WINDOW,
    N_ARMED,
    N_COUNTERS
};

void ewc_init(struct ewc *e, const struct ewc_options *options,
              size_t n_params)
{
    memset(e, 0, sizeof *e);
    e->options = *options;
    e->n_params = n_params;
    e->passes = IDLE;
    e->armed = true;
    if (!options->enabled)
        return;
    e->fisher = xfloats(n_params);
    e->anchor = xfloats(n_params);
    e->sum = xfloats(n_params);
}

void ewc_release(struct ewc *e)
{
    free(e->fisher);
    free(e->anchor);
    free(e->sum);
    memset(e, 0, sizeof *e);
}

/* --- the pull ----------------------------------------------------------- */

/* Pulls w towards the anchor. Also sums F (w - a)^2 and the squares of the
 * displacement. */
HOT static void pull(float *restrict w, const float *restrict v,
                          const float *restrict fisher,
                          const float *restrict anchor, size_t n,
                          float strength, float v_hat_scale, float eps,
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

void ewc_pull(const struct ewc *e, float *w, const float *v,
              float v_hat_scale, float eps, float lr, size_t from, size_t to,
              double *penalty, double *moved)
{
    float weighted, squares;

    if (!e->options.enabled || e->consolidations == 0)
        return;
    pull(w + from, v + from, e->fisher + from, e->anchor + from, to - from,
         lr * e->options.lambda, v_hat_scale, eps, &weighted, &squares);
    *penalty += 0.5 * (double)e->options.lambda * (double)weighted;
    *moved += (double)squares;
}

/* --- when to consolidate ------------------------------------------------ */

struct trend {
    double mean;   /* of the window */
    double slope;  /* |newer half - older half| / mean */
    double spread; /* standard deviation / mean */
};

static struct trend window_trend(const struct ewc *e)
{
    const size_t half = EWC_WINDOW / 2;
    double older = 0.0, newer = 0.0, squares = 0.0, mean;

    for (size_t i = 0; i < EWC_WINDOW; i++) {
        /* The oldest loss is the next to be overwritten. */
        double x = e->window[((size_t)e->n_window + i) % EWC_WINDOW];

        if (i < half)
            older += x;
        else
            newer += x;
        squares += x * x;
    }
    mean = (older + newer) / EWC_WINDOW;
    return (struct trend){
        .mean = mean,
        .slope = fabs(newer - older) / (double)half / mean,
        .spread =
            sqrt(fmax(squares / EWC_WINDOW - mean * mean, 0.0)) / mean,
    };
}

/* Updates `armed`. Returns true if a plateau triggers a consolidation now. */
static bool plateau_reached(struct ewc *e)
{
    struct trend t;

    if (e->n_window < EWC_WINDOW)
        return false;
    t = window_trend(e);
    if (!(t.mean > 0.0))
        return false;
    if (t.slope > LEFT_SLOPE ||
        fabs(t.mean - e->plateau) > LEFT_LEVEL * e->plateau)
        e->armed = true;
    if (!e->armed || t.slope > PLATEAU_SLOPE || t.spread > PLATEAU_SPREAD ||
        e->tokens_since < EWC_MIN_TOKENS)
        return false;
    e->armed = false;
    e->plateau = t.mean;
    return true;
}

static bool due(struct ewc *e)
{
    switch (e->options.consolidate) {
    case EWC_EVERY:
        return e->steps_since >= e->options.every_steps;
    case EWC_AUTO:
        return plateau_reached(e) || e->tokens_since >= EWC_BACKSTOP_TOKENS;
    case EWC_OFF:
        break;
    }
    return false;
}

bool ewc_decide(struct ewc *e, int64_t n_tokens, double loss)
{
    if (!e->options.enabled)
        return false;
    e->steps_since++;
    e->tokens_since += n_tokens;
    if (n_tokens > 0 && isfinite(loss))
        e->window[e->n_window++ % EWC_WINDOW] = loss;
    if (ewc_collecting(e) || !due(e))
        return false;
    ewc_begin(e);
    return true;
}

void ewc_begin(struct ewc *e)
{
    if (!e->options.enabled || ewc_collecting(e))
        return;
    memset(e->sum, 0, e->n_params * sizeof *e->sum);
    e->passes = 0;
}

bool ewc_collecting(const struct ewc *e)
{
    return e->passes != IDLE;
}

/* --- the Fisher information --------------------------------------------- */

/* Returns false if an element is NaN, or so large that a sum of squares could
 * overflow. */
HOT static bool usable(const float *g, size_t n)
{
    int bad = 0;

#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < n; i++)
        bad |= !(fabsf(g[i]) < GRAD_MOST);
    return !bad;
}

HOT static void add_squares(float *restrict sum, const float *restrict g,
                            size_t n, float scale)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        sum[i] += scale * (g[i] * g[i]);
}

HOT static void fold(float *restrict fisher, const float *restrict sum,
                     size_t n, float keep, float add)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        fisher[i] = keep * fisher[i] + add * sum[i];
}

static void complete(struct ewc *e, const float *params)
{
    float keep = e->consolidations ? e->options.decay : 0.0f;

    fold(e->fisher, e->sum, e->n_params, keep,
         (1.0f - keep) / (float)e->passes);
    memcpy(e->anchor, params, e->n_params * sizeof *e->anchor);
    e->consolidations++;
    e->passes = IDLE;
    e->tokens_since = 0;
    e->steps_since = 0;
}

bool ewc_observe(struct ewc *e, const float *grads, size_t n_tokens,
                 const float *params)
{
    BUG_ON(!ewc_collecting(e));
    if (!usable(grads, e->n_params))
        return false;
    add_squares(e->sum, grads, e->n_params, (float)n_tokens);
    if (++e->passes < EWC_PASSES)
        return false;
    complete(e, params);
    return true;
}

/* --- state -------------------------------------------------------------- */

void ewc_export(const struct ewc *e, struct tensor_list *state,
                struct tensor_list *anchor)
{
    int64_t counters[N_COUNTERS] = {
        [N_PASSES] = e->passes,
        [N_CONSOLIDATIONS] = e->consolidations,
        [N_TOKENS_SINCE] = e->tokens_since,
        [N_STEPS_SINCE] = e->steps_since,
        [N_WINDOW] = e->n_window,
        [N_ARMED] = e->armed,
    };
    const size_t *n = &e->n_params;

    if (state) {
        if (ewc_collecting(e))
            tensor_add_copy(state, "ewc.sum", TENSOR_F32, 1, n, e->sum);
        tensor_add_i64(state, "ewc.counters", counters, N_COUNTERS);
        tensor_add_f64(state, "ewc.window", e->window, EWC_WINDOW);
        tensor_add_f64(state, "ewc.plateau", &e->plateau, 1);
    }
    if (anchor && e->consolidations > 0) {
        tensor_add_copy(anchor, "ewc.fisher", TENSOR_F32, 1, n, e->fisher);
        tensor_add_copy(anchor, "ewc.anchor", TENSOR_F32, 1, n, e->anchor);
    }
}

/* The tensors of an import; NULL for a block that is absent. */
struct found {
    const int64_t *counters;
    const double *window, *plateau;
    const float *sum, *fisher, *anchor;
};

static int find_block(const struct tensor_list *l, const char *name, size_t n,
                      const float **block, struct err *err)
{
    const struct tensor *t;
    int rc = block_expect(l, name, n, &t, err);

    if (rc == 0)
        *block = t->data;
    return rc;
}

static int check_counters(const int64_t *c, struct err *err)
{
    bool fine = c[N_PASSES] >= IDLE && c[N_PASSES] < EWC_PASSES;

    for (int i = 0; i < N_COUNTERS; i++)
        fine = fine && c[i] <= TENSOR_COUNTER_MOST &&
               (c[i] >= 0 || i == N_PASSES);
    if (!fine)
        return err_set(err, ERR_CORRUPT,
                       "tensor ewc.counters: values out of range");
    return 0;
}

static int find_blocks(size_t n, const struct tensor_list *state,
                       const struct tensor_list *anchor, struct found *f,
                       struct err *err)
{
    int rc = 0;

    if (f->counters[N_PASSES] != IDLE)
        rc = find_block(state, "ewc.sum", n, &f->sum, err);
    if (rc || f->counters[N_CONSOLIDATIONS] == 0)
        return rc;
    rc = find_block(anchor, "ewc.fisher", n, &f->fisher, err);
    return rc ? rc : find_block(anchor, "ewc.anchor", n, &f->anchor, err);
}

static int find_all(size_t n, const struct tensor_list *state,
                    const struct tensor_list *anchor, struct found *f,
                    struct err *err)
{
    const struct tensor *counters, *window, *plateau;
    int rc;

    if ((rc = tensor_expect(state, "ewc.counters", TENSOR_I64, N_COUNTERS,
                            &counters, err)) ||
        (rc = tensor_expect(state, "ewc.window", TENSOR_F64, EWC_WINDOW,
                            &window, err)) ||
        (rc = tensor_expect(state, "ewc.plateau", TENSOR_F64, 1, &plateau,
                            err)) ||
        (rc = check_counters(counters->data, err)))
        return rc;
    f->counters = counters->data;
    f->window = window->data;
    f->plateau = plateau->data;
    return find_blocks(n, state, anchor, f, err);
}

static void copy_block(float *to, const float *from, size_t n)
{
    if (from)
        memcpy(to, from, n * sizeof *to);
    else
        memset(to, 0, n * sizeof *to);
}

int ewc_import(struct ewc *e, const struct tensor_list *state,
               const struct tensor_list *anchor, struct err *err)
{
    struct found f = {0};
    int rc;

    if (!e->options.enabled)
        return 0;
    rc = find_all(e->n_params, state, anchor, &f, err);
    if (rc)
        return rc;
    copy_block(e->sum, f.sum, e->n_params);
    copy_block(e->fisher, f.fisher, e->n_params);
    copy_block(e->anchor, f.anchor, e->n_params);
    memcpy(e->window, f.window, sizeof e->window);
    e->plateau = *f.plateau;
    e->passes = f.counters[N_PASSES];
    e->consolidations = f.counters[N_CONSOLIDATIONS];
    e->tokens_since = f.counters[N_TOKENS_SINCE];
    e->steps_since = f.counters[N_STEPS_SINCE];
    e->n_window = f.counters[N_WINDOW];
    e->armed = f.counters[N_ARMED] != 0;
    return 0;
}
