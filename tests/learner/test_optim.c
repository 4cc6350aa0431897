/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The optimizer: AdamW, warm-up, clipping, skipped steps and the state.
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
#include "learner/optim.h"

#define N 1003 /* no multiple of a vector */

static const struct optim_options usual = {
    .lr = 0.01f,
    .warmup_steps = 4,
    .beta1 = 0.9f,
    .beta2 = 0.99f,
    .eps = 1e-8f,
    .weight_decay = 0.1f,
    .clip_norm = 1.0f,
    .skip_medians = 100.0f,
};

static void draw(float *x, uint64_t step)
{
    for (size_t i = 0; i < N; i++)
        x[i] = (float)rng_normal(7, RNG_INIT, step, i);
}

static void step(struct optim *o, float *w, const float *g)
{
    optim_apply(o, w, g, 0.5f, 0, N, true);
    optim_advance(o);
}

/* Computes the formulas of optim.h in double precision. */
static void plain_step(double *w, double *m, double *v, const float *g,
                       int t)
{
    double lr = t < 4 ? 0.01 * t / 4 : 0.01;

    for (size_t i = 0; i < N; i++) {
        double x = 0.5 * (double)g[i];

        m[i] = 0.9 * m[i] + 0.1 * x;
        v[i] = 0.99 * v[i] + 0.01 * x * x;
        w[i] -= lr * (m[i] / (1 - pow(0.9, t)) /
                          (sqrt(v[i] / (1 - pow(0.99, t))) + 1e-8) +
                      0.1 * w[i]);
    }
}

static void follows_its_formulas(void **state)
{
    static float w[N], g[N];
    static double pw[N], pm[N], pv[N];
    struct optim o;

    (void)state;
    optim_init(&o, &usual, N);
    draw(w, 0);
    for (size_t i = 0; i < N; i++)
        pw[i] = (double)w[i];
    for (int t = 1; t <= 20; t++) {
        draw(g, (uint64_t)t);
        step(&o, w, g);
        plain_step(pw, pm, pv, g, t);
    }
    for (size_t i = 0; i < N; i++)
        assert_true(fabs((double)w[i] - pw[i]) < 2e-5);
    optim_release(&o);
}

static void decays_only_where_told(void **state)
{
    static float w[N], g[N];
    struct optim o;
    double moved;

    (void)state;
    optim_init(&o, &usual, N);
    for (size_t i = 0; i < N; i++)
        w[i] = 2.0f;
    moved = optim_apply(&o, w, g, 1.0f, 0, 10, false);
    assert_true(moved == 0.0);
    assert_true(w[0] == 2.0f);
    moved = optim_apply(&o, w, g, 1.0f, 10, 20, true);
    /* The first of four warm-up steps has a quarter of the rate 0.01. The decay
     * is 0.1 of the weight 2. */
    assert_true(fabs(moved - 10 * 0.0005 * 0.0005) < 1e-9);
    assert_true(fabsf(w[10] - 1.9995f) < 1e-6f);
    optim_release(&o);
}

static void ranges_change_nothing(void **state)
{
    static float whole[N], parts[N], g[N];
    struct optim a, b;

    (void)state;
    optim_init(&a, &usual, N);
    optim_init(&b, &usual, N);
    draw(whole, 0);
    draw(parts, 0);
    draw(g, 1);
    step(&a, whole, g);
    optim_apply(&b, parts, g, 0.5f, 517, N, true);
    optim_apply(&b, parts, g, 0.5f, 0, 3, true);
    optim_apply(&b, parts, g, 0.5f, 3, 517, true);
    assert_memory_equal(whole, parts, sizeof whole);
    assert_memory_equal(a.v, b.v, sizeof whole);
    optim_release(&a);
    optim_release(&b);
}

static void warms_up(void **state)
{
    struct optim o;

    (void)state;
    optim_init(&o, &usual, 1);
    assert_true(optim_rate(&o) == 0.0025f);
    for (int i = 0; i < 3; i++)
        optim_advance(&o);
    assert_true(optim_rate(&o) == 0.01f);
    for (int i = 0; i < 100; i++)
        optim_advance(&o);
    assert_true(optim_rate(&o) == 0.01f);
    optim_release(&o);
}

static void clips_at_the_limit_and_the_median(void **state)
{
    struct optim o;

    (void)state;
    optim_init(&o, &usual, 1);
    assert_true(optim_admit(&o, 0.5) == 1.0f);
    assert_true(fabsf(optim_admit(&o, 4.0) - 0.25f) < 1e-6f);
    for (int i = 0; i < OPTIM_NORMS; i++)
        assert_true(optim_admit(&o, 0.1) == 1.0f);
    /* Three times the median is less than the limit of 1. */
    assert_true(fabsf(optim_admit(&o, 0.6) - 0.5f) < 1e-6f);
    optim_release(&o);
}

static void never_clips_at_zero(void **state)
{
    struct optim_options options = usual;
    struct optim o;

    (void)state;
    options.clip_norm = 0.0f;
    optim_init(&o, &options, 1);
    for (int i = 0; i < OPTIM_NORMS; i++)
        assert_true(optim_admit(&o, 100.0) == 1.0f);
    assert_true(optim_admit(&o, 900.0) == 1.0f);
    optim_release(&o);
}

static void skips_what_is_absurd(void **state)
{
    struct optim o;

    (void)state;
    optim_init(&o, &usual, 1);
    assert_true(optim_admit(&o, NAN) == 0.0f);
    assert_true(optim_admit(&o, INFINITY) == 0.0f);
    assert_int_equal(o.n_norms, 0);
    for (int i = 0; i < OPTIM_NORMS_NEEDED - 1; i++)
        optim_admit(&o, 0.1);
    /* With one norm less than needed, no step is skipped. */
    assert_true(optim_admit(&o, 50.0) > 0.0f);
    assert_true(optim_admit(&o, 11.0) == 0.0f);
    assert_int_equal(o.skipped, 3);
    /* A released record's gradient is clipped, but only skipped if it is not
     * finite. */
    assert_true(optim_admit_any(&o, 11.0) > 0.0f);
    assert_true(optim_admit_any(&o, NAN) == 0.0f);
    assert_int_equal(o.skipped, 4);
    optim_release(&o);
}

static void skips_only_what_is_not_finite_without_a_limit(void **state)
{
    struct optim_options options = usual;
    struct optim o;

    (void)state;
    options.skip_medians = 0.0f;
    optim_init(&o, &options, 1);
    for (int i = 0; i < OPTIM_NORMS; i++)
        optim_admit(&o, 0.1);
    assert_true(optim_admit(&o, 1e9) > 0.0f);
    assert_true(optim_admit(&o, NAN) == 0.0f);
    assert_int_equal(o.skipped, 1);
    optim_release(&o);
}

static void gets_used_to_larger_gradients(void **state)
{
    struct optim o;
    int skipped = 0;

    (void)state;
    optim_init(&o, &usual, 1);
    for (int i = 0; i < OPTIM_NORMS; i++)
        optim_admit(&o, 0.001);
    while (optim_admit(&o, 1.0) == 0.0f)
        assert_true(++skipped <= OPTIM_NORMS);
    assert_in_range(skipped, OPTIM_NORMS / 2 - 1, OPTIM_NORMS / 2 + 1);
    optim_release(&o);
}

static void state_is_exact(void **state)
{
    static float wa[N], wb[N], g[N];
    struct tensor_list list = TENSOR_LIST_INIT;
    struct optim a, b;

    (void)state;
    optim_init(&a, &usual, N);
    optim_init(&b, &usual, N);
    draw(wa, 0);
    for (int t = 1; t < 10; t++) {
        draw(g, (uint64_t)t);
        optim_admit(&a, 0.1 * t);
        step(&a, wa, g);
    }
    optim_export(&a, &list);
    memcpy(wb, wa, sizeof wb);
    assert_int_equal(optim_import(&b, &list, NULL), 0);
    for (int t = 0; t < 100; t++)
        assert_true(optim_admit(&a, 0.1 * t) == optim_admit(&b, 0.1 * t));
    step(&a, wa, g);
    step(&b, wb, g);
    assert_memory_equal(wa, wb, sizeof wa);
    assert_memory_equal(a.m, b.m, sizeof wa);
    assert_int_equal(a.skipped, b.skipped);
    tensor_list_release(&list);
    optim_release(&a);
    optim_release(&b);
}

static void refuses_a_damaged_state(void **state)
{
    struct tensor_list list = TENSOR_LIST_INIT;
    struct err err = ERR_INIT;
    struct optim a, b;

    (void)state;
    optim_init(&a, &usual, N);
    optim_init(&b, &usual, N + 1);
    optim_export(&a, &list);
    assert_int_equal(optim_import(&b, &list, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "optim.m"));
    ((float *)list.items[1].data)[N - 1] = NAN;
    assert_int_equal(optim_check(&a, &list, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "optim.v"));
    /* Its root is taken. */
    ((float *)list.items[1].data)[N - 1] = -1e-9f;
    assert_int_equal(optim_import(&a, &list, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "optim.v: a value is negative"));
    ((float *)list.items[1].data)[N - 1] = 0.0f;
    ((int64_t *)list.items[2].data)[0] = -1;
    assert_int_equal(optim_import(&a, &list, &err), ERR_CORRUPT);
    assert_int_equal(a.step, 0);
    tensor_list_release(&list);
    optim_release(&a);
    optim_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_its_formulas),
        cmocka_unit_test(decays_only_where_told),
        cmocka_unit_test(ranges_change_nothing),
        cmocka_unit_test(warms_up),
        cmocka_unit_test(clips_at_the_limit_and_the_median),
        cmocka_unit_test(never_clips_at_zero),
        cmocka_unit_test(skips_what_is_absurd),
        cmocka_unit_test(skips_only_what_is_not_finite_without_a_limit),
        cmocka_unit_test(gets_used_to_larger_gradients),
        cmocka_unit_test(state_is_exact),
        cmocka_unit_test(refuses_a_damaged_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
