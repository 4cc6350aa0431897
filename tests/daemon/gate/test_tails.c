/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/tails.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_quantile(void **state)
{
    static const double known[][2] = {
        {0.5, 0},          {0.95, 1.6448536269514722},
        {0.975, 1.9599639845400545}, {0.001, -3.0902323061678132},
        {0.999, 3.0902323061678132}, {0.01, -2.3263478740408408},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(fabs(tails_normal_quantile(known[i][0]) - known[i][1]) <
                    1e-7);
}

static void test_student(void **state)
{
    /* t, degrees of freedom and P(T > t) from a printed table. */
    static const double known[][3] = {
        {6.313752, 1, 0.05},  {2.919986, 2, 0.05},  {1.833113, 9, 0.05},
        {1.699127, 29, 0.05}, {31.820516, 1, 0.01}, {2.763262, 28, 0.005},
        {0, 7, 0.5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double p = tails_student(known[i][0], known[i][1]);

        assert_true(fabs(p - known[i][2]) < 1e-7);
        assert_true(fabs(tails_student(-known[i][0], known[i][1]) -
                         (1 - p)) < 1e-12);
    }
    /* With many degrees of freedom t is nearly normal. */
    assert_true(fabs(tails_student(1.6448536, 1e7) - 0.05) < 1e-6);
}

/* Any thread may call these functions: they do not write libm's signgam. */
static void test_no_global(void **state)
{
    (void)state;
    signgam = 42;
    assert_true(tails_student(1.0, 7) > 0);
    assert_true(tails_coin(5, 9) > 0);
    assert_int_equal(signgam, 42);
}

static void test_coin(void **state)
{
    (void)state;
    assert_true(fabs(tails_coin(0, 5) - 1) < 1e-12);
    assert_true(fabs(tails_coin(5, 5) - 1.0 / 32) < 1e-12);
    assert_true(fabs(tails_coin(4, 5) - 6.0 / 32) < 1e-12);
    assert_true(fabs(tails_coin(8, 10) - 56.0 / 1024) < 1e-12);
    assert_true(fabs(tails_coin(500, 1000) - 0.512612) < 1e-5);
    assert_true(tails_coin(0, 0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_student),
        cmocka_unit_test(test_no_global),
        cmocka_unit_test(test_coin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
