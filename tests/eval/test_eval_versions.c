/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix and the lag of serving, of a store made by hand at given times. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/timing.h"
#include "eval/eval.h"
#include "tests/util/store_util.h"

static _Atomic int64_t now_ms;

/* Makes a version that was created at `seed` seconds, with its results. b NaN:
 * domain b has none yet. */
static void add(struct store *s, int64_t seed, int64_t at_ms, double a,
                double b, bool serve)
{
    const struct store_domain_result results[] = {{"later first", a, NAN, 9},
                                                  {"b", b, NAN, 9}};
    int64_t version = util_publish(s, util_head(s), seed);

    now_ms = at_ms;
    assert_int_equal(store_verdict(s, version, STORE_PASSED, "{}", NULL,
                                   results, isnan(b) ? 1 : 2, serve, "", NULL),
                     0);
}

static json_t *report_of(const char *dir)
{
    struct err err = ERR_INIT;
    json_t *report = NULL;

    if (eval_versions(dir, &report, &err))
        fail_msg("%s", err.msg);
    return report;
}

static double cell(const json_t *report, size_t i, size_t j)
{
    const json_t *arm = json_array_get(json_object_get(report, "arms"), 0);
    const json_t *x =
        json_array_get(json_array_get(json_object_get(arm, "matrix"), i), j);

    return json_is_real(x) ? json_real_value(x) : NAN;
}

static double number(const json_t *report, const char *group, const char *key)
{
    const json_t *of =
        group ? json_object_get(
                    json_array_get(json_object_get(report, "arms"), 0), group)
              : json_object_get(report, "serving");

    return json_number_value(json_object_get(of, key));
}

static void test_versions(void **state)
{
    struct store *s;
    json_t *report;

    now_ms = 1000;
    timing_set_fake(&now_ms);
    s = util_open_store(*state);
    add(s, 1, 2000, 3, NAN, true);
    add(s, 3, 4000, 2.5, NAN, false);
    add(s, 5, 8000, 2.75, 4, true);
    add(s, 9, 10000, 3, 2, true);
    report = report_of(*state);
    /* The last version before the second domain is number 2. */
    assert_true(cell(report, 0, 0) == 2.5 && isnan(cell(report, 0, 1)));
    assert_true(cell(report, 1, 0) == 3 && cell(report, 1, 1) == 2);
    assert_true(number(report, "mean", "final_mean") == 2.5);
    assert_true(number(report, "mean", "forgetting") == 0.5);
    assert_true(number(report, "mean", "backward_transfer") == -0.5);
    /* From 2 to 10 s. Behind: from 3 to 8 s (two versions from 5 s on), and
     * from 9 to 10 s. */
    assert_true(number(report, NULL, "seconds") == 8);
    assert_true(fabs(number(report, NULL, "behind_share") - 0.75) < 1e-12);
    assert_true(number(report, NULL, "worst_behind") == 2);
    assert_true(number(report, NULL, "behind_now") == 0);
    json_decref(report);
    /* After a rollback, the versions that it undid do not count. */
    now_ms = 12000;
    assert_int_equal(util_rewind_to(s, 2), 0);
    report = report_of(*state);
    assert_int_equal(json_array_size(json_object_get(report, "domains")), 1);
    assert_true(cell(report, 0, 0) == 2.5);
    assert_true(fabs(number(report, NULL, "behind_share") - 0.6) < 1e-12);
    assert_true(number(report, NULL, "behind_now") == 0);
    json_decref(report);
    store_close(s);
    timing_set_fake(NULL);
}

static void test_no_results(void **state)
{
    struct err err = ERR_INIT;
    json_t *report = NULL;

    util_make_first(*state);
    assert_int_equal(eval_versions(*state, &report, &err), ERR_STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_versions, util_make_temp,
                                        util_remove_temp),
        cmocka_unit_test_setup_teardown(test_no_results, util_make_temp,
                                        util_remove_temp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
