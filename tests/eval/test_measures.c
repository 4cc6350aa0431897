/* SPDX-License-Identifier: Apache-2.0 */
/* The measures of hand-made matrices, against numbers worked out by hand. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eval/measures.h"

#define NEAR 1e-12
#define assert_near(x, wanted, by) assert_true(fabs((x) - (wanted)) <= (by))

/* Three domains. Domain 0 becomes better, then worse; domain 1 becomes worse.
 *
 *              domain 0   domain 1   domain 2
 *     start      8.0        8.5        9.0
 *     row 0      3.0        7.0       10.0
 *     row 1      2.5        4.0       11.0
 *     row 2      3.25       4.5        2.0
 */
static const double start[] = {8, 8.5, 9};
static const double a[] = {3, 7, 10, 2.5, 4, 11, 3.25, 4.5, 2};

static void test_final_mean(void **state)
{
    (void)state;
    /* (3.25 + 4.5 + 2) / 3 = 9.75 / 3 */
    assert_near(measures_final_mean(a, 3), 3.25, NEAR);
    assert_near(measures_newest(a, 3), 2, NEAR);
}

static void test_backward_transfer(void **state)
{
    (void)state;
    /* ((3 - 3.25) + (4 - 4.5)) / 2 = (-0.25 - 0.5) / 2 */
    assert_near(measures_backward_transfer(a, 3), -0.375, NEAR);
}

static void test_forgetting(void **state)
{
    (void)state;
    /* Domain 0: 3.25 - min(3, 2.5) = 0.75. Domain 1: 4.5 - min(7, 4) = 0.5. */
    assert_near(measures_forgetting(a, 3), 0.625, NEAR);
}

static void test_worst_unseen(void **state)
{
    const double high[] = {12, 8.5, 9};

    (void)state;
    /* The largest of 8, 8.5, 9 and of 7, 10, 11. */
    assert_near(measures_worst_unseen(start, a, 3), 11, NEAR);
    assert_near(measures_worst_unseen(high, a, 3), 12, NEAR);
}

static void test_anytime(void **state)
{
    /* Accuracies: 0.5; then (0.25 + 0.75) / 2 = 0.5; then (0.3 + 0.6 + 0.9) /
     * 3 = 0.6. The mean of 0.5, 0.5, 0.6. */
    const double right[] = {0.5, 0, 0, 0.25, 0.75, 0, 0.3, 0.6, 0.9};

    (void)state;
    assert_near(measures_anytime(right, 3), 1.6 / 3, NEAR);
}

static void test_retention(void **state)
{
    (void)state;
    /* The figures of three final means: (4.715 - 3.006) / (4.715 - 2.692). */
    assert_near(measures_retention(4.715, 3.006, 2.692), 1.709 / 2.023, NEAR);
    assert_near(measures_retention(4, 4, 3), 0, NEAR);
    assert_near(measures_retention(4, 3, 3), 1, NEAR);
    assert_true(isnan(measures_retention(3, 2, 3)));
}

static void test_one_domain(void **state)
{
    const double one[] = {2.5}, before[] = {8};

    (void)state;
    assert_near(measures_final_mean(one, 1), 2.5, NEAR);
    assert_near(measures_newest(one, 1), 2.5, NEAR);
    assert_near(measures_worst_unseen(before, one, 1), 8, NEAR);
    assert_true(isnan(measures_backward_transfer(one, 1)));
    assert_true(isnan(measures_forgetting(one, 1)));
    assert_true(isnan(measures_final_mean(NULL, 0)));
}

/* Retention of versions may have removed a row. */
static void test_missing_row(void **state)
{
    const double gap[] = {NAN, NAN, NAN, 2.5, 4, NAN, 3.25, 4.5, 2};

    (void)state;
    assert_near(measures_final_mean(gap, 3), 3.25, NEAR);
    /* 3.25 - 2.5 and 4.5 - 4 */
    assert_near(measures_forgetting(gap, 3), 0.625, NEAR);
    assert_true(isnan(measures_backward_transfer(gap, 3)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_final_mean),
        cmocka_unit_test(test_backward_transfer),
        cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_worst_unseen),
        cmocka_unit_test(test_anytime),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_one_domain),
        cmocka_unit_test(test_missing_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
