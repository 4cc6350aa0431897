/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a version is due: in a stream that goes on, in a pause, in a trickle,
 * and when there is nothing but refused records.
 */
#include "config.h"

#include "daemon/train/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct conf conf;
static struct pace pace;
static struct pace_sight sight;
static struct pace_wait wait;

/* A step was made at 0, when the last version was submitted. */
static int setup(void **state)
{
    (void)state;
    memset(&conf, 0, sizeof conf);
    conf.publish.every_seconds = 10;
    conf.publish.every_tokens = 1000;
    conf.learner.flush_seconds = 2;
    sight = (struct pace_sight){.cpu_seconds = 0.01, .has_step = true};
    pace_start(&pace, 0);
    return 0;
}

static bool due_at(int64_t now_ms)
{
    sight.now_ms = now_ms;
    return pace_due(&pace, &conf, &sight, &wait);
}

/* A record comes every 100 ms. */
static bool due_in_stream(int64_t now_ms)
{
    sight.record_ms = now_ms - 100;
    return due_at(now_ms);
}

static void test_by_time(void **state)
{
    (void)state;
    assert_false(due_in_stream(9999));
    assert_string_equal(wait.what, "publish.every_seconds");
    assert_int_equal(wait.until_ms, 10000);
    assert_true(due_in_stream(10000));
}

static void test_by_tokens(void **state)
{
    (void)state;
    sight.tokens = 999;
    assert_false(due_in_stream(1000));
    sight.tokens = 1000;
    assert_true(due_in_stream(1000));
    conf.publish.every_seconds = 0;
    assert_true(due_in_stream(1000));
    sight.tokens = 999;
    assert_false(due_in_stream(100000));
    assert_string_equal(wait.what, "publish.every_tokens");
    assert_int_equal(wait.until_ms, 0);
}

/* A version took two seconds of processor time: the next one 40 s later. */
static void test_share(void **state)
{
    (void)state;
    sight.cpu_seconds = 2;
    sight.tokens = 100000;
    assert_false(due_in_stream(39999));
    assert_non_null(strstr(wait.what, "5 %"));
    assert_int_equal(wait.until_ms, 40000);
    assert_true(due_in_stream(40000));
    assert_float_equal(pace_interval_seconds(&conf, 2), 40, 1e-9);
    assert_float_equal(pace_interval_seconds(&conf, 0.1), 10, 1e-9);
}

/* Nothing more comes: at once, whatever the pacing says. */
static void test_pause(void **state)
{
    (void)state;
    sight.cpu_seconds = 100;
    conf.publish.every_seconds = 3600;
    sight.record_ms = 500;
    assert_false(due_at(2499));
    sight.has_more = true; /* a batch that is not full */
    assert_false(due_at(2500));
    sight.has_more = false;
    assert_true(due_at(2500));
    /* Without a time that tells a pause there still is one. */
    conf.learner.flush_seconds = 0;
    assert_false(due_at(2499));
    assert_true(due_at(2500));
    /* By tokens alone is by tokens alone. */
    conf.publish.every_seconds = 0;
    assert_false(due_at(2500));
}

/* A record every three seconds for an hour: each is followed by a pause. */
static void test_trickle(void **state)
{
    int versions = 0;

    (void)state;
    for (int64_t now = 3000; now <= 3600000; now += 500) {
        if (now % 3000 == 0) {
            sight.record_ms = now;
            sight.has_step = true;
        }
        if (due_at(now)) {
            versions++;
            sight.published_ms = now;
            sight.has_step = false;
        }
    }
    assert_in_range(versions, 360, 2 * 360 + PACE_PAUSES);
    /* With one version an hour, there are only a few more at pauses. */
    setup(NULL);
    conf.publish.every_seconds = 3600;
    versions = 0;
    for (int64_t now = 3000; now <= 3600000; now += 500) {
        if (now % 3000 == 0) {
            sight.record_ms = now;
            sight.has_step = true;
        }
        if (due_at(now)) {
            versions++;
            sight.published_ms = now;
            sight.has_step = false;
        }
    }
    assert_in_range(versions, PACE_PAUSES, PACE_PAUSES + 1);
}

static void test_refused(void **state)
{
    (void)state;
    sight.has_step = false;
    assert_false(due_at(100000));
    assert_null(wait.what);
    sight.has_more = true;
    assert_false(due_at(100000));
    assert_non_null(strstr(wait.what, "flush_seconds"));
    assert_int_equal(wait.until_ms, 2000);
    sight.has_more = false;
    sight.has_refused = true;
    sight.record_ms = 5000;
    assert_false(due_at(6999));
    assert_int_equal(wait.until_ms, 7000);
    assert_true(due_at(7000));
    sight.was_refused = true;
    assert_false(due_at(59999));
    assert_int_equal(wait.until_ms, 60000);
    assert_true(due_at(60000));
    /* They never stop coming. */
    sight.was_refused = false;
    sight.record_ms = 59000;
    assert_true(due_at(60000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_by_time, setup),
        cmocka_unit_test_setup(test_by_tokens, setup),
        cmocka_unit_test_setup(test_share, setup),
        cmocka_unit_test_setup(test_pause, setup),
        cmocka_unit_test_setup(test_trickle, setup),
        cmocka_unit_test_setup(test_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
