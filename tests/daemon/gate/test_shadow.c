/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/shadow.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

#define LN2 0.69314718055994530942
#define ENOUGH 6.907755278982137 /* -ln 0.001 */

/* Adds a record with a loss of 2 bits per byte, on which both versions agree
 * within 6 %. The live version's loss is `worse` times larger. */
static void record(struct shadow *s, uint64_t run, uint64_t t, double worse)
{
    double bytes = 40 + 300 * rng_unit(run, RNG_GATE, 1, t);
    double common = 2 + 0.5 * rng_normal(run, RNG_GATE, 2, t);
    double older = common * (1 + 0.04 * rng_normal(run, RNG_GATE, 3, t));
    double live =
        worse * common * (1 + 0.04 * rng_normal(run, RNG_GATE, 4, t));

    shadow_add(s, live * bytes * LN2, older * bytes * LN2, bytes, 2.0);
}

/* Records until the alarm; `most` if there is none. */
static int64_t alarm(uint64_t run, double before, int64_t turn, double after,
                     int64_t most)
{
    struct shadow s = {0};

    for (int64_t t = 0; t < most; t++) {
        record(&s, run, (uint64_t)t, t < turn ? before : after);
        if (shadow_log_wealth(&s) >= ENOUGH)
            return t + 1;
    }
    return most;
}

/* 2,000 runs at the edge of H0, read after each of 2,000 records. The chance of
 * an alarm is at most 1 in 1,000 a run: 2 are expected at most, and 8 are
 * beyond chance (Poisson: 0.0002). */
static void test_false_alarms(void **state)
{
    int alarms = 0;

    (void)state;
    for (uint64_t run = 0; run < 2000; run++)
        alarms += alarm(run, 1, 0, 1.03, 2000) < 2000;
    print_message("# false alarms in 2000 runs of 2000 records: %d\n", alarms);
    assert_true(alarms <= 7);
}

/* The wealth must not grow on average, whatever the shape of y. */
static void test_skewed(void **state)
{
    int alarms = 0;

    (void)state;
    for (uint64_t run = 0; run < 2000; run++) {
        struct shadow s = {0};
        bool alarmed = false;

        for (uint64_t t = 0; t < 1000; t++) {
            /* The excess is 0.4 with chance 1/5, else -0.1. */
            bool high = rng_unit(run, RNG_GATE, 5, t) < 0.2;

            shadow_add(&s, (2.06 + (high ? 0.4 : -0.1)) * 200 * LN2,
                       2.0 * 200 * LN2, 200, 2.0);
            alarmed |= shadow_log_wealth(&s) >= ENOUGH;
        }
        alarms += alarmed;
    }
    assert_true(alarms <= 7);
}

static int64_t mean_alarm(double before, int64_t turn, double after,
                          int *missed)
{
    int64_t sum = 0;

    *missed = 0;
    for (uint64_t run = 0; run < 100; run++) {
        int64_t t = alarm(run, before, turn, after, turn + 2000);

        *missed += t == turn + 2000;
        sum += t - turn;
    }
    return sum / 100;
}

static void test_power(void **state)
{
    static const double worse[] = {1.05, 1.08, 1.15, 1.30};
    static const int64_t within[] = {2000, 500, 150, 60};
    int missed;

    (void)state;
    for (size_t i = 0; i < sizeof worse / sizeof *worse; i++) {
        int64_t n = mean_alarm(1, 0, worse[i], &missed);

        print_message("# %2.0f %% worse: over 3 %% after %d records in the "
                      "mean, missed %d of 100\n",
                      100 * (worse[i] - 1), (int)n, missed);
        assert_true(n <= within[i]);
        assert_true(i == 0 || missed == 0);
    }
    /* After 300 records on which the live version was far the better. */
    assert_true(mean_alarm(0.8, 300, 1.30, &missed) < 120);
    assert_int_equal(missed, 0);
}

static void test_labels(void **state)
{
    struct shadow s = {0}, flipped = {0};
    int64_t n = 0;

    (void)state;
    for (uint64_t t = 0; t < 5000; t++)
        shadow_add_label(&s, rng_unit(1, RNG_GATE, 1, t) < 0.85,
                         rng_unit(1, RNG_GATE, 2, t) < 0.85);
    assert_true(shadow_log_wealth(&s) < 0);
    while (shadow_log_wealth(&flipped) < ENOUGH && n < 1000) {
        shadow_add_label(&flipped, rng_unit(1, RNG_GATE, 3, (uint64_t)n) < 0.3,
                         rng_unit(1, RNG_GATE, 2, (uint64_t)n) < 0.85);
        n++;
    }
    assert_true(n < 60);
    assert_true(shadow_difference(&flipped) < -0.4);
}

static void test_by_hand(void **state)
{
    struct shadow s = {0};
    double wealth = 1.0 / 2;

    (void)state;
    assert_true(fabs(shadow_log_wealth(&s)) < 1e-12);
    assert_true(isnan(shadow_difference(&s)));
    /* y = (2.16 - 1.03 * 2) / (0.25 * 2) = 0.2, with weight 1/2 */
    shadow_add(&s, 216 * LN2, 200 * LN2, 100, 2.0);
    for (int k = 0; k < 5; k++)
        wealth += 0.5 * (1 + 0.05 * (1 << k) * 0.2 * 0.5) / 5;
    assert_true(fabs(shadow_log_wealth(&s) - log(wealth)) < 1e-12);
    assert_true(fabs(shadow_difference(&s) - 0.08) < 1e-12);
    /* A segment without bytes, and a loss that is not finite. */
    shadow_add(&s, 1, 1, 0, 2.0);
    assert_int_equal(s.records, 1);
    shadow_add(&s, NAN, 200 * LN2, 200, 2.0);
    assert_true(isfinite(shadow_log_wealth(&s)));
    /* The wealth does not overflow. */
    for (int i = 0; i < 5000; i++)
        shadow_add(&s, 400 * LN2, 200 * LN2, 200, 1.0);
    assert_true(isfinite(shadow_log_wealth(&s)));
}

static json_t *through_text(const struct shadow *s)
{
    json_t *json = shadow_to_json(s), *back;
    char *text = json_dumps(json, JSON_REAL_PRECISION(17));

    back = json_loads(text, 0, NULL);
    assert_non_null(back);
    json_decref(json);
    free(text);
    return back;
}

/* A comparison that is stored after every tenth record continues exactly. */
static void test_kept(void **state)
{
    struct shadow s = {0}, kept = {0};

    (void)state;
    for (uint64_t t = 0; t < 300; t++) {
        record(&s, 7, t, 1.05);
        record(&kept, 7, t, 1.05);
        if (t % 10 == 0) {
            json_t *json = through_text(&kept);

            memset(&kept, 0, sizeof kept);
            assert_true(shadow_from_json(&kept, json));
            json_decref(json);
        }
    }
    assert_memory_equal(&s, &kept, sizeof s);
    assert_true(shadow_log_wealth(&s) == shadow_log_wealth(&kept));
}

static void test_kept_badly(void **state)
{
    struct shadow s = {0}, kept;
    json_t *json;

    (void)state;
    shadow_add(&s, NAN, 200 * LN2, 200, 2.0);
    json = through_text(&s);
    assert_true(shadow_from_json(&kept, json));
    assert_true(isnan(kept.live));
    assert_true(shadow_log_wealth(&kept) == shadow_log_wealth(&s));
    json_array_append_new(json_object_get(json, "sums"), json_real(1));
    assert_false(shadow_from_json(&kept, json));
    json_object_set_new(json, "sums", json_null());
    assert_false(shadow_from_json(&kept, json));
    assert_false(shadow_from_json(&kept, NULL));
    assert_int_equal(kept.records, 1);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_skewed),
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_kept_badly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
