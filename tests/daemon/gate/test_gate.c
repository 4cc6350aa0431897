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

static const struct gate_options options = {
    .max_regression = 0.02, .confidence = 0.95, .min_chunks = 30};

/* n segments of a domain. The reference has `loss` bits per byte, the candidate
 * `shift` more, with noise of standard deviation `noise` on the difference. */
static size_t fill(struct gate_chunk *out, size_t n, int32_t domain,
                   double loss, double shift, double noise)
{
    for (size_t i = 0; i < n; i++) {
        double bytes = 100 + (double)(i % 7) * 40;
        double z = rng_normal(7, RNG_GATE, (uint64_t)domain, i);

        out[i] = (struct gate_chunk){
            .domain = domain,
            .bytes = bytes,
            .reference_nats = loss * bytes * LN2,
            .candidate_nats = (loss + shift + noise * z) * bytes * LN2,
        };
    }
    return n;
}

static void name(struct gate_domain *d, const char *text, double traffic)
{
    *d = (struct gate_domain){.name = text, .traffic = traffic};
}

static void test_ratio_estimate(void **state)
{
    /* Two segments by hand: d = 10 and 40 bits over 100 and 300 bytes. */
    struct gate_chunk chunks[2] = {
        {.bytes = 100,
         .candidate_nats = 210 * LN2,
         .reference_nats = 200 * LN2},
        {.bytes = 300,
         .candidate_nats = 640 * LN2,
         .reference_nats = 600 * LN2},
    };
    struct gate_domain domain;
    struct gate_decision decision;
    double ratio = 50.0 / 400.0;
    double r0 = 10 - ratio * 100, r1 = 40 - ratio * 300;

    (void)state;
    name(&domain, "a", 1);
    gate_decide(&options, chunks, 2, &domain, 1, &decision);
    assert_true(fabs(domain.all.regression - ratio) < 1e-12);
    assert_true(fabs(domain.all.error -
                     sqrt((r0 * r0 + r1 * r1) * 2 / 1) / 400) < 1e-12);
    assert_true(fabs(domain.all.reference - 2.0) < 1e-12);
    assert_true(fabs(domain.all.limit - 0.04) < 1e-12);
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
    /* A single segment has no standard error, however large its difference. */
    assert_int_equal(one_domain(-1.0, 0.0, GATE_FEWEST_CHUNKS - 1),
                     GATE_INCONCLUSIVE);
    /* A small domain is tested in the pool. */
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

static void test_new_domain(void **state)
{
    struct gate_options lenient = options;
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    lenient.patience = GATE_NEW_DOMAIN;
    /* A domain above its limit passes only after many refusals. */
    two_domains(&options, 0.13, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    two_domains(&lenient, 0.13, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.waived);
    assert_true(fabs(decision.mean_regression + 0.185) < 0.02);
    /* Never if it is protected, nor if the mean does not improve. */
    two_domains(&lenient, 0.13, 0.50, true, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    two_domains(&lenient, 0.50, 0.10, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_non_null(strstr(decision.reason, "old"));
    /* The estimate is below the limit, but the test is not significant: a mean
     * that improves decides. */
    two_domains(&options, 0.0385, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.waived);
    two_domains(&options, 0.0385, 0.50, true, domains, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_non_null(strstr(decision.waits_for, "old"));
}

/* The serving version has learned the new domain already, and the reference has
 * not. The candidate gains nothing over the serving version there, and loses on
 * the old domain. */
static void test_served_only(void **state)
{
    struct gate_options lenient = options;
    struct gate_chunk chunks[2 * CHUNKS];
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    lenient.patience = GATE_NEW_DOMAIN;
    name(&domains[0], "old", 1000);
    name(&domains[1], "new", 1000);
    fill(chunks, CHUNKS, 0, 2.0, 0.13, 0.02);
    fill(chunks + CHUNKS, CHUNKS, 1, 6.0, -3.0, 0.02);
    for (size_t i = 0; i < 2 * CHUNKS; i++) {
        chunks[i].before = i < CHUNKS;
        chunks[i].serving_nats = chunks[i].candidate_nats;
    }
    gate_decide(&lenient, chunks, 2 * CHUNKS, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS); /* without the marks */
    domains[1].served_only = true;
    gate_decide(&lenient, chunks, 2 * CHUNKS, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_true(decision.mean_regression > 0);
    /* It improves on the serving version. */
    for (size_t i = CHUNKS; i < 2 * CHUNKS; i++)
        chunks[i].serving_nats = chunks[i].candidate_nats * 1.1;
    gate_decide(&lenient, chunks, 2 * CHUNKS, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
}

/* A significant regression a little above the limit: the weights may have
 * wandered. The candidate fails if the one before was above a limit, too. A
 * gross regression fails at once. */
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
    /* Doubt alone fails nothing, and a mean that improves does not help. */
    two_domains(&doubted, 0, 0, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_false(decision.above);
    two_domains(&options, 0.09, 0.50, false, domains, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_false(decision.waived);
}

/* A bad feed in the domain of good text. Some of it is held out, too, and the
 * candidate that learned it is much better on that part. */
static void test_before(void **state)
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
    assert_non_null(strstr(decision.reason, "older than the reference"));
    assert_int_equal(domain.before.chunks, old);
    /* Another domain may outweigh the loss first; later the same one may. */
    o.patience = GATE_NEW_DOMAIN;
    gate_decide(&o, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    o.patience = GATE_CHANGED_STREAM;
    gate_decide(&o, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    /* The estimate exceeds the limit, but the test is not significant: no pass
     * either. */
    fill(chunks, old, 0, 2.0, 0.045, 0.2);
    for (size_t i = 0; i < old; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    assert_false(decision.waived);
}

/* The guard asks for the newest segments: after a change of domain the
 * candidate is better there, though it is worse on all others. */
static void test_newest(void **state)
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
    fill(chunks + CHUNKS, 4, 0, 2.0, 0.8, 0.1);
    fill(chunks + CHUNKS + 4, 2, 1, 3.0, -0.9, 0.1);
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_false(decision.newest_better); /* none is marked */
    /* Segments from before the reference do not count. */
    for (size_t i = 0; i < CHUNKS + 6; i++)
        chunks[i].newest = i >= CHUNKS + 3 || i < 3;
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_true(decision.newest_better);
    for (size_t i = CHUNKS; i < CHUNKS + 6; i++)
        chunks[i].newest = true;
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_false(decision.newest_better);
    /* Without a loss the labels tell. */
    for (size_t i = 0; i < CHUNKS + 6; i++) {
        chunks[i].bytes = chunks[i].candidate_nats = 0;
        chunks[i].reference_nats = 0;
        chunks[i].labelled = chunks[i].newest = true;
        chunks[i].candidate_right = !chunks[i].before;
        chunks[i].reference_right = chunks[i].before;
    }
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_true(decision.newest_better);
}

/* The guard asks, too, whether the candidate is worse on segments that arrived
 * after the reference. A domain that has ended is forgotten while the next one
 * is learned; a learning rate that is too high shows on both. */
static void test_since(void **state)
{
    struct gate_chunk chunks[CHUNKS + 6];
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    name(&domains[0], "ended", 1);
    name(&domains[1], "next", 1);
    fill(chunks, CHUNKS, 0, 2.0, 0.3, 0.1);
    for (size_t i = 0; i < CHUNKS; i++)
        chunks[i].before = true;
    fill(chunks + CHUNKS, 6, 1, 2.0, -0.02, 0.1);
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_true(decision.above);
    assert_int_equal(decision.since.chunks, 6);
    assert_false(decision.since_above);
    fill(chunks + CHUNKS, 6, 1, 2.0, 0.8, 0.1);
    gate_decide(&options, chunks, CHUNKS + 6, domains, 2, &decision);
    assert_true(decision.since_above);
    gate_decide(&options, chunks, CHUNKS + 4, domains, 2, &decision);
    assert_int_equal(decision.since.chunks, 4);
    assert_false(decision.since_above);
}

/* A short burst is no changed stream, however many versions it makes. */
static void test_patience(void **state)
{
    const int64_t most = GATE_CHANGED_STREAM_TOKENS;

    (void)state;
    assert_int_equal(gate_choose_patience(9, 0, most), GATE_STRICT);
    assert_int_equal(gate_choose_patience(10, 1, most), GATE_NEW_DOMAIN);
    assert_int_equal(gate_choose_patience(49, 1, most), GATE_NEW_DOMAIN);
    assert_int_equal(gate_choose_patience(50, 1000, 999), GATE_NEW_DOMAIN);
    assert_int_equal(gate_choose_patience(50, 1000, 1000), GATE_CHANGED_STREAM);
    assert_int_equal(gate_choose_patience(50, 10 * most, most - 1),
                     GATE_NEW_DOMAIN);
    assert_int_equal(gate_choose_patience(50, 10 * most, most),
                     GATE_CHANGED_STREAM);
}

/* The same soon after the start, when few segments are held out: six of two
 * domains, and 20 of the feed. */
static void test_few_before(void **state)
{
    struct gate_chunk chunks[26];
    struct gate_domain domains[2];
    struct gate_decision decision;
    struct gate_options lenient = options;

    (void)state;
    lenient.patience = GATE_NEW_DOMAIN;
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
    assert_non_null(strstr(decision.reason, "few segments older"));
    gate_decide(&lenient, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    /* A chance excess must not withhold every candidate for ever. */
    fill(chunks, 3, 0, 2.0, 0.06, 0.1);
    fill(chunks + 3, 3, 1, 2.0, 0.06, 0.1);
    for (size_t i = 0; i < 6; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 26, domains, 2, &decision);
    assert_true(decision.few_before.regression > decision.few_before.limit);
    assert_int_equal(decision.verdict, GATE_INCONCLUSIVE);
    gate_decide(&lenient, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    /* A candidate that keeps the older text passes. */
    fill(chunks, 3, 0, 2.0, -0.01, 0.02);
    fill(chunks + 3, 3, 1, 2.0, -0.01, 0.02);
    for (size_t i = 0; i < 6; i++)
        chunks[i].before = true;
    gate_decide(&options, chunks, 26, domains, 2, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
}

/* A burst that unlearns the newest text, which is 4 % of the domain. */
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
    /* Sampled only for this test: no part of the domain. */
    for (size_t i = 960; i < 1000; i++)
        chunks[i].only_recent = true;
    gate_decide(&options, chunks, 1000, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_int_equal(domain.all.chunks, 960);
    assert_int_equal(decision.recent.chunks, 40);
}

/* After many refusals the mean may outweigh a domain's loss only if the newest
 * segments improve, too. */
static void test_recent_improves(void **state)
{
    struct gate_options lenient = options;
    struct gate_chunk chunks[3 * CHUNKS];
    struct gate_domain domains[2];
    struct gate_decision decision;

    (void)state;
    lenient.patience = GATE_NEW_DOMAIN;
    for (int better = 0; better < 2; better++) {
        name(&domains[0], "old", 1000);
        name(&domains[1], "new", 1000);
        fill(chunks, CHUNKS, 0, 2.0, 0.13, 0.02);
        fill(chunks + CHUNKS, CHUNKS, 1, 3.0, -0.50, 0.02);
        fill(chunks + 2 * CHUNKS, CHUNKS, 1, 3.0, better ? -0.1 : 0.01, 0.02);
        for (size_t i = 2 * CHUNKS; i < 3 * CHUNKS; i++)
            chunks[i].recent = chunks[i].only_recent = true;
        gate_decide(&lenient, chunks, 3 * CHUNKS, domains, 2, &decision);
        assert_int_equal(decision.verdict, better ? GATE_PASS : GATE_FAIL);
        assert_int_equal(decision.waived, better);
    }
}

/* --- labels ------------------------------------------------------------- */

/* n labelled segments without a loss (preset linear). The candidate classifies
 * `lost` of them wrongly that the reference did not; `gained`, the reverse. */
static enum gate_verdict labels_by(const struct gate_options *o, size_t n,
                                   size_t lost, size_t gained,
                                   struct gate_decision *decision)
{
    struct gate_chunk chunks[1000];
    struct gate_domain domain;

    memset(chunks, 0, sizeof chunks);
    for (size_t i = 0; i < n; i++) {
        chunks[i].labelled = true;
        chunks[i].reference_right = i < n * 4 / 5 || i < lost;
        chunks[i].candidate_right = chunks[i].reference_right;
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
    struct gate_options lenient = options;
    struct gate_decision decision;

    (void)state;
    lenient.patience = GATE_NEW_DOMAIN;
    assert_int_equal(labels(500, 3, 5, &decision), GATE_PASS);
    assert_int_equal(decision.accuracy.lost, 3);
    assert_int_equal(decision.accuracy.gained, 5);
    assert_int_equal(labels(500, 8, 4, &decision), GATE_PASS); /* 0.8 % */
    assert_int_equal(labels(500, 60, 4, &decision), GATE_FAIL);
    assert_non_null(strstr(decision.reason, "60 labels lost"));
    /* The accuracy fell, but perhaps by chance. */
    assert_int_equal(labels(60, 3, 1, &decision), GATE_INCONCLUSIVE);
    assert_non_null(strstr(decision.waits_for, "not worse"));
    assert_int_equal(labels(1, 0, 0, &decision), GATE_INCONCLUSIVE);
    /* One of forty labels must not withhold every candidate for ever; five of
     * them do. */
    assert_int_equal(labels(40, 1, 0, &decision), GATE_INCONCLUSIVE);
    assert_int_equal(labels_by(&lenient, 40, 1, 0, &decision), GATE_PASS);
    assert_int_equal(labels_by(&lenient, 40, 5, 0, &decision),
                     GATE_INCONCLUSIVE);
    assert_int_equal(labels_by(&lenient, 40, 30, 0, &decision), GATE_FAIL);
}

/* Flipped labels: the loss improves, and only the labels tell. Labels that
 * arrived with the feed agree with it. */
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
        chunks[i].reference_right = before;
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
    /* Without a true change and with a limit of 0, at most 0.5 % of the
     * candidates may fail; Holm's correction makes that a bound over all
     * domains. */
    struct gate_options strict = options;
    struct gate_chunk chunks[4 * CHUNKS];
    int failed = 0;

    (void)state;
    strict.max_regression = 0;
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
                    .reference_nats = 200 * LN2,
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
            s.chunks[i].reference_nats = s.chunks[i].candidate_nats;
            s.chunks[i].reference_right = s.chunks[i].candidate_right;
        }
        move(&s, version);
        gate_decide(&o, s.chunks, 3 * SEGMENTS, domains, 3, &decision);
        counts[decision.verdict]++;
        above += decision.above;
        o.doubted = decision.above;
        if (decision.verdict != GATE_PASS || decision.old_regression > 0)
            continue;
        for (size_t i = 0; i < 3 * SEGMENTS; i++) {
            s.chunks[i].reference_nats = s.chunks[i].candidate_nats;
            s.chunks[i].reference_right = s.chunks[i].candidate_right;
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

/* The longest names, in another script: no text is cut within a character,
 * which would leave no JSON. */
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
        cmocka_unit_test(test_ratio_estimate),
        cmocka_unit_test(test_one_domain),
        cmocka_unit_test(test_nothing_held_out),
        cmocka_unit_test(test_new_domain),
        cmocka_unit_test(test_served_only),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_before),
        cmocka_unit_test(test_newest),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_few_before),
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_recent_improves),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_flipped_labels),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_a_thousand_versions),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
