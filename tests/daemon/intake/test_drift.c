/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "daemon/intake/drift.h"

#define MOST 4096 /* blocks that the oracle keeps */

static double normal(uint64_t seed, uint64_t i)
{
    return rng_normal(seed, RNG_SAMPLE, i, 0);
}

/* Adds a block of one segment with this loss, in bits per byte. */
static bool add(struct drift *d, double bits, struct drift_alarm *alarm)
{
    return drift_add(d, bits * log(2.0) * DRIFT_BLOCK_BYTES, DRIFT_BLOCK_BYTES,
                     alarm);
}

/* --- the test, plain and slow ------------------------------------------- */

/*
 * The losses since the last alarm. Page's form of the test: m is the sum of
 * z - slack, and an alarm is raised when m exceeds its least value so far by
 * more than DRIFT_ALARM. The same with -z for a fall, after which m begins
 * anew. All of it is computed anew for each block.
 */
struct oracle {
    double x[MOST];
    size_t n;
    int falls;
};

static double limited(double x, double most)
{
    return x > most ? most : x < -most ? -most : x;
}

static bool oracle_add(struct oracle *o, double x, struct drift_alarm *alarm)
{
    double mean = 0, variance = 0, m = 0, least = 0, f = 0, f_least = 0;
    double total = 0;
    size_t least_at = 0, count = 0;

    assert_true(o->n < MOST);
    o->x[o->n++] = x;
    for (size_t i = 0; i < o->n; i++) {
        double deviation = sqrt(variance), d = o->x[i] - mean, w;

        if (deviation < DRIFT_DEVIATION)
            deviation = DRIFT_DEVIATION;
        if (count >= DRIFT_LEAST) {
            d = limited(d, DRIFT_CLIP * deviation);
            m += d / deviation - DRIFT_SLACK;
            f += -d / deviation - DRIFT_SLACK;
            if (m <= least) {
                least = m;
                least_at = i + 1;
            }
            f_least = f < f_least ? f : f_least;
        } else {
            least_at = i + 1;
        }
        if (m - least > DRIFT_ALARM) {
            for (size_t k = least_at; k < o->n; k++)
                total += o->x[k];
            alarm->before = mean;
            alarm->after = total / (double)(o->n - least_at);
            o->n = 0;
            return true;
        }
        if (f - f_least > DRIFT_ALARM) {
            m = least = f = f_least = 0;
            least_at = i + 1;
            count = DRIFT_LEAST;
            o->falls += i + 1 == o->n;
        }
        count++;
        w = 1.0 / (double)(count < DRIFT_MEMORY ? count : DRIFT_MEMORY);
        mean += w * d;
        variance = (1 - w) * (variance + w * d * d);
    }
    return false;
}

static void test_equals_the_oracle(void **state)
{
    static struct oracle o;
    struct drift d = {0};
    int alarms = 0;

    (void)state;
    for (uint64_t i = 0; i < MOST; i++) {
        double level = 1 + (double)(i / 300 % 5), x;
        struct drift_alarm a, b = {0, 0};
        bool raised;

        x = fabs(level + (0.1 + (double)(i / 1000) * 0.2) * normal(7, i));
        raised = add(&d, x, &a);
        assert_int_equal(raised, oracle_add(&o, x, &b));
        if (raised) {
            alarms++;
            assert_true(fabs(a.before - b.before) < 1e-9);
            assert_true(fabs(a.after - b.after) < 1e-9);
            assert_true(a.after > a.before);
        }
    }
    assert_true(alarms >= 8);
    assert_true(o.falls >= 2);
}

/* --- what it finds, and what it does not -------------------------------- */

enum noise { NORMAL, SKEWED, HEAVY, N_NOISES };

static double noisy(enum noise kind, uint64_t i)
{
    double u = rng_unit(11, RNG_SAMPLE, i, 1);

    switch (kind) {
    case NORMAL:
        return fmax(0, 2.4 + 0.4 * normal(11, i));
    case SKEWED:
        return 0.5 - 0.5 * log(1 - u);
    default:
        return exp(0.7 * normal(11, i));
    }
}

/* At most one alarm in 10,000 blocks without a change. */
static void test_false_alarms(void **state)
{
    const uint64_t n = 100000;

    (void)state;
    for (int kind = 0; kind < N_NOISES; kind++) {
        struct drift d = {0};
        struct drift_alarm a;
        uint64_t alarms = 0;

        for (uint64_t i = 0; i < n; i++)
            alarms += add(&d, noisy((enum noise)kind, i), &a);
        assert_true(alarms <= n / 10000);
    }
}

/* A rise by three deviations is found within 20 blocks. */
static void test_finds_a_step(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct drift d = {0};
        struct drift_alarm a = {0, 0};
        uint64_t i;

        for (i = 0; i < 300; i++)
            assert_false(add(&d, 2 + 0.3 * normal(seed, i), &a));
        for (i = 0; i < 20; i++)
            if (add(&d, 2.9 + 0.3 * normal(seed, 300 + i), &a))
                break;
        assert_true(i < 20);
        assert_true(fabs(a.before - 2) < 0.3);
        assert_true(fabs(a.after - 2.9) < 0.6);
        assert_true(d.n == 0 && d.sum == 0); /* starts anew */
    }
}

/* The loss of a model that learns falls, slowly or at once. */
static void test_ignores_a_fall(void **state)
{
    struct drift d = {0};
    struct drift_alarm a;

    (void)state;
    for (uint64_t i = 0; i < 5000; i++) {
        double x = 1 + 6 * exp(-(double)i / 200) + (i < 2500 ? 0.5 : 0);

        assert_false(add(&d, x + 0.1 * normal(3, i), &a));
    }
}

/* A rise is found although the loss has just fallen from far above. */
static void test_finds_a_step_after_a_fall(void **state)
{
    struct drift d = {0};
    struct drift_alarm a;
    uint64_t i;

    (void)state;
    for (i = 0; i < 250; i++)
        assert_false(
            add(&d, 0.6 + 6 * exp(-(double)i / 40) + 0.1 * normal(4, i), &a));
    for (; i < 290; i++)
        if (add(&d, 1.8 + 0.1 * normal(4, i), &a))
            break;
    assert_true(i < 290);
}

/* One block, however bad, raises no alarm. */
static void test_ignores_one_block(void **state)
{
    struct drift d = {0};
    struct drift_alarm a;

    (void)state;
    for (uint64_t i = 0; i < 2000; i++)
        assert_false(add(&d, i % 100 == 99 ? 1e6 : 2 + 0.1 * normal(5, i), &a));
}

/* Short segments count by their bytes. What is not finite is left out. */
static void test_blocks(void **state)
{
    struct drift d = {0};
    struct drift_alarm a;

    (void)state;
    assert_false(drift_add(&d, 10, DRIFT_BLOCK_BYTES - 1, &a));
    assert_false(drift_add(&d, NAN, 100, &a));
    assert_false(drift_add(&d, INFINITY, 100, &a));
    assert_true(d.n == 0 && d.bytes == DRIFT_BLOCK_BYTES - 1);
    assert_false(drift_add(&d, -1e-9, 1, &a));
    assert_true(d.n == 1 && d.bytes == 0 && d.nats == 0);
    assert_true(fabs(d.mean - 10 / log(2.0) / DRIFT_BLOCK_BYTES) < 1e-12);
}

/* --- the state ---------------------------------------------------------- */

static void restore(struct drift *d)
{
    json_t *list = drift_json(d), *read;
    char *text = json_dumps(list, JSON_REAL_PRECISION(17));
    struct drift r;

    read = json_loads(text, 0, NULL);
    assert_int_equal(drift_from_json(read, &r), 0);
    assert_memory_equal(&r, d, sizeof r);
    *d = r;
    json_decref(list);
    json_decref(read);
    free(text);
}

/* Saved and restored after every segment, it is bit for bit the same. */
static void test_restores(void **state)
{
    struct drift d = {0}, kept = {0};
    struct drift_alarm a, b;
    int alarms = 0;

    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        double bytes = 1 + floor(200 * rng_unit(2, RNG_SAMPLE, i, 1));
        double nats = bytes * fabs((i / 1000 % 2 ? 3 : 1) + 0.3 * normal(2, i));
        bool raised = drift_add(&d, nats, bytes, &a);

        assert_int_equal(raised, drift_add(&kept, nats, bytes, &b));
        if (raised)
            assert_memory_equal(&a, &b, sizeof a);
        alarms += raised;
        restore(&d);
        assert_memory_equal(&d, &kept, sizeof d);
    }
    assert_int_equal(alarms, 1);
}

static void test_refuses_state(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "[0,0,0,0,0,0,0,0]",
        "[0,0,0,0,0,0,0,0,0,0]",
        "[0,0,0,0,0,0,0,0,\"1\"]",
        "[-1,0,0,0,0,0,0,0,0]",
        "[0,256,0,0,0,0,0,0,0]", /* a block that is whole */
        "[0,0,0,0,-1,0,0,0,0]",
        "[0,0,9,1,1,17,0,3,4]", /* an alarm */
        "[0,0,9,1,1,0,17,0,0]", /* a fall */
        "[0,0,9,1,1,2,0,10,4]", /* a run longer than the history */
        "[0,0,9,1,1,0,0,3,4]",
        "[0,0,9,1,1,2,0,0,0]",
        "[0,0,1e300,1,1,0,0,0,0]"};
    struct drift d = {1, 2, 3, 4, 5, 6, 7, 3, 8}, was = d;

    (void)state;
    assert_int_equal(drift_from_json(NULL, &d), -1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *list = json_loads(bad[i], 0, NULL);

        assert_non_null(list);
        assert_int_equal(drift_from_json(list, &d), -1);
        json_decref(list);
    }
    assert_memory_equal(&d, &was, sizeof d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_oracle),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_finds_a_step),
        cmocka_unit_test(test_ignores_a_fall),
        cmocka_unit_test(test_finds_a_step_after_a_fall),
        cmocka_unit_test(test_ignores_one_block),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_restores),
        cmocka_unit_test(test_refuses_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
