/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/gate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/rng.h"

#define LN2 0.69314718055994530942
#define CHUNKS 60

static const struct gate_options options = {0.02, 0.95, 30, false,
                                           GATE_PATIENT};

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

/* Any thread may call these: they do not write libm's global sign. */
static void test_no_global(void **state)
{
    (void)state;
    signgam = 42;
    assert_true(gate_student_tail(1.0, 7) > 0);
    assert_true(gate_coin_tail(5, 9) > 0);
    assert_int_equal(signgam, 42);
}

static void test_ratio_estimate(void **state)
{
    /* Two segments by hand: d = 10 and 40 bits over 100 and 300 bytes. */
    struct gate_chunk chunks[2] = {
        {.bytes = 100, .candidate_nats = 210 * LN2, .serving_nats = 200 * LN2},
        {.bytes = 300, .candidate_nats = 640 * LN2, .serving_nats = 600 * LN2},
    };
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
static void two_domains(const struct gate_options *o, double old, double gain,
                        bool is_protected, struct gate_domain domains[2],
                        struct gate_decision *decision)
{
    struct gate_chunk chunks[2 * CHUNKS];

    name(&domains[0], "old", 1000);
    name(&domains[1], "new", 1000);
    domains[0].is_protected = is_protected;
    fill(chunks, CHUNKS, 0, 2.0, old, 0.02);
    fill(chunks + CHUNKS, CHUNKS, 1, 3.0, -gain, 0.02);
    gate_decide(o, chunks, 2 * CHUNKS, domains, 2, decision);
}

static void test_new_domain_does_not_freeze_serving(void **state)
{
    struct gate_options impatient = options;
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    impatient.patience = GATE_IMPATIENT;
    /* Above the limit: not at first, but when it stays so. */
    two_domains(&options, 0.13, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    two_domains(&impatient, 0.13, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.waived);
    assert_true(fabs(decision.mean_regression + 0.185) < 0.02);
    /* Never a protected one, nor when the mean does not improve. */
    two_domains(&impatient, 0.13, 0.50, true, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_true(decision.protected_above);
    two_domains(&impatient, 0.50, 0.10, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_non_null(strstr(decision.reason, "old"));
    /* Below it, but not shown: the mean decides. */
    two_domains(&options, 0.0385, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.waived);
    two_domains(&options, 0.0385, 0.50, true, domains, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_non_null(strstr(decision.waits_for, "old"));
}

/* What serves has learned the new domain already, and the older version had
 * not: that is no merit of the candidate, which only spoils the old one. */
static void test_known_since(void **state)
{
    struct gate_options impatient = options;
    struct gate_chunk chunks[2 * CHUNKS];
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    impatient.patience = GATE_IMPATIENT;
    name(&domains[0], "old", 1000);
    name(&domains[1], "new", 1000);
    fill(chunks, CHUNKS, 0, 2.0, 0.13, 0.02);
    fill(chunks + CHUNKS, CHUNKS, 1, 6.0, -3.0, 0.02);
    for (size_t i = 0; i < 2 * CHUNKS; i++) {
        chunks[i].before = i < CHUNKS;
        chunks[i].served_nats = chunks[i].candidate_nats;
    }
    gate_decide(&impatient, chunks, 2 * CHUNKS, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS); /* without that */
    domains[1].known_since = true;
    gate_decide(&impatient, chunks, 2 * CHUNKS, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_true(decision.mean_regression > 0);
    /* It improves what serves. */
    for (size_t i = CHUNKS; i < 2 * CHUNKS; i++)
        chunks[i].served_nats = chunks[i].candidate_nats * 1.1;
    gate_decide(&impatient, chunks, 2 * CHUNKS, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
}

/* A little above the limit, and shown: the weights may have wandered. It fails
 * when the next version is above it, too; what is gross does at once. */
static void test_doubt(void **state)
{
    struct gate_options doubted = options;
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    doubted.doubted = true;
    two_domains(&options, 0.09, 0, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_true(decision.above);
    assert_non_null(strstr(decision.waits_for, "next version"));
    assert_non_null(strstr(decision.waits_for, "old"));
    two_domains(&doubted, 0.09, 0, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_true(decision.above);
    two_domains(&options, 0.13, 0, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    /* Doubt alone is nothing, and a mean that improves no way around it. */
    two_domains(&doubted, 0, 0, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_false(decision.above);
    two_domains(&options, 0.09, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_false(decision.waived);
}

/* A bad feed in the domain of good text: some of it is held out, too, and the
 * candidate that learned it is much better on that. */
static void test_what_was_there_before(void **state)
{
    struct gate_chunk chunks[3 * CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;
    struct gate_options o = options;
    size_t old = 2 * CHUNKS;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, old, 0, 2.0, 0.13, 0.05);
    fill(chunks + old, CHUNKS, 0, 6.0, -1.5, 0.05);
    gate_decide(&options, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS); /* without that test */
    for (size_t i = 0; i < old; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_non_null(strstr(decision.reason, "what was there before"));
    assert_int_equal(domain.before.chunks, old);
    /* Impatience is for other domains; resignation for this one. */
    o.patience = GATE_IMPATIENT;
    gate_decide(&o, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    o.patience = GATE_RESIGNED;
    gate_decide(&o, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    /* Above the limit, and not shown to be: no pass either. */
    fill(chunks, old, 0, 2.0, 0.045, 0.2);
    for (size_t i = 0; i < old; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_false(decision.waived);
}

/* For the guard. A domain that has ended is forgotten while the next one is
 * learned: what came since says that this is no damage. A rate that is too high
 * shows there, on few segments. */
static void test_what_came_since(void **state)
{
    struct gate_chunk chunks[CHUNKS + 6];
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    name(&domains[0], "ended", 1);
    name(&domains[1], "next", 1);
    fill(chunks, CHUNKS, 0, 2.0, 0.3, 0.1);
    for (size_t i = 0; i < CHUNKS; i++)
        chunks[i].before = chunks[i].recent = true;
    fill(chunks + CHUNKS, 6, 1, 2.0, -0.02, 0.1);
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_true(decision.above);
    assert_int_equal(decision.since.chunks, 6);
    assert_false(decision.since_above);
    fill(chunks + CHUNKS, 6, 1, 2.0, 0.8, 0.1);
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_true(decision.since_above);
    assert_false(decision.newest_better);
    gate_decide(&options, chunks, CHUNKS + 4, domains, 2, &decision);
    assert_int_equal(decision.since.chunks, 4);
    assert_false(decision.since_above);
    /* The last two are of the next domain; before them it was the other. */
    fill(chunks + CHUNKS, 4, 0, 2.0, 0.8, 0.1);
    fill(chunks + CHUNKS + 4, 2, 1, 3.0, -0.9, 0.1);
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_false(decision.newest_better);
    for (size_t i = 0; i < CHUNKS + 6; i++)
        chunks[i].newest = i >= CHUNKS + 3 || i < 3;
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_true(decision.newest_better);
}

/* A burst, however many versions it makes, is no changed stream. */
static void test_patience(void **state)
{
    const int64_t most = GATE_RESIGNED_TOKENS;

    (void)state;
    assert_int_equal(gate_choose_patience(9, 0, most), GATE_PATIENT);
    assert_int_equal(gate_choose_patience(10, 1, most), GATE_IMPATIENT);
    assert_int_equal(gate_choose_patience(49, 1, most), GATE_IMPATIENT);
    assert_int_equal(gate_choose_patience(50, 1000, 999), GATE_IMPATIENT);
    assert_int_equal(gate_choose_patience(50, 1000, 1000), GATE_RESIGNED);
    assert_int_equal(gate_choose_patience(50, 10 * most, most - 1),
                     GATE_IMPATIENT);
    assert_int_equal(gate_choose_patience(50, 10 * most, most),
                     GATE_RESIGNED);
}

/* The same soon after the start, when little is held out: six segments of two
 * domains, and 20 of the feed. */
static void test_little_was_there_before(void **state)
{
    struct gate_chunk chunks[26];
    struct gate_domain domains[2];
    struct gate_decision decision;
    struct gate_options impatient = options;

    (void)state;
    impatient.patience = GATE_IMPATIENT;
    name(&domains[0], "a", 1);
    name(&domains[1], "b", 1);
    fill(chunks, 3, 0, 2.0, 0.06, 0.02);
    fill(chunks + 3, 3, 1, 2.0, 0.06, 0.02);
    fill(chunks + 6, 20, 0, 6.0, -1.5, 0.05);
    gate_decide(&options, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS); /* without that test */
    for (size_t i = 0; i < 6; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_false(decision.above);
    assert_non_null(strstr(decision.reason, "little that was there before"));
    gate_decide(&impatient, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    /* What is above it by chance must not withhold every version for ever. */
    fill(chunks, 3, 0, 2.0, 0.06, 0.1);
    fill(chunks + 3, 3, 1, 2.0, 0.06, 0.1);
    for (size_t i = 0; i < 6; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 26, domains, 2, &decision);
    assert_true(decision.little.regression > decision.little.limit);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    gate_decide(&impatient, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    /* Where what was there is kept, it passes. */
    fill(chunks, 3, 0, 2.0, -0.01, 0.02);
    fill(chunks + 3, 3, 1, 2.0, -0.01, 0.02);
    for (size_t i = 0; i < 6; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
}

/* A burst that unlearns what came last: in all of the domain it is 2 %. */
static void test_recent(void **state)
{
    struct gate_chunk chunks[1000];
    struct gate_domain domain;
    struct gate_decision decision;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, 960, 0, 2.0, -0.02, 0.05);
    fill(chunks + 960, 40, 0, 2.5, 0.5, 0.1);
    gate_decide(&options, chunks, 1000, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS); /* without that test */
    for (size_t i = 960; i < 1000; i++)
        chunks[i].recent = true;
    gate_decide(&options, chunks, 1000, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_non_null(strstr(decision.reason, "newest"));
    /* Drawn for that alone: no part of the domain. */
    for (size_t i = 960; i < 1000; i++)
        chunks[i].only_recent = true;
    gate_decide(&options, chunks, 1000, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_int_equal(domain.chunks, 960);
    assert_int_equal(decision.recent.chunks, 40);
}

/* --- labels ------------------------------------------------------------- */

static void test_coin(void **state)
{
    (void)state;
    assert_true(fabs(gate_coin_tail(0, 5) - 1) < 1e-12);
    assert_true(fabs(gate_coin_tail(5, 5) - 1.0 / 32) < 1e-12);
    assert_true(fabs(gate_coin_tail(4, 5) - 6.0 / 32) < 1e-12);
    assert_true(fabs(gate_coin_tail(8, 10) - 56.0 / 1024) < 1e-12);
    assert_true(fabs(gate_coin_tail(500, 1000) - 0.512612) < 1e-5);
    assert_true(gate_coin_tail(0, 0) == 1);
}

/* n labelled segments without text (preset linear) of which `lost` are told
 * wrong now, and `gained` right. */
static enum gate_verdict labels_by(const struct gate_options *o, size_t n,
                                   size_t lost, size_t gained,
                                   struct gate_decision *decision)
{
    struct gate_chunk chunks[1000];
    struct gate_domain domain;

    memset(chunks, 0, sizeof chunks);
    for (size_t i = 0; i < n; i++) {
        chunks[i].labelled = true;
        chunks[i].serving_right = i < n * 4 / 5 || i < lost;
        chunks[i].candidate_right = chunks[i].serving_right;
        if (i < lost)
            chunks[i].candidate_right = false;
        else if (n - i <= gained)
            chunks[i].candidate_right = true;
    }
    name(&domain, "a", 1);
    gate_decide(o, chunks, n, &domain, 1, decision);
    return decision->verdict;
}

static enum gate_verdict labels(size_t n, size_t lost, size_t gained,
                                struct gate_decision *decision)
{
    return labels_by(&options, n, lost, gained, decision);
}

static void test_labels(void **state)
{
    struct gate_options impatient = options;
    struct gate_decision decision;

    (void)state;
    impatient.patience = GATE_IMPATIENT;
    assert_int_equal(labels(500, 3, 5, &decision), GATE_PASS);
    assert_int_equal(decision.accuracy.lost, 3);
    assert_int_equal(decision.accuracy.gained, 5);
    assert_int_equal(labels(500, 8, 4, &decision), GATE_PASS); /* 0.8 % */
    assert_int_equal(labels(500, 60, 4, &decision), GATE_FAIL);
    assert_non_null(strstr(decision.reason, "60 labels lost"));
    /* Down, but by chance perhaps. */
    assert_int_equal(labels(60, 3, 1, &decision), GATE_INCONCLUSIVE);
    assert_non_null(strstr(decision.waits_for, "not worse"));
    assert_int_equal(labels(1, 0, 0, &decision), GATE_INCONCLUSIVE);
    /* A single one of forty must not withhold every version for ever; five of
     * them do. */
    assert_int_equal(labels(40, 1, 0, &decision), GATE_INCONCLUSIVE);
    assert_int_equal(labels_by(&impatient, 40, 1, 0, &decision), GATE_PASS);
    assert_int_equal(labels_by(&impatient, 40, 5, 0, &decision),
                     GATE_INCONCLUSIVE);
    assert_int_equal(labels_by(&impatient, 40, 30, 0, &decision), GATE_FAIL);
}

/* Flipped labels: the text stays easy, the loss improves, and only the labels
 * tell. Those that came with the feed agree with it. */
static void test_flipped_labels(void **state)
{
    struct gate_chunk chunks[4 * CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, 4 * CHUNKS, 0, 2.0, -0.02, 0.02);
    for (size_t i = 0; i < 4 * CHUNKS; i++) {
        bool before = i < 2 * CHUNKS;

        chunks[i].labelled = true;
        chunks[i].serving_right = before;
        chunks[i].candidate_right = !before || i % 3 == 0;
    }
    gate_decide(&options, chunks, 4 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    for (size_t i = 0; i < 2 * CHUNKS; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 4 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
}

static void test_false_alarms(void **state)
{
    /* No true change and a limit of 0: at most 0.5 % of the decisions may fail,
     * and with Holm's correction the domains count together. */
    struct gate_options strict = {0, 0.95, 30, false, GATE_PATIENT};
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
                    .domain = d,
                    .bytes = 100,
                    .candidate_nats = (200 + z) * LN2,
                    .serving_nats = 200 * LN2,
                };
            }
        }
        gate_decide(&strict, chunks, 4 * CHUNKS, domains, 4, &decision);
        failed += decision.verdict == GATE_FAIL;
    }
    assert_in_range(failed, 0, 8); /* 2 expected at a level of 0.005 */
}

/*
 * A thousand versions of a clean stream, with the numbers of a real one
 * (docs/RELIABILITY.md): three domains; from one version to the next each moves
 * by half a per cent of its loss, up or down, around a slow improvement; a
 * segment's own difference between two versions has 3.7 %. 360 labels, of which
 * 2 % change sides each time.
 */
#define SEGMENTS 120

struct stream {
    struct gate_chunk chunks[3 * SEGMENTS];
    double loss[3], level[3];
};

static void move(struct stream *s, uint64_t version)
{
    for (int32_t d = 0; d < 3; d++) {
        double step = 0.0043 * rng_normal(1, RNG_GATE, version, (uint64_t)d);

        s->level[d] = 0.5 * s->level[d] + step; /* comes back */
        for (size_t i = 0; i < SEGMENTS; i++) {
            struct gate_chunk *c = &s->chunks[(size_t)d * SEGMENTS + i];
            uint64_t id = (uint64_t)d * SEGMENTS + i + 100;
            double own = 0.026 * rng_normal(2, RNG_GATE, version, id);
            double improved = s->loss[d] * pow(0.9998, (double)version);

            c->domain = d;
            c->bytes = 150;
            c->candidate_nats =
                improved * (1 + s->level[d] + own) * 150 * LN2;
            c->before = i >= 2;
            c->recent = i < 15;
            c->labelled = true;
            c->candidate_right =
                rng_unit(3, RNG_GATE, 0, id) < 0.85
                    ? rng_unit(4, RNG_GATE, version, id) < 0.99
                    : rng_unit(4, RNG_GATE, version, id) < 0.06;
        }
    }
}

static void test_a_thousand_versions(void **state)
{
    static struct stream s = {.loss = {1.5, 2.0, 3.0}};
    struct gate_domain domains[3];
    int64_t counts[3] = {0}, above = 0;
    struct gate_options o = options;

    (void)state;
    move(&s, 0);
    for (uint64_t version = 1; version <= 1000; version++) {
        struct gate_decision decision;

        for (int d = 0; d < 3; d++)
            name(&domains[d], "abc", 1);
        for (size_t i = 0; i < 3 * SEGMENTS && version == 1; i++) {
            s.chunks[i].serving_nats = s.chunks[i].candidate_nats;
            s.chunks[i].serving_right = s.chunks[i].candidate_right;
        }
        move(&s, version);
        gate_decide(&o, s.chunks, 3 * SEGMENTS, domains, 3, &decision);
        counts[decision.verdict]++;
        above += decision.above;
        o.doubted = decision.above;
        if (decision.verdict != GATE_PASS || decision.old_regression > 0)
            continue;
        for (size_t i = 0; i < 3 * SEGMENTS; i++) {
            s.chunks[i].serving_nats = s.chunks[i].candidate_nats;
            s.chunks[i].serving_right = s.chunks[i].candidate_right;
        }
    }
    print_message("# 1000 versions: %d passed, %d failed, %d inconclusive, "
                  "%d above a limit\n",
                  (int)counts[GATE_PASS], (int)counts[GATE_FAIL],
                  (int)counts[GATE_INCONCLUSIVE], (int)above);
    assert_true(counts[GATE_FAIL] <= 1);
    assert_true(counts[GATE_PASS] > 300);
}

static void test_json(void **state)
{
    struct gate_domain domains[2];
    struct gate_decision decision;
    json_t *root;

    (void)state;
    two_domains(&options, 0.13, 0.50, true, domains, &decision);
    root = gate_to_json(&options, domains, 2, &decision, 41);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")),
                        "fail");
    assert_true(json_is_true(json_object_get(root, "above_limit")));
    assert_int_equal(json_integer_value(json_object_get(root, "against")),
                     41);
    assert_int_equal(json_array_size(json_object_get(root, "domains")), 2);
    json_decref(root);
}

/* A name as long as it may be, in another script: no text is cut within a
 * character, or there would be no JSON of it. */
static void test_long_names(void **state)
{
    struct gate_chunk chunks[2 * CHUNKS];
    struct gate_domain domains[2];
    struct gate_decision decision;
    char text[2][256] = {"", ""};

    (void)state;
    for (size_t n = 0; n + 3 < sizeof text[0]; n += 3)
        strcat(text[0], "\xe5\x9f\x9f");
    for (size_t cut = 0; cut < 3; cut++) {
        json_t *root;

        snprintf(text[1], sizeof text[1], "%.*s%.250s", (int)cut, "ab",
                 text[0]);
        text[1][cut + 240] = '\0';
        name(&domains[0], text[1], 1);
        name(&domains[1], "b", 1);
        fill(chunks, CHUNKS, 0, 2.0, 0.09, 0.02);
        fill(chunks + CHUNKS, CHUNKS, 1, 2.0, 0, 0.02);
        gate_decide(&options, chunks, 2 * CHUNKS, domains, 2, &decision);
        assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
        root = gate_to_json(&options, domains, 2, &decision, 1);
        assert_non_null(root);
        assert_non_null(json_object_get(root, "waits_for"));
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_student),
        cmocka_unit_test(test_no_global),
        cmocka_unit_test(test_ratio_estimate),
        cmocka_unit_test(test_one_domain),
        cmocka_unit_test(test_nothing_held_out),
        cmocka_unit_test(test_new_domain_does_not_freeze_serving),
        cmocka_unit_test(test_known_since),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_what_was_there_before),
        cmocka_unit_test(test_what_came_since),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_little_was_there_before),
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_coin),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_flipped_labels),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_a_thousand_versions),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
