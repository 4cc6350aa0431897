/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EWC: the pull, the Fisher estimate of a model whose Fisher is known, lambda,
 * when consolidations begin, and the state.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "learner/ewc.h"

#define N 37

static const struct ewc_options usual = {
    .enabled = true,
    .lambda = 10.0f,
    .decay = 0.75f,
    .consolidate = EWC_OFF,
};

static void draw(float *x, uint64_t step)
{
    for (size_t i = 0; i < N; i++)
        x[i] = (float)rng_normal(3, RNG_INIT, step, i);
}

/* Makes a step of n_tokens with this gradient; w is pulled. */
static void step(struct ewc *e, float *w, const float *v, const float *grads,
                 size_t n_tokens, const struct ewc_fresh *fresh)
{
    const struct ewc_pull p = {.w = w,
                               .v = v,
                               .grads = grads,
                               .factor = 1.0f,
                               .n_tokens = n_tokens,
                               .v_hat_scale = 1.0f,
                               .eps = 1e-8f,
                               .lr = 0.01f};
    double penalty = 0, moved = 0;

    ewc_pull(e, &p, 0, e->n_params, &penalty, &moved);
    ewc_count(e, fresh);
}

static struct ewc_fresh fresh_of(int64_t tokens, int64_t domain,
                                 const struct ewc *e)
{
    return (struct ewc_fresh){
        .tokens = tokens,
        .young = domain >= e->settled ? tokens : 0,
        .domains = domain + 1,
    };
}

/* Learns one gradient in a step of n_tokens, and consolidates at `average`. */
static void consolidate(struct ewc *e, const float *grads, size_t n_tokens,
                        const float *average)
{
    struct ewc_fresh fresh = fresh_of((int64_t)n_tokens, 0, e);
    float w[64] = {0}, v[64] = {0};

    step(e, w, v, grads, n_tokens, &fresh);
    ewc_consolidate(e, &fresh, average);
}

static void pulls_nothing_before_the_first_anchor(void **state)
{
    float w[N], before[N], g[N], v[N] = {0};
    struct ewc_pull p = {.w = w, .v = v, .grads = g, .factor = 1.0f,
                         .n_tokens = 5, .v_hat_scale = 1.0f, .eps = 1e-8f,
                         .lr = 0.01f};
    double penalty = 0, moved = 0;
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(w, 0);
    draw(g, 1);
    memcpy(before, w, sizeof w);
    ewc_pull(&e, &p, 0, N, &penalty, &moved);
    assert_true(penalty == 0.0 && moved == 0.0);
    assert_true(ewc_lambda(&e, 0) == 0.0f);
    assert_memory_equal(w, before, sizeof w);
    ewc_release(&e);
}

static void pull_follows_its_formula(void **state)
{
    float w[N], a[N], g[N], v[N];
    struct ewc_pull p = {.w = w, .v = v, .grads = g, .factor = 1.0f,
                         .n_tokens = 5, .v_hat_scale = 2.0f, .eps = 1e-3f,
                         .lr = 0.01f};
    double penalty = 0, moved = 0, want_penalty = 0, want_moved = 0;
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(a, 0);
    draw(g, 1);
    draw(w, 2);
    draw(v, 3);
    for (size_t i = 0; i < N; i++)
        v[i] *= v[i];
    consolidate(&e, g, 5, a);
    ewc_pull(&e, &p, 0, 20, &penalty, &moved);
    ewc_pull(&e, &p, 20, N, &penalty, &moved);
    draw(a, 2); /* the value of w at the consolidation */
    for (size_t i = 0; i < N; i++) {
        double f = 5.0 * (double)g[i] * (double)g[i];
        double r = 0.01 * 10.0 * f / (sqrt(2.0 * (double)v[i]) + 1e-3);
        double away = (double)e.anchor[i] - (double)a[i];
        double d = away * r / (1 + r);

        want_penalty += 5.0 * f * away * away;
        want_moved += d * d;
        assert_true(fabs((double)w[i] - ((double)a[i] + d)) < 1e-5);
    }
    assert_true(penalty > 0.0);
    assert_true(fabs(penalty / want_penalty - 1) < 1e-4);
    assert_true(fabs(moved / want_moved - 1) < 1e-4);
    ewc_release(&e);
}

static void no_lambda_diverges(void **state)
{
    const float lambdas[] = {1e9f, 1e30f, 3e38f};
    float w[N], a[N], g[N], zero[N] = {0};
    struct ewc_pull p = {.w = w, .v = zero, .grads = zero, .factor = 1.0f,
                         .n_tokens = 1, .v_hat_scale = 1.0f, .eps = 1e-8f,
                         .lr = 1.0f};
    double penalty = 0, moved = 0;

    (void)state;
    draw(a, 0);
    draw(g, 1);
    for (size_t k = 0; k < 3; k++) {
        struct ewc_options options = usual;
        struct ewc e;

        options.lambda = lambdas[k];
        ewc_init(&e, &options, N);
        consolidate(&e, g, 1000, a);
        draw(w, 2);
        for (int i = 0; i < 10; i++)
            ewc_pull(&e, &p, 0, N, &penalty, &moved);
        for (size_t i = 0; i < N; i++)
            assert_true(fabsf(w[i] - a[i]) < 1e-4f);
        ewc_release(&e);
    }
    assert_true(isfinite(penalty) && isfinite(moved));
}

/* Text since the last consolidation has its full weight, earlier text what
 * decay left of it. */
static void folds_by_tokens(void **state)
{
    float a[N], g[3][N];
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(a, 0);
    for (int k = 0; k < 3; k++)
        draw(g[k], 1 + (uint64_t)k);
    consolidate(&e, g[0], 300, a);
    assert_true(e.tokens_before == 300.0);
    consolidate(&e, g[1], 700, a);
    assert_true(fabs(e.tokens_before - (0.75 * 300 + 700)) < 1e-9);
    a[0] += 1.0f;
    consolidate(&e, g[2], 500, a);
    for (size_t i = 0; i < N; i++) {
        double f[3], first, want;

        for (int k = 0; k < 3; k++)
            f[k] = (double)g[k][i] * (double)g[k][i];
        first = 0.3 * 300 * f[0] + 0.7 * 700 * f[1];
        want = (925 * first + 500 * 500 * f[2]) / 1425;
        assert_true(fabs((double)e.fisher[i] - want) < 1e-4 * (want + 1));
        assert_true(e.running[i] == 0.0f);
    }
    assert_memory_equal(e.anchor, a, sizeof a);
    assert_int_equal(e.consolidations, 3);
    ewc_release(&e);
}

/* A clipped gradient counts as it was applied. */
static void a_clipped_gradient_counts_clipped(void **state)
{
    float w[N] = {0}, v[N] = {0}, g[N];
    struct ewc_pull p = {.w = w, .v = v, .grads = g, .factor = 0.5f,
                         .n_tokens = 8, .v_hat_scale = 1.0f, .eps = 1e-8f,
                         .lr = 0.01f};
    double penalty = 0, moved = 0;
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(g, 1);
    ewc_pull(&e, &p, 0, N, &penalty, &moved);
    for (size_t i = 0; i < N; i++)
        assert_true(fabsf(e.running[i] - 2.0f * g[i] * g[i]) < 1e-5f);
    ewc_release(&e);
}

/* --- the Fisher estimate, for a model whose Fisher is known ------------- */

#define K 4  /* classes */
#define DIM 5 /* features */
#define T 11 /* tokens in a step */

/* Computes p[t][k] of a softmax regression with weights w[K][DIM]. */
static void predict(const double *w, const double *x, double *p)
{
    for (int t = 0; t < T; t++) {
        double sum = 0;

        for (int k = 0; k < K; k++) {
            double s = 0;

            for (int d = 0; d < DIM; d++)
                s += w[k * DIM + d] * x[t * DIM + d];
            sum += p[t * K + k] = exp(s);
        }
        for (int k = 0; k < K; k++)
            p[t * K + k] /= sum;
    }
}

static int draw_label(const double *p, uint64_t step, uint64_t i)
{
    double u = rng_unit(11, RNG_INIT, step, i), sum = p[0];
    int k = 0;

    while (u >= sum && k < K - 1)
        sum += p[++k];
    return k;
}

/* Computes the gradient of the mean loss of T labels that the model itself
 * explains. */
static void drawn_gradient(const double *p, const double *x, uint64_t step,
                           float *g)
{
    double sum[K * DIM] = {0};

    for (int t = 0; t < T; t++) {
        int label = draw_label(p + t * K, step, (uint64_t)t);

        for (int k = 0; k < K; k++)
            for (int d = 0; d < DIM; d++)
                sum[k * DIM + d] +=
                    (p[t * K + k] - (k == label)) * x[t * DIM + d] / T;
    }
    for (int i = 0; i < K * DIM; i++)
        g[i] = (float)sum[i];
}

/* Text that the model explains has targets as if sampled from it. Then the
 * estimate is the Fisher. */
static void the_estimate_is_unbiased(void **state)
{
    enum { STEPS = EWC_HORIZON, ROUNDS = 8 };
    double w[K * DIM], x[T * DIM], p[T * K], mean[K * DIM] = {0};
    float g[K * DIM], params[K * DIM] = {0}, v[K * DIM] = {0};
    struct ewc_fresh fresh = {.tokens = T, .domains = 1};
    uint64_t number = 0;

    (void)state;
    for (int i = 0; i < K * DIM; i++)
        w[i] = rng_normal(1, RNG_INIT, 0, (uint64_t)i);
    for (int i = 0; i < T * DIM; i++)
        x[i] = rng_normal(1, RNG_INIT, 1, (uint64_t)i);
    predict(w, x, p);
    for (int round = 0; round < ROUNDS; round++) {
        struct ewc e;

        ewc_init(&e, &usual, K * DIM);
        for (int i = 0; i < STEPS; i++) {
            drawn_gradient(p, x, number++, g);
            step(&e, params, v, g, T, &fresh);
        }
        ewc_consolidate(&e, &fresh, params);
        for (int i = 0; i < K * DIM; i++)
            mean[i] += (double)e.fisher[i] / ROUNDS;
        ewc_release(&e);
    }
    for (int k = 0; k < K; k++) {
        for (int d = 0; d < DIM; d++) {
            double want = 0;

            for (int t = 0; t < T; t++)
                want += x[t * DIM + d] * x[t * DIM + d] * p[t * K + k] *
                        (1 - p[t * K + k]) / T;
            assert_true(fabs(mean[k * DIM + d] / want - 1) < 0.08);
        }
    }
}

/* --- lambda from counting ----------------------------------------------- */

static void lambda_counts(void **state)
{
    struct ewc_options options = usual;
    struct ewc_fresh fresh = {.tokens = 20000, .domains = 1};
    float g[N] = {0}, w[N] = {0}, v[N] = {0};
    struct ewc e;

    (void)state;
    options.lambda = EWC_LAMBDA_AUTO;
    ewc_init(&e, &options, N);
    assert_true(ewc_lambda(&e, 0) == 0.0f);
    consolidate(&e, g, 20000, w);
    assert_true(fabsf(ewc_lambda(&e, 0) - 40.0f) < 1e-5f);
    step(&e, w, v, g, 1, &fresh);
    assert_true(fabsf(ewc_lambda(&e, 0) - 8.0f) < 1e-6f);
    assert_true(ewc_covered(0.0, 1.0) == 0.0);
    assert_true(ewc_covered(1.0, EWC_FULL_KEPT) == 1.0);
    assert_true(fabs(ewc_covered(EWC_FULL_RATIO / 2, 1.0) - 0.5) < 1e-9);
    assert_true(fabs(ewc_covered(2.0, EWC_FULL_KEPT / 8) - 0.125) < 1e-9);
    assert_true(fabsf(ewc_lambda(&e, 0.75) - 2.0f) < 1e-6f);
    assert_true(ewc_lambda(&e, 1) == 0.0f);
    consolidate(&e, g, 4000000, w);
    assert_true(ewc_lambda(&e, 0) == (float)EWC_LAMBDA_MOST);
    e.options.lambda = 3.0f;
    assert_true(ewc_lambda(&e, 0) == 3.0f);
    ewc_release(&e);
}

/* --- when a consolidation is due ---------------------------------------- */

/* Learns n steps of 1000 tokens of a domain. Returns how many consolidations
 * came. */
static int64_t learn(struct ewc *e, int64_t domain, int n)
{
    int64_t before = e->consolidations;
    float g[N] = {0}, w[N] = {0}, v[N] = {0};

    for (int i = 0; i < n; i++) {
        struct ewc_fresh fresh = fresh_of(1000, domain, e);

        if (ewc_due(e, &fresh))
            ewc_consolidate(e, &fresh, w);
        step(e, w, v, g, 1000, &fresh);
    }
    return e->consolidations - before;
}

static struct ewc_options automatic(void)
{
    struct ewc_options options = usual;

    options.consolidate = EWC_AUTO;
    return options;
}

static void a_new_domain_triggers_once(void **state)
{
    struct ewc_options options = automatic();
    struct ewc_fresh mixed = {.tokens = 1000, .young = 500, .domains = 9};
    struct ewc e;

    (void)state;
    ewc_init(&e, &options, N);
    assert_int_equal(learn(&e, 0, 100), 0);
    assert_int_equal(learn(&e, 1, 1), 1);
    assert_int_equal(e.tokens_since, 1000);
    assert_int_equal(learn(&e, 1, 100), 0);
    assert_int_equal(learn(&e, 0, 100), 0); /* it is known */
    assert_int_equal(learn(&e, 5, 100), 1);
    assert_int_equal(learn(&e, 3, 100), 0); /* as old as 5 */
    assert_int_equal(learn(&e, 6, 100), 1);
    /* A domain that begins with half of the tokens is no shift. */
    assert_false(ewc_due(&e, &mixed));
    mixed.young++;
    assert_true(ewc_due(&e, &mixed));
    ewc_release(&e);
}

static void there_is_an_interval(void **state)
{
    struct ewc_options options = automatic();
    struct ewc e;

    (void)state;
    ewc_init(&e, &options, N);
    assert_int_equal(learn(&e, 0, EWC_INTERVAL_TOKENS / 1000), 0);
    assert_int_equal(learn(&e, 0, 1), 1);
    assert_int_equal(e.tokens_since, 1000);
    ewc_release(&e);
}

static void every_keeps_its_interval(void **state)
{
    struct ewc_options options = usual;
    struct ewc e;

    (void)state;
    options.consolidate = EWC_EVERY;
    options.every_steps = 3;
    ewc_init(&e, &options, N);
    assert_int_equal(learn(&e, 0, 3), 0);
    assert_int_equal(learn(&e, 0, 3), 1);
    assert_int_equal(learn(&e, 4, 3), 1);
    assert_int_equal(learn(&e, 4, 1), 1);
    ewc_release(&e);
}

static void off_and_disabled_begin_nothing(void **state)
{
    struct ewc_options options = usual;
    struct ewc e;

    (void)state;
    ewc_init(&e, &options, N);
    assert_int_equal(learn(&e, 0, 5000), 0);
    assert_int_equal(learn(&e, 1, 10), 0);
    ewc_release(&e);
    options.enabled = false;
    options.consolidate = EWC_AUTO;
    ewc_init(&e, &options, N);
    assert_int_equal(learn(&e, 0, 10), 0);
    assert_int_equal(learn(&e, 1, 10), 0);
    ewc_release(&e);
}

/* --- state -------------------------------------------------------------- */

static void assert_same(const struct ewc *a, const struct ewc *b)
{
    size_t n_bytes = N * sizeof(float);

    assert_memory_equal(a->fisher, b->fisher, n_bytes);
    assert_memory_equal(a->anchor, b->anchor, n_bytes);
    assert_memory_equal(a->running, b->running, n_bytes);
    assert_int_equal(a->consolidations, b->consolidations);
    assert_true(a->tokens_before == b->tokens_before);
    assert_int_equal(a->tokens_since, b->tokens_since);
    assert_int_equal(a->steps_since, b->steps_since);
    assert_int_equal(a->domains, b->domains);
    assert_int_equal(a->settled, b->settled);
}

static void state_is_exact(void **state)
{
    struct tensor_list list = TENSOR_LIST_INIT, anchor = TENSOR_LIST_INIT;
    struct ewc_options options = automatic();
    float g[N], w[N];
    struct ewc a, b;

    (void)state;
    ewc_init(&a, &options, N);
    ewc_init(&b, &options, N);
    draw(g, 1);
    draw(w, 2);
    ewc_export(&a, &list, &anchor);
    assert_int_equal(anchor.n, 0);
    assert_int_equal(ewc_import(&b, &list, &anchor, NULL), 0);
    assert_same(&a, &b);
    tensor_list_release(&list);
    consolidate(&a, g, 3, w);
    consolidate(&a, w, 7, g);
    learn(&a, 2, 5);
    ewc_export(&a, &list, &anchor);
    assert_int_equal(ewc_import(&b, &list, &anchor, NULL), 0);
    assert_same(&a, &b);
    assert_int_equal(learn(&a, 7, 5), 1);
    assert_int_equal(learn(&b, 7, 5), 1);
    assert_same(&a, &b);
    tensor_list_release(&list);
    tensor_list_release(&anchor);
    ewc_release(&a);
    ewc_release(&b);
}

/* An earlier program wrote other tensors, and a program without EWC none. */
static void starts_anew_without_a_state(void **state)
{
    struct tensor_list list = TENSOR_LIST_INIT, anchor = TENSOR_LIST_INIT;
    const size_t n = N;
    int64_t counters[6] = {-1, 3, 100, 10, 64, 1};
    float g[N], w[N];
    struct ewc a, fresh;

    (void)state;
    ewc_init(&a, &usual, N);
    ewc_init(&fresh, &usual, N);
    draw(g, 1);
    draw(w, 2);
    consolidate(&a, g, 3, w);
    tensor_add_i64(&list, "ewc.counters", counters, 6);
    tensor_add_copy(&anchor, "ewc.fisher", TENSOR_F32, 1, &n, g);
    tensor_add_copy(&anchor, "ewc.anchor", TENSOR_F32, 1, &n, w);
    assert_int_equal(ewc_import(&a, &list, &anchor, NULL), 0);
    assert_same(&a, &fresh);
    tensor_list_release(&list);
    tensor_list_release(&anchor);
    ewc_release(&a);
    ewc_release(&fresh);
}

static void refuses_a_damaged_state(void **state)
{
    struct tensor_list list = TENSOR_LIST_INIT, anchor = TENSOR_LIST_INIT;
    struct err err = ERR_INIT;
    float g[N], w[N];
    struct ewc a, b;

    (void)state;
    ewc_init(&a, &usual, N);
    ewc_init(&b, &usual, N);
    draw(g, 1);
    draw(w, 2);
    consolidate(&a, g, 3, w);
    ewc_export(&a, &list, &anchor);
    ((float *)anchor.items[0].data)[5] = INFINITY;
    assert_int_equal(ewc_import(&b, &list, &anchor, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "ewc.fisher"));
    ((float *)anchor.items[0].data)[5] = -1.0f;
    assert_int_equal(ewc_import(&b, &list, &anchor, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "negative"));
    tensor_list_release(&anchor);
    /* The state has a consolidation, but the anchor is missing. */
    assert_int_equal(ewc_import(&b, &list, &anchor, &err), ERR_CORRUPT);
    *(double *)list.items[2].data = -1.0;
    assert_int_equal(ewc_import(&b, &list, &anchor, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "ewc.before"));
    assert_int_equal(b.consolidations, 0);
    tensor_list_release(&list);
    ewc_release(&a);
    ewc_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pulls_nothing_before_the_first_anchor),
        cmocka_unit_test(pull_follows_its_formula),
        cmocka_unit_test(no_lambda_diverges),
        cmocka_unit_test(folds_by_tokens),
        cmocka_unit_test(a_clipped_gradient_counts_clipped),
        cmocka_unit_test(the_estimate_is_unbiased),
        cmocka_unit_test(lambda_counts),
        cmocka_unit_test(a_new_domain_triggers_once),
        cmocka_unit_test(there_is_an_interval),
        cmocka_unit_test(every_keeps_its_interval),
        cmocka_unit_test(off_and_disabled_begin_nothing),
        cmocka_unit_test(state_is_exact),
        cmocka_unit_test(starts_anew_without_a_state),
        cmocka_unit_test(refuses_a_damaged_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
