/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/rng.h"

#define LN2 0.69314718055994530942
#define CHUNKS 60

static const struct gate_options options = {0.02, 0.95, 30};

/* n segments of a domain: `serving` bits per byte, the candidate `shift`
 * higher, with noise of standard deviation `noise` on the difference. */
static size_t fill(struct gate_chunk *out, size_t n, int32_t domain,
                   double serving, double shift, double noise)
{
    for (size_t i = 0; i < n; i++) {
        double bytes = 100 + (double)(i % 7) * 40;
        double z = rng_normal(7, RNG_GATE, (uint64_t)domain, i);

        out[i] = (struct gate_chunk){
            .domain = domain,
            .bytes = bytes,
            .serving_nats = serving * bytes * LN2,
            .candidate_nats = (serving + shift + noise * z) * bytes * LN2,
        };
    }
    return n;
}

static void name(struct gate_domain *d, const char *text, double traffic)
{
    *d = (struct gate_domain){.name = text, .traffic = traffic};
}

static void test_quantile(void **state)
{
    static const double known[][2] = {
        {0.5, 0},          {0.95, 1.6448536269514722},
        {0.975, 1.9599639845400545}, {0.001, -3.0902323061678132},
        {0.999, 3.0902323061678132}, {0.01, -2.3263478740408408},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(fabs(gate_normal_quantile(known[i][0]) - known[i][1]) <
                    1e-7);
}

static void test_student(void **state)
{
    /* Of the usual table: P(T > t) for degrees of freedom. */
    static const double known[][3] = {
        {6.313752, 1, 0.05},  {2.919986, 2, 0.05},  {1.833113, 9, 0.05},
        {1.699127, 29, 0.05}, {31.820516, 1, 0.01}, {2.763262, 28, 0.005},
        {0, 7, 0.5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double p = gate_student_tail(known[i][0], known[i][1]);

        assert_true(fabs(p - known[i][2]) < 1e-7);
        assert_true(fabs(gate_student_tail(-known[i][0], known[i][1]) -
                         (1 - p)) < 1e-12);
    }
    /* Many degrees of freedom: the normal distribution. */
    assert_true(fabs(gate_student_tail(1.6448536, 1e7) - 0.05) < 1e-6);
}

static void test_ratio_estimate(void **state)
{
    /* Two segments by hand: d = 10 and 40 bits over 100 and 300 bytes. */
    struct gate_chunk chunks[2] = {{0, 100, 210 * LN2, 200 * LN2},
                                   {0, 300, 640 * LN2, 600 * LN2}};
    struct gate_domain domain;
    struct gate_decision decision;
    double ratio = 50.0 / 400.0;
    double r0 = 10 - ratio * 100, r1 = 40 - ratio * 300;

    (void)state;
    name(&domain, "a", 1);
    gate_decide(&options, chunks, 2, &domain, 1, &decision);
    assert_true(fabs(domain.regression - ratio) < 1e-12);
    assert_true(fabs(domain.error -
                     sqrt((r0 * r0 + r1 * r1) * 2 / 1) / 400) < 1e-12);
    assert_true(fabs(domain.serving - 2.0) < 1e-12);
    assert_true(fabs(domain.limit - 0.04) < 1e-12);
}

static enum gate_verdict one_domain(double shift, double noise, size_t n)
{
    struct gate_chunk chunks[CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;

    name(&domain, "a", 1);
    gate_decide(&options, chunks, fill(chunks, n, 0, 2.0, shift, noise),
                &domain, 1, &decision);
    return decision.verdict;
}

static void test_one_domain(void **state)
{
    (void)state;
    assert_int_equal(one_domain(-0.10, 0.05, CHUNKS), GATE_PASS);
    assert_int_equal(one_domain(0.00, 0.05, CHUNKS), GATE_PASS);
    assert_int_equal(one_domain(0.30, 0.05, CHUNKS), GATE_FAIL);
    assert_int_equal(one_domain(0.04, 0.50, CHUNKS), GATE_INCONCLUSIVE);
    /* One says nothing, however large the difference. */
    assert_int_equal(one_domain(-1.0, 0.0, GATE_FEWEST_CHUNKS - 1),
                     GATE_INCONCLUSIVE);
    /* A small domain is judged in the pool. */
    assert_int_equal(one_domain(-0.5, 0.1, 5), GATE_PASS);
    assert_int_equal(one_domain(0.5, 0.1, 5), GATE_FAIL);
    /* Two segments need a difference that is large against their spread. */
    assert_int_equal(one_domain(-0.5, 0.5, 2), GATE_INCONCLUSIVE);
}

static void test_nothing_held_out(void **state)
{
    struct gate_decision decision;

    (void)state;
    gate_decide(&options, NULL, 0, NULL, 0, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_non_null(strstr(decision.reason, "too few"));
}

/* Domain 0 becomes worse by `old`, domain 1 better by `gain`. */
static void two_domains(double old, double gain, bool is_protected,
                        struct gate_domain domains[2],
                        struct gate_decision *decision)
{
    struct gate_chunk chunks[2 * CHUNKS];

    name(&domains[0], "old", 1000);
    name(&domains[1], "new", 1000);
    domains[0].is_protected = is_protected;
    fill(chunks, CHUNKS, 0, 2.0, old, 0.02);
    fill(chunks + CHUNKS, CHUNKS, 1, 3.0, -gain, 0.02);
    gate_decide(&options, chunks, 2 * CHUNKS, domains, 2, decision);
}

static void test_new_domain_does_not_freeze_serving(void **state)
{
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    two_domains(0.10, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.waived);
    assert_true(fabs(decision.mean_regression + 0.20) < 0.02);
    two_domains(0.10, 0.50, true, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    two_domains(0.50, 0.10, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_non_null(strstr(decision.reason, "old"));
}

static void test_false_alarms(void **state)
{
    /* No true change and a limit of 0: at most 5 % of the decisions may fail,
     * and with Holm's correction the domains count together. */
    struct gate_options strict = {0, 0.95, 30};
    struct gate_chunk chunks[4 * CHUNKS];
    int failed = 0;

    (void)state;
    for (uint64_t run = 0; run < 400; run++) {
        struct gate_domain domains[4];
        struct gate_decision decision;

        for (int32_t d = 0; d < 4; d++) {
            name(&domains[d], "d", 1);
            for (size_t i = 0; i < CHUNKS; i++) {
                double z = rng_normal(run, RNG_GATE, (uint64_t)d, i);

                chunks[(size_t)d * CHUNKS + i] = (struct gate_chunk){
                    d, 100, (200 + z) * LN2, 200 * LN2};
            }
        }
        gate_decide(&strict, chunks, 4 * CHUNKS, domains, 4, &decision);
        failed += decision.verdict == GATE_FAIL;
    }
    assert_in_range(failed, 0, 36); /* 20 expected, 3.7 sigma */
}

static void test_json(void **state)
{
    struct gate_domain domains[2];
    struct gate_decision decision;
    struct buf out = BUF_INIT;
    json_t *root;

    (void)state;
    two_domains(0.10, 0.50, true, domains, &decision);
    gate_to_json(&options, domains, 2, &decision, 41, &out);
    root = json_loadb(out.data, out.len, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")),
                        "fail");
    assert_int_equal(json_integer_value(json_object_get(root, "against")),
                     41);
    assert_int_equal(json_array_size(json_object_get(root, "domains")), 2);
    json_decref(root);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_student),
        cmocka_unit_test(test_ratio_estimate),
        cmocka_unit_test(test_one_domain),
        cmocka_unit_test(test_nothing_held_out),
        cmocka_unit_test(test_new_domain_does_not_freeze_serving),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
