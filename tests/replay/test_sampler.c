/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of the replay buffer: quotas, acceptance, sampling.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replay/sampler.h"

static struct sampler_stream stream_of(uint64_t step)
{
    return (struct sampler_stream){7, RNG_REPLAY, step, 0};
}

static void bucket_keeps_five_bits(void **state)
{
    (void)state;
    assert_int_equal(sampler_bucket(0), 0);
    assert_int_equal(sampler_bucket(-3), 0);
    for (int64_t n = 1; n <= 32; n++)
        assert_int_equal(sampler_bucket(n), n);
    assert_int_equal(sampler_bucket(33), 32);
    assert_int_equal(sampler_bucket(34), 34);
    assert_int_equal(sampler_bucket(1000), 992);
    assert_int_equal(sampler_bucket(INT64_MAX), INT64_C(31) << 58);
}

static void quotas_add_up_and_have_a_floor(void **state)
{
    static const int64_t seen[] = {1000000, 0, 10, 1};
    double quota[4], sum = 0.0;

    (void)state;
    sampler_quotas(seen, 4, 1000, 0.5, quota);
    for (int d = 0; d < 4; d++)
        sum += quota[d];
    assert_true(fabs(sum - 1000.0) < 1e-9);
    assert_true(quota[1] == 0.0);
    assert_true(quota[0] > quota[2] && quota[2] > quota[3]);
    assert_true(quota[3] > 1000.0 * SAMPLER_FLOOR / 2 / 3);
}

static void exponents_at_their_ends(void **state)
{
    static const int64_t seen[] = {300, 100};
    double quota[2];

    (void)state;
    sampler_quotas(seen, 2, 1000, 0.0, quota);
    assert_true(fabs(quota[0] - 500.0) < 1e-9);
    sampler_quotas(seen, 2, 1000, 1.0, quota);
    assert_true(fabs(quota[0] / quota[1] - 2.88) < 1e-9); /* buckets */
    sampler_quotas(seen, 0, 1000, 1.0, quota);
}

static void fullest_is_measured_against_quota(void **state)
{
    static const int64_t held[] = {50, 20, 0}, none[] = {0, 0, 0};
    static const double quota[] = {100.0, 10.0, 0.0};

    (void)state;
    assert_int_equal(sampler_fullest(held, quota, 3), 1);
    assert_true(sampler_fullest(none, quota, 3) == SAMPLER_NONE);
    assert_true(sampler_fullest(NULL, NULL, 0) == SAMPLER_NONE);
}

static void fates(void **state)
{
    struct sampler_stream s = stream_of(1);
    int accepted = 0;

    (void)state;
    assert_int_equal(sampler_decide(&s, 5, 4, 10.0, 6), SAMPLER_ADD);
    assert_int_equal(sampler_decide(&s, 5, 4, 10.0, 0), SAMPLER_GROW);
    assert_int_equal(sampler_decide(&s, 11, 11, 10.0, 0), SAMPLER_REPLACE);
    for (uint64_t step = 0; step < 10000; step++) {
        s = stream_of(step);
        accepted += sampler_decide(&s, 1000, 100, 100.0, 0) != SAMPLER_REJECT;
    }
    assert_in_range(accepted, 900, 1100); /* a tenth: 3 sigma is 90 */
}

static void streams_depend_on_their_words_alone(void **state)
{
    struct sampler_stream a = stream_of(3), b = stream_of(3);

    (void)state;
    (void)sampler_below(&b, 10);
    assert_true(b.next == 1);
    b.next = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t below = sampler_below(&a, 10);

        assert_true(below < 10);
        assert_true(below == sampler_below(&b, 10));
    }
    assert_true(sampler_unit(&a) == sampler_unit(&b));
}

#define ROWS 40

static void picks_are_even(void **state)
{
    uint32_t slots[ROWS], marks[ROWS] = {0};
    int count[ROWS] = {0};

    (void)state;
    for (uint32_t i = 0; i < ROWS; i++)
        slots[i] = ROWS - 1 - i;
    for (uint64_t step = 0; step < 40000; step++) {
        struct sampler_stream s = stream_of(step);

        count[sampler_pick(&s, slots, ROWS, 11, marks, 1)]++;
    }
    for (int i = 0; i < ROWS; i++)
        assert_in_range(count[i], 850, 1150); /* 1000, sigma 31 */
}

/* Picks every row once, in whatever order. */
static void picks_never_repeat(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 200; step++) {
        struct sampler_stream s = stream_of(step);
        uint32_t slots[ROWS], marks[ROWS] = {0};
        uint32_t mark = (uint32_t)step + 1;

        for (uint32_t i = 0; i < ROWS; i++)
            slots[i] = i;
        for (int i = 0; i < ROWS; i++) {
            size_t p = sampler_pick(&s, slots, ROWS, 5, marks, mark);
            uint32_t slot = slots[(5 + p) % ROWS];

            assert_true(marks[slot] != mark);
            marks[slot] = mark;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_keeps_five_bits),
        cmocka_unit_test(quotas_add_up_and_have_a_floor),
        cmocka_unit_test(exponents_at_their_ends),
        cmocka_unit_test(fullest_is_measured_against_quota),
        cmocka_unit_test(fates),
        cmocka_unit_test(streams_depend_on_their_words_alone),
        cmocka_unit_test(picks_are_even),
        cmocka_unit_test(picks_never_repeat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
