/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The moving average: its formula against a plain loop in double precision.
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
#include "learner/average.h"

#define N 1003 /* no multiple of a vector */

static void draw(float *x, uint64_t step)
{
    for (size_t i = 0; i < N; i++)
        x[i] = (float)rng_normal(7, RNG_INIT, step, i);
}

static void follows_as_a_plain_loop(void **state)
{
    const struct average_options o = {.enabled = true, .decay = 0.9f};
    struct average a;
    float w[N];
    double plain[N];

    (void)state;
    draw(w, 0);
    average_init(&a, &o, w, N);
    for (size_t i = 0; i < N; i++)
        plain[i] = (double)w[i];
    for (int t = 0; t < 200; t++) {
        double d = fmin(0.9, (1.0 + t) / (10.0 + t));
        float decay = average_decay(&a, t);

        draw(w, 1 + (uint64_t)t);
        for (size_t i = 0; i < N; i++)
            plain[i] += (1 - d) * ((double)w[i] - plain[i]);
        average_follow(&a, w, decay, 0, 500); /* in ranges, as workers do */
        average_follow(&a, w, decay, 500, N);
    }
    for (size_t i = 0; i < N; i++)
        assert_true(fabs(plain[i] - (double)a.weights[i]) < 1e-5);
    average_release(&a);
    assert_null(a.weights);
}

static void early_updates_keep_less(void **state)
{
    struct average a = {.options = {.enabled = true, .decay = 0.99f}};

    (void)state;
    assert_true(average_decay(&a, 0) == 0.1f);
    assert_true(average_decay(&a, 8) == 0.5f);
    assert_true(average_decay(&a, 880) < 0.99f);
    assert_true(average_decay(&a, 900) == 0.99f);
    assert_true(average_decay(&a, INT64_MAX) == 0.99f);
}

static void without_decay_it_is_the_weights(void **state)
{
    const struct average_options o = {.enabled = true, .decay = 0.0f};
    struct average a;
    float w[N];

    (void)state;
    draw(w, 0);
    average_init(&a, &o, w, N);
    draw(w, 1);
    average_follow(&a, w, average_decay(&a, 5), 0, N);
    assert_memory_equal(a.weights, w, sizeof w);
    average_release(&a);
}

/* Weights that stay do not move the average, not even by rounding. */
static void equal_weights_stay(void **state)
{
    const struct average_options o = {.enabled = true, .decay = 0.99f};
    struct average a;
    float w[N];

    (void)state;
    draw(w, 0);
    average_init(&a, &o, w, N);
    for (int t = 0; t < 100; t++)
        average_follow(&a, w, average_decay(&a, t), 0, N);
    assert_memory_equal(a.weights, w, sizeof w);
    average_release(&a);
}

static void nothing_is_allocated_when_off(void **state)
{
    const struct average_options o = {.enabled = false, .decay = 0.99f};
    struct average a;
    float w[N] = {0};

    (void)state;
    average_init(&a, &o, w, N);
    assert_null(a.weights);
    average_follow(&a, w, 0.5f, 0, N);
    assert_null(a.weights);
    average_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_as_a_plain_loop),
        cmocka_unit_test(early_updates_keep_less),
        cmocka_unit_test(without_decay_it_is_the_weights),
        cmocka_unit_test(equal_weights_stay),
        cmocka_unit_test(nothing_is_allocated_when_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
