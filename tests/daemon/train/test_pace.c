/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When is a version due: while records arrive, at a pause, in a slow stream,
 * and when all records are refused?
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
static struct pace_input input;
static struct pace_wait wait;

/* At time 0 the last version was submitted; a step was made after it. */
static int setup(void **state)
{
    (void)state;
    memset(&conf, 0, sizeof conf);
    conf.publish.every_seconds = 10;
    conf.publish.every_tokens = 1000;
    conf.learner.flush_seconds = 2;
    input = (struct pace_input){.cpu_seconds = 0.01, .has_step = true};
    pace_start(&pace, 0);
    return 0;
}

static bool due_at(int64_t now_ms)
{
    input.now_ms = now_ms;
    return pace_due(&pace, &conf, &input, &wait);
}

/* A record comes every 100 ms. */
static bool due_in_stream(int64_t now_ms)
{
    input.record_ms = now_ms - 100;
    return due_at(now_ms);
}

static void test_by_time(void **state)
{
    (void)state;
    assert_false(due_in_stream(9999));
    assert_string_equal(wait.reason, "publish.every_seconds");
    assert_int_equal(wait.until_ms, 10000);
    assert_true(due_in_stream(10000));
}

/* The untrained version answers for three seconds at most. */
static void test_untrained(void **state)
{
    (void)state;
    input.is_untrained = true;
    assert_false(due_in_stream(2999));
    assert_int_equal(wait.until_ms, 3000);
    assert_true(due_in_stream(3000));
    input.has_step = false;
    assert_false(due_in_stream(20000));
    input.has_step = true;
    conf.publish.every_seconds = 1;
    assert_true(due_in_stream(1000));
}

static void test_by_tokens(void **state)
{
    (void)state;
    input.tokens = 999;
    assert_false(due_in_stream(1000));
    input.tokens = 1000;
    assert_true(due_in_stream(1000));
    conf.publish.every_seconds = 0;
    assert_true(due_in_stream(1000));
    input.tokens = 999;
    assert_false(due_in_stream(100000));
    assert_string_equal(wait.reason, "publish.every_tokens");
    assert_int_equal(wait.until_ms, 0);
}

/* A version took two seconds of processor time: the next one 40 s later. */
static void test_share(void **state)
{
    (void)state;
    input.cpu_seconds = 2;
    input.tokens = 100000;
    assert_false(due_in_stream(39999));
    assert_non_null(strstr(wait.reason, "5 %"));
    assert_int_equal(wait.until_ms, 40000);
    assert_true(due_in_stream(40000));
    assert_float_equal(pace_interval_seconds(&conf, 2), 40, 1e-9);
    assert_float_equal(pace_interval_seconds(&conf, 0.1), 10, 1e-9);
}

/* No more records come: a version is made at once, whatever the interval. */
static void test_pause(void **state)
{
    (void)state;
    input.cpu_seconds = 100;
    conf.publish.every_seconds = 3600;
    input.record_ms = 500;
    assert_false(due_at(2499));
    input.has_more = true; /* a batch that is not full */
    assert_false(due_at(2500));
    input.has_more = false;
    assert_true(due_at(2500));
    /* With flush_seconds 0 a pause takes two seconds. */
    conf.learner.flush_seconds = 0;
    assert_false(due_at(2499));
    assert_true(due_at(2500));
    /* A configuration without every_seconds makes no versions at pauses. */
    conf.publish.every_seconds = 0;
    assert_false(due_at(2500));
}

/* A record comes every three seconds for an hour. A pause follows each. */
static void test_slow_stream(void **state)
{
    int versions = 0;

    (void)state;
    for (int64_t now = 3000; now <= 3600000; now += 500) {
        if (now % 3000 == 0) {
            input.record_ms = now;
            input.has_step = true;
        }
        if (due_at(now)) {
            versions++;
            input.published_ms = now;
            input.has_step = false;
        }
    }
    assert_in_range(versions, 360, 2 * 360 + PACE_PAUSES);
    /* With one version an hour, pauses add only a few. */
    setup(NULL);
    conf.publish.every_seconds = 3600;
    versions = 0;
    for (int64_t now = 3000; now <= 3600000; now += 500) {
        if (now % 3000 == 0) {
            input.record_ms = now;
            input.has_step = true;
        }
        if (due_at(now)) {
            versions++;
            input.published_ms = now;
            input.has_step = false;
        }
    }
    assert_in_range(versions, PACE_PAUSES, PACE_PAUSES + 1);
}

static void test_refused(void **state)
{
    (void)state;
    input.has_step = false;
    assert_false(due_at(100000));
    assert_null(wait.reason);
    input.has_more = true;
    assert_false(due_at(100000));
    assert_non_null(strstr(wait.reason, "flush_seconds"));
    assert_int_equal(wait.until_ms, 2000);
    input.has_more = false;
    input.has_refused = true;
    input.record_ms = 5000;
    assert_false(due_at(6999));
    assert_int_equal(wait.until_ms, 7000);
    assert_true(due_at(7000));
    input.last_only_refused = true;
    assert_false(due_at(59999));
    assert_int_equal(wait.until_ms, 60000);
    assert_true(due_at(60000));
    /* Refused records that never stop. */
    input.last_only_refused = false;
    input.record_ms = 59000;
    assert_true(due_at(60000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_by_time, setup),
        cmocka_unit_test_setup(test_untrained, setup),
        cmocka_unit_test_setup(test_by_tokens, setup),
        cmocka_unit_test_setup(test_share, setup),
        cmocka_unit_test_setup(test_pause, setup),
        cmocka_unit_test_setup(test_slow_stream, setup),
        cmocka_unit_test_setup(test_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
