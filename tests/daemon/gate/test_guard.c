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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worse),
        cmocka_unit_test(test_above),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_three_an_hour),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
