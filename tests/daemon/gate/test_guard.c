/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/guard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct guard_evidence fine = {.log_wealth = -3};
static const struct guard_evidence worse = {.log_wealth = 6.91};
static const struct guard_evidence nearly = {.log_wealth = 6.90};
static const struct guard_evidence drift = {.log_wealth = 20,
                                            .above = true,
                                            .newest_better = true};

/* Two candidates in a row have to be worse. */
static void test_worse(void **state)
{
    int64_t in_a_row = 0;

    (void)state;
    assert_int_equal(guard_check(&in_a_row, &nearly), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &nearly), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &fine), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_WORSE);
    assert_int_equal(in_a_row, 2);
    /* Without a rollback the request is made again. */
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_WORSE);
}

/* Three candidates in a row above a limit, or two once the shadow comparison is
 * significant. */
static void test_above(void **state)
{
    const struct guard_evidence above = {.above = true, .log_wealth = 2};
    int64_t in_a_row = 0;

    (void)state;
    assert_int_equal(guard_check(&in_a_row, &above), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &above), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &fine), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &above), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &above), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &above), GUARD_ABOVE);
    in_a_row = 0;
    assert_int_equal(guard_check(&in_a_row, &above), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_WORSE);
}

/* A stream that changes its domain is no damage: the candidate is better on the
 * newest records. */
static void test_drift(void **state)
{
    int64_t in_a_row = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(guard_check(&in_a_row, &drift), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &drift), GUARD_NO_CAUSE);
    assert_int_equal(guard_check(&in_a_row, &worse), GUARD_NO_CAUSE);
}

/* A value that is not finite is reason enough by itself. */
static void test_not_finite(void **state)
{
    const struct guard_evidence broken = {.not_finite = true,
                                          .log_wealth = -INFINITY};
    int64_t in_a_row = 1;

    (void)state;
    assert_int_equal(guard_check(&in_a_row, &broken), GUARD_NOT_FINITE);
    assert_int_equal(in_a_row, 0);
    assert_non_null(strstr(guard_cause_text(GUARD_NOT_FINITE), "finite"));
    assert_non_null(strstr(guard_cause_text(GUARD_WORSE), "3 % better"));
    assert_non_null(strstr(guard_cause_text(GUARD_ABOVE), "above a limit"));
}

/* At most three an hour. Times are newest first, and the clock may have been
 * set back. */
static void test_three_an_hour(void **state)
{
    const int64_t at_ms[] = {3000, 2000, 1000};
    const int64_t after_a_set_back[] = {10, 3000, 2000 + GUARD_HOUR_MS};

    (void)state;
    assert_true(guard_allow(at_ms, 0, 4000));
    assert_true(guard_allow(at_ms, 2, 4000));
    assert_false(guard_allow(at_ms, 3, 4000));
    assert_false(guard_allow(at_ms, 3, 1000 + GUARD_HOUR_MS - 1));
    assert_true(guard_allow(at_ms, 3, 1000 + GUARD_HOUR_MS));
    assert_false(guard_allow(after_a_set_back, 3, 4000));
}

/* n segments, of which the last `after` arrived after the reference and have a
 * regression of `shift`. */
static struct guard_evidence observe(size_t n, size_t after, double shift,
                                     enum gate_verdict verdict)
{
    const struct gate_options options = {.max_regression = 0.02,
                                         .confidence = 0.95};
    struct guard_evidence e = {0};
    struct gate_chunk chunks[40];

    for (size_t i = 0; i < n; i++)
        chunks[i] = (struct gate_chunk){
            .bytes = 100,
            .reference_nats = 200,
            .candidate_nats =
                i < n - after ? 300 : 200 + shift + (double)(i % 3),
            .before = i < n - after,
            .newest = i >= n - 3,
        };
    guard_observe(&e, chunks, n, &options, verdict);
    return e;
}

/* Damage shows on segments from after the reference, too. A domain that has
 * ended and is forgotten does not. */
static void test_observe(void **state)
{
    struct guard_evidence e = observe(20, 8, 60, GATE_FAIL);

    (void)state;
    assert_true(e.above);
    assert_false(e.newest_better);
    assert_int_equal(e.since.chunks, 8);
    assert_false(observe(20, 8, 60, GATE_PASS).above);
    assert_false(observe(20, GUARD_FEWEST - 1, 60, GATE_FAIL).above);
    assert_false(observe(20, 8, 3, GATE_FAIL).above); /* within the limit */
    e = observe(20, 8, -10, GATE_FAIL);
    assert_false(e.above);
    assert_true(e.newest_better);
    /* Segments from before the reference do not count. */
    assert_false(observe(20, 0, 0, GATE_FAIL).newest_better);
}

/* Without a loss the labels tell. */
static void test_newest_labels(void **state)
{
    const struct gate_options options = {.max_regression = 0.02};
    struct gate_chunk chunk = {.newest = true, .labelled = true};
    struct guard_evidence e = {0};

    (void)state;
    chunk.candidate_right = true;
    guard_observe(&e, &chunk, 1, &options, GATE_FAIL);
    assert_true(e.newest_better);
    chunk.candidate_right = false;
    chunk.reference_right = true;
    guard_observe(&e, &chunk, 1, &options, GATE_FAIL);
    assert_false(e.newest_better);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worse),
        cmocka_unit_test(test_above),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_three_an_hour),
        cmocka_unit_test(test_observe),
        cmocka_unit_test(test_newest_labels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
