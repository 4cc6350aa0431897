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

static const struct gate_options options = {.max_regression = 0.02,
                                            .max_domain_regression = 0.10,
                                            .confidence = 0.95};

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
            .before = true,
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

/* --- one domain --------------------------------------------------------- */

static void test_estimate(void **state)
{
    /* Two segments by hand: relative changes of 0.05 and 1, clipped to 0.25. */
    const struct gate_chunk chunks[3] = {
        {.bytes = 100,
         .candidate_nats = 210 * LN2,
         .reference_nats = 200 * LN2},
        {.bytes = 7, .candidate_nats = 1, .reference_nats = 2},
        {.bytes = 300,
         .candidate_nats = 1200 * LN2,
         .reference_nats = 600 * LN2},
    };
    const bool selected[3] = {true, false, true};
    struct gate_part p = gate_estimate(chunks, 3, selected, 0.25);
    double x = (100 * 0.05 + 300 * 0.25) / 400;
    double r0 = 100 * (0.05 - x), r1 = 300 * (0.25 - x);

    (void)state;
    assert_int_equal(p.chunks, 2);
    assert_float_equal(p.reference, 2.0, 1e-12);
    assert_float_equal(p.candidate, 1410.0 / 400, 1e-12);
    assert_float_equal(p.regression, 2 * x, 1e-12);
    assert_float_equal(p.error, 2 * sqrt((r0 * r0 + r1 * r1) * 2 / 1) / 400,
                       1e-12);
    assert_float_equal(p.degrees, 1, 0);
    p = gate_estimate(chunks, 3, selected, 1);
    assert_float_equal(p.regression, 2 * (100 * 0.05 + 300) / 400, 1e-12);
}

/* A segment that costs less than a bit per byte counts as if it cost one. */
static void test_cheap_text(void **state)
{
    struct gate_chunk chunks[CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;

    (void)state;
    name(&domain, "a", 1);
    /* From 0.3 to 0.315 bits per byte: 5 % of it, 1.5 % of a bit. */
    fill(chunks, CHUNKS, 0, 0.3, 0.015, 0.001);
    gate_decide(&options, chunks, CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_float_equal(domain.part.reference, 0.3, 1e-9);
    assert_float_equal(domain.part.unit, 1, 1e-9);
    assert_float_equal(domain.part.regression, 0.015, 0.001);
    assert_float_equal(domain.part.limit, 0.1, 1e-9);
    fill(chunks, CHUNKS, 0, 0.3, 0.03, 0.001);
    gate_decide(&options, chunks, CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
}

/* A segment that costs nothing under both versions has not changed. */
static void test_no_loss(void **state)
{
    const struct gate_chunk chunks[2] = {
        {.bytes = 100, .candidate_nats = 200, .reference_nats = 200},
        {.bytes = 100},
    };
    const bool selected[2] = {true, true};
    struct gate_part p = gate_estimate(chunks, 2, selected, 0.25);

    (void)state;
    assert_float_equal(p.regression, 0, 0);
    assert_float_equal(p.error, 0, 0);
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
    assert_int_equal(one_domain(0.03, 0.02, CHUNKS), GATE_PASS);
    assert_int_equal(one_domain(0.06, 0.02, CHUNKS), GATE_FAIL);
    assert_int_equal(one_domain(0.30, 0.05, CHUNKS), GATE_FAIL);
    /* Above the limit, but not shown to be worse. */
    assert_int_equal(one_domain(0.1, 0.3, 2), GATE_PASS);
    /* A single segment has no standard error, however large its difference. */
    assert_int_equal(one_domain(1.0, 0.0, 1), GATE_PASS);
    assert_int_equal(one_domain(1.0, 0.2, 5), GATE_FAIL);
}

static void test_nothing_held_out(void **state)
{
    struct gate_decision decision;

    (void)state;
    gate_decide(&options, NULL, 0, NULL, 0, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.is_better);
    assert_non_null(strstr(decision.reason, "no held-out segment"));
}

/* --- several domains ---------------------------------------------------- */

/* Domain 0 becomes worse by `old`, domain 1 better by `gain`. */
static void two_domains(double old, double gain, bool is_protected,
                        struct gate_domain domains[2],
                        struct gate_decision *decision)
{
    struct gate_chunk chunks[2 * CHUNKS];

    domains[0].name = "old";
    domains[1].name = "new";
    domains[0].is_protected = is_protected;
    fill(chunks, CHUNKS, 0, 2.0, old, 0.02);
    fill(chunks + CHUNKS, CHUNKS, 1, 3.0, -gain, 0.02);
    gate_decide(&options, chunks, 2 * CHUNKS, domains, 2, decision);
}

static void test_weights(void **state)
{
    struct gate_domain domains[2];
    struct gate_decision d;

    (void)state;
    name(&domains[0], "old", 3000);
    name(&domains[1], "new", 1000);
    two_domains(0.13, 0.50, false, domains, &d);
    assert_float_equal(d.mean.regression,
                       (3 * domains[0].part.regression +
                        domains[1].part.regression) / 4, 1e-12);
    assert_float_equal(d.mean.reference, (3 * 2.0 + 3.0) / 4, 1e-12);
    assert_float_equal(d.mean.limit, 0.02 * (3 * 2.0 + 3.0) / 4, 1e-12);
    assert_float_equal(d.mean.error,
                       sqrt(pow(3 * domains[0].part.error, 2) +
                            pow(domains[1].part.error, 2)) / 4, 1e-12);
    /* Satterthwaite: between the smaller number of degrees and the sum. */
    assert_true(d.mean.degrees > CHUNKS - 1 &&
                d.mean.degrees < 2 * (CHUNKS + GATE_PRIOR));
    /* What is asked for counts: 6.5 % on three quarters of the traffic is
     * outweighed by a gain on the rest, and not on less. */
    assert_int_equal(d.verdict, GATE_PASS);
    assert_true(d.is_better);
    domains[1].traffic = 100;
    two_domains(0.13, 0.50, false, domains, &d);
    assert_int_equal(d.verdict, GATE_FAIL);
    assert_non_null(strstr(d.reason, "recent traffic"));
    assert_false(d.is_better);
    /* A domain that nobody sends any more counts only by its own limit. */
    domains[0].traffic = 0;
    two_domains(0.13, 0.50, false, domains, &d);
    assert_int_equal(d.verdict, GATE_PASS);
    two_domains(0.30, 0.50, false, domains, &d);
    assert_int_equal(d.verdict, GATE_FAIL);
    assert_non_null(strstr(d.reason, "old"));
}

static void test_protected(void **state)
{
    struct gate_domain domains[2];
    struct gate_decision d;

    (void)state;
    name(&domains[0], "old", 1000);
    name(&domains[1], "new", 1000);
    two_domains(0.13, 0.50, true, domains, &d);
    assert_int_equal(d.verdict, GATE_FAIL);
    assert_non_null(strstr(d.reason, "old"));
    /* Within its limit it passes, but the reference stays. */
    two_domains(0.02, 0.50, true, domains, &d);
    assert_int_equal(d.verdict, GATE_PASS);
    assert_false(d.is_better);
    two_domains(0.02, 0.50, false, domains, &d);
    assert_true(d.is_better);
}

/* Two segments with nearly the same difference, by chance: their own error is
 * near 0. The other domain shows how much segments differ. */
static void test_few_segments(void **state)
{
    struct gate_chunk chunks[CHUNKS + 2];
    struct gate_domain domains[2];
    struct gate_decision d;
    double v0, v1, expected;

    (void)state;
    name(&domains[0], "a", 1);
    name(&domains[1], "b", 1);
    fill(chunks, 2, 0, 2.0, 0.25, 0.0001);
    fill(chunks + 2, CHUNKS, 1, 2.0, -0.3, 0.2);
    gate_decide(&options, chunks, CHUNKS + 2, domains, 2, &d);
    assert_int_equal(d.verdict, GATE_PASS);
    assert_float_equal(domains[0].part.degrees, 1 + GATE_PRIOR, 0);
    {
        bool selected[CHUNKS + 2] = {true, true};
        struct gate_part a = gate_estimate(chunks, CHUNKS + 2, selected,
                                           GATE_CLIP), b;

        for (size_t i = 0; i < CHUNKS + 2; i++)
            selected[i] = i >= 2;
        b = gate_estimate(chunks, CHUNKS + 2, selected,
                                           GATE_CLIP);
        v0 = 2 * pow(a.error / a.unit, 2);
        v1 = CHUNKS * pow(b.error / b.unit, 2);
    }
    expected = (GATE_PRIOR * v1 + v0) / (GATE_PRIOR + 1);
    assert_float_equal(domains[0].part.error,
                       domains[0].part.reference * sqrt(expected / 2), 1e-9);
    /* One segment borrows all of its error. */
    gate_decide(&options, chunks + 1, CHUNKS + 1, domains, 2, &d);
    assert_float_equal(domains[0].part.degrees, GATE_PRIOR, 0);
    assert_true(isfinite(domains[0].part.error));
}

/* A bad feed in the domain of good text. Some of it is held out, too, and the
 * candidate that learned it is much better on that part. */
static void test_before(void **state)
{
    struct gate_chunk chunks[3 * CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;
    size_t old = 2 * CHUNKS;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, old, 0, 2.0, 0.13, 0.05);
    fill(chunks + old, CHUNKS, 0, 6.0, -1.5, 0.05);
    for (size_t i = old; i < old + CHUNKS; i++)
        chunks[i].before = false;
    gate_decide(&options, chunks, 3 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_int_equal(domain.part.chunks, old);
    assert_false(domain.is_new);
    /* The domain is new to the reference: it counts by its own loss. */
    gate_decide(&options, chunks + old, CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_int_equal(domain.part.chunks, CHUNKS);
    assert_true(domain.is_new);
}

/* The same segments. The longer the new text lasts, the less the old text
 * counts. */
static void test_changed_text(void **state)
{
    struct gate_chunk chunks[3 * CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;
    size_t n = 3 * CHUNKS, old = 2 * CHUNKS;
    double regression, error;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, old, 0, 2.0, 0.13, 0.05);
    fill(chunks + old, CHUNKS, 0, 6.0, -1.5, 0.05);
    for (size_t i = old; i < n; i++)
        chunks[i].before = false;
    gate_decide(&options, chunks, n, &domain, 1, &decision);
    regression = domain.part.regression;
    error = domain.part.error;
    assert_float_equal(domain.part.share, 1, 0);
    /* Until three times the traffic was learned, all of it counts. */
    domain.old_traffic = 1000;
    domain.learned_since = 3000;
    gate_decide(&options, chunks, n, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL); /* 6.5 % */
    assert_float_equal(domain.part.share, 1, 0);
    domain.learned_since = 3001;
    gate_decide(&options, chunks, n, &domain, 1, &decision);
    assert_float_equal(domain.part.share, 1 / 4.001, 1e-12);
    assert_float_equal(domain.part.regression, regression / 4.001, 1e-12);
    assert_float_equal(domain.part.error, error / 4.001, 1e-12);
    assert_float_equal(decision.mean.share, 1 / 4.001, 1e-12);
    /* 1.5 of 6 bits per byte are gained, up to the noise. */
    assert_float_equal(decision.mean.with_after,
                       (regression - 3.001 * 1.5) / 4.001, 0.02);
    /* The gain on the new text lets the reference move on. */
    assert_int_equal(decision.verdict, GATE_PASS); /* 6.5 % / 4 */
    assert_true(decision.mean.regression > 0);
    assert_true(decision.is_better);
    /* The old text of a protected domain always counts. */
    domain.is_protected = true;
    gate_decide(&options, chunks, n, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_float_equal(domain.part.share, 1, 0);
    domain.is_protected = false;
    /* A gain on the old text counts in full. */
    fill(chunks, old, 0, 2.0, -0.13, 0.05);
    gate_decide(&options, chunks, n, &domain, 1, &decision);
    assert_float_equal(domain.part.share, 1, 0);
    fill(chunks, old, 0, 2.0, 0.13, 0.05);
    /* When the new text did not improve, the text is the same, and the candidate
     * is worse. */
    fill(chunks + old, CHUNKS, 0, 2.0, 0.13, 0.05);
    for (size_t i = old; i < n; i++)
        chunks[i].before = false;
    gate_decide(&options, chunks, n, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_float_equal(domain.part.share, 1, 0);
}

/* The first records of a bad feed were held out before the reference. What the
 * candidate gains on them does not hide what it loses on the others. */
static void test_outliers(void **state)
{
    struct gate_chunk chunks[15];
    struct gate_domain domain;
    struct gate_decision decision;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, 13, 0, 1.3, 0.1, 0.02);
    fill(chunks + 13, 2, 0, 15.0, -6.0, 0.1);
    gate_decide(&options, chunks, 15, &domain, 1, &decision);
    assert_true(domain.part.candidate < domain.part.reference);
    assert_int_equal(decision.verdict, GATE_FAIL);
}

/* --- labels ------------------------------------------------------------- */

/* n labelled segments without a loss (preset linear). The candidate classifies
 * `lost` of them wrongly that the reference did not; `gained`, the reverse. */
static enum gate_verdict labels(size_t n, size_t lost, size_t gained,
                                struct gate_decision *decision)
{
    struct gate_chunk chunks[1000];
    struct gate_domain domain;

    memset(chunks, 0, sizeof chunks);
    for (size_t i = 0; i < n; i++) {
        chunks[i].before = chunks[i].labelled = true;
        chunks[i].reference_right = i < n * 4 / 5 || i < lost;
        chunks[i].candidate_right = chunks[i].reference_right;
        if (i < lost)
            chunks[i].candidate_right = false;
        else if (n - i <= gained)
            chunks[i].candidate_right = true;
    }
    name(&domain, "a", 1);
    gate_decide(&options, chunks, n, &domain, 1, decision);
    return decision->verdict;
}

static void test_labels(void **state)
{
    struct gate_decision decision;

    (void)state;
    assert_int_equal(labels(500, 3, 5, &decision), GATE_PASS);
    assert_int_equal(decision.accuracy.lost, 3);
    assert_int_equal(decision.accuracy.gained, 5);
    assert_true(decision.is_better);
    assert_non_null(strstr(decision.reason, "3 labels lost"));
    assert_int_equal(labels(500, 8, 4, &decision), GATE_PASS); /* 0.8 % */
    assert_false(decision.is_better);
    assert_int_equal(labels(500, 60, 4, &decision), GATE_FAIL);
    assert_non_null(strstr(decision.reason, "60 labels lost"));
    /* The accuracy fell, but perhaps by chance. */
    assert_int_equal(labels(60, 3, 1, &decision), GATE_PASS);
    assert_int_equal(labels(1, 0, 0, &decision), GATE_PASS);
    assert_int_equal(labels(40, 1, 0, &decision), GATE_PASS);
    assert_int_equal(labels(40, 7, 0, &decision), GATE_PASS); /* 1/128 */
    assert_int_equal(labels(40, 8, 0, &decision), GATE_FAIL); /* 1/256 */
    assert_float_equal(decision.accuracy.p, 1 / 256.0, 1e-9);
    /* Of 400 labels that were right it may lose eight. */
    assert_int_equal(labels(500, 15, 0, &decision), GATE_PASS);
    assert_int_equal(labels(500, 16, 0, &decision), GATE_FAIL);
}

/* Flipped labels: the loss improves, and only the labels tell. Labels that
 * arrived with the feed agree with it. */
static void test_flipped_labels(void **state)
{
    struct gate_chunk chunks[4 * CHUNKS];
    struct gate_domain domain;
    struct gate_decision decision;
    json_t *root, *accuracy;

    (void)state;
    name(&domain, "a", 1);
    fill(chunks, 4 * CHUNKS, 0, 2.0, -0.02, 0.02);
    for (size_t i = 0; i < 4 * CHUNKS; i++) {
        chunks[i].before = i < CHUNKS;
        chunks[i].labelled = true;
        chunks[i].reference_right = chunks[i].before;
        chunks[i].candidate_right = !chunks[i].before || i % 3 == 0;
    }
    gate_decide(&options, chunks, 4 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_int_equal(decision.accuracy.labelled, CHUNKS);
    /* 40 of 60 are lost, and one may be. They have to be a fortieth of the
     * labels until that is nothing. */
    domain.old_traffic = 1000;
    domain.learned_since = 9000;
    gate_decide(&options, chunks, 4 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_FAIL);
    assert_int_equal(decision.accuracy.allowed, 12);
    root = gate_to_json(&options, &domain, 1, &decision, 1);
    accuracy = json_object_get(root, "accuracy");
    assert_int_equal(json_integer_value(json_object_get(accuracy, "allowed")),
                     12);
    assert_float_equal(json_real_value(json_object_get(accuracy, "old_share")),
                       decision.accuracy.share, 1e-12);
    assert_true(decision.accuracy.share < 1);
    json_decref(root);
    domain.learned_since = 39000;
    gate_decide(&options, chunks, 4 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
    assert_true(decision.is_better);
    for (size_t i = 0; i < CHUNKS; i++)
        chunks[i].before = false;
    gate_decide(&options, chunks, 4 * CHUNKS, &domain, 1, &decision);
    assert_int_equal(decision.verdict, GATE_PASS);
}

/* --- false alarms ------------------------------------------------------- */

/* Without a true change and with limits of 0 (the worst case), a test fails
 * with its level: the mean with 5 %, and all domains together with 5 %, also
 * when some have very few segments. With a single domain the tests are one.
 *   n  segments of each domain, 0 at the end
 *   returns how many of 4,000 fail */
static int count_failed(const size_t n[5])
{
    struct gate_options strict = options;
    int failed = 0;

    strict.max_regression = strict.max_domain_regression = 0;
    for (uint64_t run = 0; run < 4000; run++) {
        struct gate_chunk chunks[50];
        struct gate_domain domains[4];
        struct gate_decision decision;
        size_t k = 0;
        int32_t d;

        for (d = 0; n[d]; d++) {
            name(&domains[d], "d", 1);
            for (size_t i = 0; i < n[d]; i++) {
                double z = rng_normal(run, RNG_GATE, (uint64_t)d, i);

                chunks[k++] = (struct gate_chunk){
                    .domain = d,
                    .before = true,
                    .bytes = 100,
                    .candidate_nats = (200 + z) * LN2,
                    .reference_nats = 200 * LN2,
                };
            }
        }
        gate_decide(&strict, chunks, k, domains, (size_t)d, &decision);
        failed += decision.verdict == GATE_FAIL;
    }
    print_message("# %zu, %zu, %zu, %zu segments: %.1f %% failed\n", n[0], n[1],
                  n[2], n[3], failed / 40.0);
    return failed;
}

static void test_levels(void **state)
{
    (void)state;
    for (size_t n = 2; n <= 6; n++)
        assert_in_range(count_failed((size_t[5]){n}), 160, 240);
    assert_in_range(count_failed((size_t[5]){2, 2}), 160, 400);
    assert_in_range(count_failed((size_t[5]){2, 3, 4}), 160, 400);
    assert_in_range(count_failed((size_t[5]){2, 2, 20, 20}), 160, 400);
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
    int failed = 0;

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
        gate_decide(&options, s.chunks, 3 * SEGMENTS, domains, 3, &decision);
        failed += decision.verdict == GATE_FAIL;
        if (decision.verdict == GATE_FAIL)
            print_message("# version %d: %s\n", (int)version, decision.reason);
        if (decision.verdict != GATE_PASS || !decision.is_better)
            continue;
        for (size_t i = 0; i < 3 * SEGMENTS; i++) {
            s.chunks[i].reference_nats = s.chunks[i].candidate_nats;
            s.chunks[i].reference_right = s.chunks[i].candidate_right;
        }
    }
    print_message("# 1,000 versions: %d failed\n", failed);
    assert_true(failed <= 1);
}

/* --- as JSON ------------------------------------------------------------ */

static void test_json(void **state)
{
    struct gate_domain domains[2];
    struct gate_decision decision;
    json_t *root, *domain;

    (void)state;
    name(&domains[0], "old", 1000);
    name(&domains[1], "new", 1000);
    two_domains(0.13, 0.50, true, domains, &decision);
    root = gate_to_json(&options, domains, 2, &decision, 41);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")),
                        "fail");
    assert_int_equal(json_integer_value(json_object_get(root, "against")),
                     41);
    assert_int_equal(json_array_size(json_object_get(root, "domains")), 2);
    domain = json_array_get(json_object_get(root, "domains"), 0);
    assert_float_equal(json_real_value(json_object_get(domain, "limit")), 0.04,
                       1e-9);
    assert_true(json_is_true(json_object_get(domain, "protected")));
    json_decref(root);
    gate_decide(&options, NULL, 0, NULL, 0, &decision);
    root = gate_to_json(&options, NULL, 0, &decision, 41);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "mean")));
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
        fill(chunks, CHUNKS, 0, 2.0, 0.30, 0.02);
        fill(chunks + CHUNKS, CHUNKS, 1, 2.0, -0.3, 0.02);
        gate_decide(&options, chunks, 2 * CHUNKS, domains, 2, &decision);
        assert_int_equal(decision.verdict, GATE_FAIL);
        root = gate_to_json(&options, domains, 2, &decision, 1);
        assert_non_null(root);
        assert_non_null(json_object_get(root, "reason"));
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_cheap_text),
        cmocka_unit_test(test_no_loss),
        cmocka_unit_test(test_one_domain),
        cmocka_unit_test(test_nothing_held_out),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_protected),
        cmocka_unit_test(test_few_segments),
        cmocka_unit_test(test_before),
        cmocka_unit_test(test_changed_text),
        cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_flipped_labels),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_a_thousand_versions),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
