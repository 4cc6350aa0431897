/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct guard_sight failed = {.above = true};
static const struct guard_sight failed_and_worse = {.above = true,
                                                    .better = 7};
static const struct guard_sight failed_on_what_came = {.above = true,
                                                       .since_above = true};
static const struct guard_sight fine = {.better = -3, .much_better = -9};

static void test_a_rising_loss_is_no_damage(void **state)
{
    struct guard_rule g;

    (void)state;
    guard_start(&g);
    for (int i = 0; i < 100; i++)
        assert_int_equal(guard_look(&g, &failed), GUARD_NO_CAUSE);
}

static void test_patiently(void **state)
{
    const struct guard_sight drifted = {
        .above = true, .better = 7, .newest_better = true};
    struct guard_rule g;

    (void)state;
    guard_start(&g);
    assert_int_equal(guard_look(&g, &failed_and_worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &failed_and_worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &drifted), GUARD_NO_CAUSE); /* anew */
    assert_int_equal(guard_look(&g, &failed_and_worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &failed_and_worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &fine), GUARD_NO_CAUSE); /* begins anew */
    assert_int_equal(guard_look(&g, &failed_and_worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &failed_on_what_came), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &failed_and_worse), GUARD_BETTER);
}

static void test_at_once(void **state)
{
    const struct guard_sight worse = {.better = 20, .much_better = 6.91};
    const struct guard_sight drift = {
        .above = true, .better = 20, .much_better = 20, .newest_better = true};
    const struct guard_sight nearly = {.better = 20, .much_better = 6.90};
    const struct guard_sight broken = {.above = true, .not_finite = true};
    struct guard_rule g;

    (void)state;
    guard_start(&g);
    assert_int_equal(guard_look(&g, &nearly), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &worse), GUARD_NO_CAUSE); /* once */
    assert_int_equal(guard_look(&g, &worse), GUARD_MUCH_BETTER);
    assert_int_equal(guard_look(&g, &drift), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &worse), GUARD_NO_CAUSE);
    /* The cool-down, which a broken tensor does not wait for. */
    guard_went_back(&g);
    for (int i = 0; i < GUARD_COOL_DOWN; i++) {
        struct guard_rule copy = g;

        assert_int_equal(guard_look(&copy, &broken), GUARD_NOT_FINITE);
        assert_int_equal(guard_look(&g, &worse), GUARD_NO_CAUSE);
    }
    assert_int_equal(guard_look(&g, &worse), GUARD_MUCH_BETTER);
}

static void test_protected(void **state)
{
    const struct guard_sight lost = {.above = true, .protected_above = true,
                                     .much_better = -50};
    struct guard_rule g;

    (void)state;
    guard_start(&g);
    assert_int_equal(guard_look(&g, &lost), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &lost), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&g, &lost), GUARD_PROTECTED);
}

/* Newest first; the clock may have been set. */
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

static void test_kept(void **state)
{
    struct guard_rule g, read = {9, 9, 9};
    json_t *json, *other = json_pack("{s:i}", "versions", 3);

    (void)state;
    guard_went_back(&g);
    guard_look(&g, &failed_and_worse);
    guard_look(&g, &failed_and_worse);
    json = guard_to_json(&g);
    assert_true(guard_from_json(&read, json));
    assert_int_equal(read.versions, 2);
    assert_int_equal(read.bad, 2);
    assert_int_equal(read.bad_protected, 0);
    assert_false(guard_from_json(&read, other));
    assert_false(guard_from_json(&read, NULL));
    assert_int_equal(read.versions, 2);
    json_decref(json);
    json_decref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rising_loss_is_no_damage),
        cmocka_unit_test(test_patiently),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_protected),
        cmocka_unit_test(test_three_an_hour),
        cmocka_unit_test(test_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
