/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EWC: the pull, the Fisher estimate of a model whose Fisher is known, when
 * consolidations begin, and the state.
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

/* Runs a whole consolidation with one gradient. Returns the number of
 * passes. */
static int consolidate(struct ewc *e, const float *grads, size_t n_tokens,
                       const float *params)
{
    int passes = 1;

    ewc_begin(e);
    while (!ewc_observe(e, grads, n_tokens, params))
        passes++;
    return passes;
}

static void pulls_nothing_before_the_first_anchor(void **state)
{
    float w[N], before[N], v[N] = {0};
    double penalty = 0, moved = 0;
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(w, 0);
    memcpy(before, w, sizeof w);
    ewc_pull(&e, w, v, 1.0f, 1e-8f, 0.01f, 0, N, &penalty, &moved);
    assert_true(penalty == 0.0 && moved == 0.0);
    assert_memory_equal(w, before, sizeof w);
    ewc_release(&e);
}

static void pull_follows_its_formula(void **state)
{
    float w[N], a[N], g[N], v[N];
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
    assert_int_equal(consolidate(&e, g, 5, a), EWC_PASSES);
    ewc_pull(&e, w, v, 2.0f, 1e-3f, 0.01f, 0, 20, &penalty, &moved);
    ewc_pull(&e, w, v, 2.0f, 1e-3f, 0.01f, 20, N, &penalty, &moved);
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
    float w[N], a[N], g[N], v[N] = {0};
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
            ewc_pull(&e, w, v, 1.0f, 1e-8f, 1.0f, 0, N, &penalty, &moved);
        for (size_t i = 0; i < N; i++)
            assert_true(fabsf(w[i] - a[i]) < 1e-4f);
        ewc_release(&e);
    }
    assert_true(isfinite(penalty) && isfinite(moved));
}

static void folds_a_moving_average(void **state)
{
    float a[N], first[N], second[N];
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(a, 0);
    draw(first, 1);
    draw(second, 2);
    consolidate(&e, first, 3, a);
    a[0] += 1.0f;
    consolidate(&e, second, 7, a);
    for (size_t i = 0; i < N; i++) {
        double want = 0.75 * 3 * (double)first[i] * (double)first[i] +
                      0.25 * 7 * (double)second[i] * (double)second[i];

        assert_true(fabs((double)e.fisher[i] - want) < 1e-4 * (want + 1));
    }
    assert_memory_equal(e.anchor, a, sizeof a);
    assert_int_equal(e.consolidations, 2);
    ewc_release(&e);
}

static void a_bad_gradient_does_not_count(void **state)
{
    float a[N], g[N];
    struct ewc e;

    (void)state;
    ewc_init(&e, &usual, N);
    draw(a, 0);
    draw(g, 1);
    ewc_begin(&e);
    g[3] = NAN;
    assert_false(ewc_observe(&e, g, 1, a));
    g[3] = 1e30f;
    assert_false(ewc_observe(&e, g, 1, a));
    assert_int_equal(e.passes, 0);
    ewc_release(&e);
}

/* --- the Fisher estimate, for a model whose Fisher is known ------------- */

#define K 4  /* classes */
#define DIM 5 /* features */
#define T 11 /* tokens in a pass */

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
    double u = rng_unit(11, RNG_FISHER, step, i), sum = p[0];
    int k = 0;

    while (u >= sum && k < K - 1)
        sum += p[++k];
    return k;
}

/* Computes the gradient of the mean loss of T sampled labels. */
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

static void the_estimate_is_unbiased(void **state)
{
    enum { ROUNDS = 60 };
    double w[K * DIM], x[T * DIM], p[T * K], mean[K * DIM] = {0};
    float g[K * DIM], params[K * DIM] = {0};
    uint64_t step = 0;

    (void)state;
    for (int i = 0; i < K * DIM; i++)
        w[i] = rng_normal(1, RNG_INIT, 0, (uint64_t)i);
    for (int i = 0; i < T * DIM; i++)
        x[i] = rng_normal(1, RNG_INIT, 1, (uint64_t)i);
    predict(w, x, p);
    for (int round = 0; round < ROUNDS; round++) {
        struct ewc e;

        ewc_init(&e, &usual, K * DIM);
        ewc_begin(&e);
        do
            drawn_gradient(p, x, step++, g);
        while (!ewc_observe(&e, g, T, params));
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

/* --- when a consolidation begins ---------------------------------------- */

static struct ewc_options automatic(void)
{
    struct ewc_options options = usual;

    options.consolidate = EWC_AUTO;
    return options;
}

/* Makes steps of 1000 tokens until a consolidation begins, at most n. Returns
 * the number of steps. */
static int steps_until(struct ewc *e, int n, double from, double to)
{
    for (int i = 1; i <= n; i++) {
        /* Real losses have a little noise. */
        double noise = 1 + 0.02 * ((i * 7 % 5) - 2);

        if (ewc_decide(e, 1000, (from + (to - from) * i / n) * noise))
            return i;
    }
    return n + 1;
}

static void finish(struct ewc *e)
{
    float g[N] = {0}, w[N] = {0};

    while (!ewc_observe(e, g, 1, w))
        ;
}

static void a_plateau_triggers_once(void **state)
{
    struct ewc_options options = automatic();
    struct ewc e;

    (void)state;
    ewc_init(&e, &options, N);
    /* The loss falls fast, then stays flat. No consolidation begins before the
     * least number of tokens. */
    assert_int_equal(steps_until(&e, 200, 5.0, 2.5), 201);
    assert_in_range(steps_until(&e, 200, 2.5, 2.5), 50, 64);
    assert_true(ewc_collecting(&e));
    finish(&e);
    assert_false(ewc_collecting(&e));
    /* Staying on a plateau does nothing; a new level arms the trigger. */
    assert_int_equal(steps_until(&e, 1000, 2.5, 2.5), 1001);
    assert_in_range(steps_until(&e, 200, 4.0, 4.0), 50, 64);
    ewc_release(&e);
}

static void there_is_a_backstop(void **state)
{
    struct ewc_options options = automatic();
    struct ewc e;
    int steps = 0;

    (void)state;
    ewc_init(&e, &options, N);
    /* A loss that swings is never a plateau. */
    while (!ewc_decide(&e, 1000, steps % 40 < 20 ? 2.0 : 6.0))
        steps++;
    assert_int_equal(steps + 1, EWC_BACKSTOP_TOKENS / 1000);
    ewc_release(&e);
}

static void the_next_one_waits(void **state)
{
    struct ewc_options options = usual;
    float g[N] = {0}, w[N] = {0};
    struct ewc e;

    (void)state;
    options.consolidate = EWC_EVERY;
    options.every_steps = 3;
    ewc_init(&e, &options, N);
    assert_false(ewc_decide(&e, 10, 1.0));
    assert_false(ewc_decide(&e, 10, 1.0));
    assert_true(ewc_decide(&e, 10, 1.0));
    ewc_observe(&e, g, 1, w);
    for (int i = 0; i < 10; i++)
        assert_false(ewc_decide(&e, 10, 1.0));
    ewc_begin(&e); /* another ewc_begin keeps what is collected */
    assert_int_equal(e.passes, 1);
    finish(&e);
    assert_int_equal(e.consolidations, 1);
    assert_false(ewc_decide(&e, 10, 1.0));
    assert_false(ewc_decide(&e, 10, 1.0));
    assert_true(ewc_decide(&e, 10, 1.0));
    ewc_release(&e);
}

static void off_and_disabled_begin_nothing(void **state)
{
    struct ewc_options options = usual;
    float w[N] = {1}, v[N] = {0};
    double penalty = 0, moved = 0;
    struct ewc e;

    (void)state;
    ewc_init(&e, &options, N);
    for (int i = 0; i < 100; i++)
        assert_false(ewc_decide(&e, EWC_BACKSTOP_TOKENS, 1.0));
    ewc_release(&e);
    options.enabled = false;
    options.consolidate = EWC_AUTO;
    ewc_init(&e, &options, N);
    assert_false(ewc_decide(&e, EWC_BACKSTOP_TOKENS, 1.0));
    ewc_begin(&e);
    assert_false(ewc_collecting(&e));
    ewc_pull(&e, w, v, 1.0f, 1e-8f, 0.1f, 0, N, &penalty, &moved);
    assert_true(penalty == 0.0);
    ewc_release(&e);
}

/* --- state -------------------------------------------------------------- */

static void assert_same(const struct ewc *a, const struct ewc *b)
{
    size_t n_bytes = N * sizeof(float);

    assert_memory_equal(a->fisher, b->fisher, n_bytes);
    assert_memory_equal(a->anchor, b->anchor, n_bytes);
    assert_memory_equal(a->window, b->window, sizeof a->window);
    assert_int_equal(a->passes, b->passes);
    assert_int_equal(a->consolidations, b->consolidations);
    assert_int_equal(a->tokens_since, b->tokens_since);
    assert_int_equal(a->steps_since, b->steps_since);
    assert_int_equal(a->n_window, b->n_window);
    assert_int_equal(a->armed, b->armed);
    assert_true(a->plateau == b->plateau);
}

static void state_is_exact_while_collecting(void **state)
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
    steps_until(&a, 400, 3.0, 3.0);
    for (int i = 0; i < EWC_PASSES / 2; i++)
        ewc_observe(&a, g, 4, w);
    ewc_export(&a, &list, &anchor);
    assert_int_equal(ewc_import(&b, &list, &anchor, NULL), 0);
    assert_same(&a, &b);
    for (int i = 0; i < EWC_PASSES / 2; i++) {
        ewc_observe(&a, g, 4, w);
        ewc_observe(&b, g, 4, w);
    }
    assert_int_equal(a.consolidations, 2);
    assert_same(&a, &b);
    tensor_list_release(&list);
    tensor_list_release(&anchor);
    ewc_release(&a);
    ewc_release(&b);
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
    tensor_list_release(&anchor);
    /* The state has a consolidation, but the anchor is missing. */
    assert_int_equal(ewc_import(&b, &list, &anchor, &err), ERR_CORRUPT);
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
        cmocka_unit_test(folds_a_moving_average),
        cmocka_unit_test(a_bad_gradient_does_not_count),
        cmocka_unit_test(the_estimate_is_unbiased),
        cmocka_unit_test(a_plateau_triggers_once),
        cmocka_unit_test(there_is_a_backstop),
        cmocka_unit_test(the_next_one_waits),
        cmocka_unit_test(off_and_disabled_begin_nothing),
        cmocka_unit_test(state_is_exact_while_collecting),
        cmocka_unit_test(refuses_a_damaged_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
