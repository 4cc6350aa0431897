/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timing.h: dates, clocks, a clock that a test sets, deadlines.
 */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/timing.h"
#include "tests/util/base_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_timing_iso8601(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } known[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59.000Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1795482123456, "2026-11-24T01:02:03.456Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "1000-01-01T00:00:00.000Z"},
    };
    char out[TIMING_ISO_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        timing_iso8601(known[i].ms, out);
        assert_string_equal(out, known[i].text);
    }
}

static void test_timing_clocks(void **state)
{
    int64_t start = timing_mono_ns();

    (void)state;
    timing_sleep_ms(0);
    timing_sleep_ms(-5);
    timing_sleep_ms(12);
    assert_true(timing_mono_ns() - start >= 12000000);
    assert_true(timing_seconds_since(start) >= 0.012);
    assert_true(timing_mono_ms() >= start / 1000000 + 12);
    assert_true(timing_wall_ms() / 1000 - (int64_t)time(NULL) <= 1);
}

static void test_timing_fake(void **state)
{
    _Atomic int64_t now = 5000;
    int64_t start;

    (void)state;
    timing_set_fake(&now);
    start = timing_mono_ns();
    assert_true(start == INT64_C(5000000000));
    now += 1500;
    assert_int_equal(timing_mono_ms(), 6500);
    assert_int_equal(timing_wall_ms(), 6500);
    assert_true(fabs(timing_seconds_since(start) - 1.5) < 1e-12);
    timing_set_fake(NULL);
    assert_true(timing_wall_ms() > INT64_C(1500000000000));
}

static void test_timing_deadline(void **state)
{
    static const int64_t waits[] = {-7, 0, 1, 999, 1000, 123456};

    (void)state;
    for (size_t i = 0; i < COUNT(waits); i++) {
        int64_t wait = waits[i] > 0 ? waits[i] : 0;
        int64_t before = timing_mono_ms();
        struct timespec ts = timing_deadline(waits[i]);
        int64_t at = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;

        assert_true(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
        assert_true(at >= before + wait);
        assert_true(at <= timing_mono_ms() + wait);
    }
}

/* The deadline and the wait use the same clock, and it is not the one that
 * people set: with the real-time clock far ahead or behind, the wait is as
 * long as was asked for. */
static void test_timing_wait(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    int64_t start = timing_mono_ns();
    struct timespec now, deadline;

    (void)state;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    deadline = timing_deadline(0);
    assert_true(deadline.tv_sec - now.tv_sec <= 1);
    assert_true(deadline.tv_sec >= now.tv_sec);

    deadline = timing_deadline(20);
    pthread_mutex_lock(&mutex);
    while (timing_wait(&cond, &mutex, &deadline) == 0)
        ;
    assert_true(timing_mono_ns() - start >= 20000000);
    assert_int_equal(timing_wait(&cond, &mutex, &deadline), ETIMEDOUT);
    pthread_mutex_unlock(&mutex);
}

/* Waiting costs nothing, computing does, however busy the machine is. */
static void test_timing_thread_cpu(void **state)
{
    int64_t began = timing_thread_cpu_ns(), wall = timing_mono_ns();

    (void)state;
    timing_sleep_ms(100);
    assert_true(timing_mono_ns() - wall >= 100000000);
    assert_in_range(timing_thread_cpu_ns() - began, 0, 50000000);
    began = timing_thread_cpu_ns();
    while (timing_thread_cpu_ns() - began < 1000000)
        ;
    assert_true(timing_thread_cpu_ns() > began);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, base_make_temp, base_remove_temp)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timing_iso8601),
        cmocka_unit_test(test_timing_clocks),
        T(test_timing_fake),
        cmocka_unit_test(test_timing_deadline),
        cmocka_unit_test(test_timing_thread_cpu),
        cmocka_unit_test(test_timing_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
