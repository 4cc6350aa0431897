/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h: the numbers it has always given, their range and their spread.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Computed by another program from the definition in rng.h. What has been
 * learned depends on them: they never change. */
static void test_rng_is_what_it_was(void **state)
{
    static const struct {
        uint64_t seed;
        int purpose;
        uint64_t step, index, value;
        double unit;
        uint64_t below_10;
    } known[] = {
        {0, 1, 0, 0, 0xd1c0270687984b37, 0x1.a3804e0d0f309p-1, 8},
        {1, 1, 0, 0, 0xc965d6348c188782, 0x1.92cbac6918310p-1, 7},
        {1, 2, 0, 0, 0x75693551cf81461c, 0x1.d5a4d5473e050p-2, 4},
        {1, 1, 1, 0, 0x3ea0a76395d91588, 0x1.f5053b1caec88p-3, 2},
        {1, 1, 0, 1, 0x2de5a4e32ae6d264, 0x1.6f2d271957368p-3, 1},
        {42, 6, 7, 8, 0xbc2d97d3d39923ee, 0x1.785b2fa7a7324p-1, 7},
        {UINT64_MAX, 8, UINT64_MAX, UINT64_MAX, 0x5ebcb8f2c9933e56,
         0x1.7af2e3cb264cep-2, 3},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        uint64_t seed = known[i].seed, step = known[i].step;
        uint64_t index = known[i].index;
        enum rng_purpose p = (enum rng_purpose)known[i].purpose;

        assert_true(rng_u64(seed, p, step, index) == known[i].value);
        assert_true(rng_unit(seed, p, step, index) == known[i].unit);
        assert_true(rng_below(10, seed, p, step, index) == known[i].below_10);
    }
}

static void test_rng_normal_is_what_it_was(void **state)
{
    double a = rng_normal(1, RNG_INIT, 0, 0);
    double b = rng_normal(1, RNG_INIT, 0, 1);
    double c = rng_normal(42, RNG_INIT, 7, 8);

    (void)state;
    assert_true(fabs(a - 0.7556114369211409) < 1e-14);
    assert_true(fabs(b - 0.6930581591732636) < 1e-14);
    assert_true(fabs(c - 0.5473523420897295) < 1e-14);
}

static void test_rng_purposes_keep_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(RNG_INIT, 1);
    assert_int_equal(RNG_REPLAY, 2);
    assert_int_equal(RNG_RESERVOIR, 3);
    assert_int_equal(RNG_GATE, 5);
    assert_int_equal(RNG_SAMPLE, 6);
    assert_int_equal(RNG_HOLDOUT, 7);
    assert_int_equal(RNG_BEHIND, 8);
}

static void test_rng_below_bounds(void **state)
{
    static const uint64_t ns[] = {1, 2, 3, 7, 1000, UINT64_C(1) << 40};

    (void)state;
    for (size_t k = 0; k < COUNT(ns); k++)
        for (uint64_t i = 0; i < 2000; i++)
            assert_true(rng_below(ns[k], 5, RNG_REPLAY, 9, i) < ns[k]);
    assert_true(rng_below(UINT64_MAX, 5, RNG_REPLAY, 9, 0) < UINT64_MAX);
}

/* 60,000 draws in 6 boxes: chi-squared with 5 degrees of freedom is above
 * 20.5 in one case of a thousand, and the seed is fixed. */
static void test_rng_below_is_even(void **state)
{
    int boxes[6] = {0};
    double chi = 0;

    (void)state;
    for (uint64_t i = 0; i < 60000; i++)
        boxes[rng_below(6, 11, RNG_GATE, 3, i)]++;
    for (int i = 0; i < 6; i++)
        chi += (boxes[i] - 1e4) * (boxes[i] - 1e4) / 1e4;
    assert_true(chi < 20.5);
}

static void test_rng_moments(void **state)
{
    enum { N = 50000 };
    double sum = 0, squares = 0, unit = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double x = rng_normal(3, RNG_INIT, 2, i);
        double u = rng_unit(3, RNG_INIT, 2, i);

        assert_true(isfinite(x));
        assert_true(u >= 0.0 && u < 1.0);
        sum += x;
        squares += x * x;
        unit += u;
    }
    /* Four standard deviations of each mean. */
    assert_true(fabs(sum / N) < 4.0 / sqrt(N));
    assert_true(fabs(squares / N - 1.0) < 4.0 * sqrt(2.0 / N));
    assert_true(fabs(unit / N - 0.5) < 4.0 / sqrt(12.0 * N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rng_is_what_it_was),
        cmocka_unit_test(test_rng_normal_is_what_it_was),
        cmocka_unit_test(test_rng_purposes_keep_their_numbers),
        cmocka_unit_test(test_rng_below_bounds),
        cmocka_unit_test(test_rng_below_is_even),
        cmocka_unit_test(test_rng_moments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
