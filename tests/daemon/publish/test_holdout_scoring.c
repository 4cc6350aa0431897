/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which losses are computed, and what becomes of them. This program has its own
 * sample, catalog, versions and model: a segment's loss is the version's number
 * times its key.
 */
#include "config.h"

#include "daemon/publish/holdout_scoring.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/holdout_sample.h"

#define MOST 16

static struct world {
    struct segment segments[MOST];
    int64_t keys[MOST];
    struct holdout_sample_role roles[MOST];
    size_t n;
    struct holdout_sample_options asked;
    int64_t missing;     /* the version that cannot be loaded */
    int64_t no_metadata; /* the version whose metadata is damaged */
    int scored[4];   /* segments computed, by version */
    int references;  /* versions taken and not given back */
    int rc;          /* of infer_segments */
} w;

static int weights[4]; /* &weights[N] is the model of version N */

/* Version N has learned 50 N records: first 1,000 bytes of domain a, for
 * version 2 500 bytes of b, and for version 3 another 1,500. */
int catalog_get(struct catalog *c, int64_t version, struct catalog_version *v,
                struct err *err)
{
    struct progress p;
    struct buf metadata = BUF_INIT;

    (void)c;
    if (version == w.no_metadata)
        return err_set(err, ERR_CORRUPT, "metadata");
    progress_init(&p);
    p.records.learned = 50;
    progress_learned(&p, progress_domain_id(&p, "a", MOST), NAN, 1000, 100);
    p.records.learned = 50 * version;
    if (version > 1)
        progress_learned(&p, progress_domain_id(&p, "b", MOST), NAN, 500, 100);
    if (version > 2)
        progress_learned(&p, progress_domain_id(&p, "b", MOST), NAN, 1500, 100);
    progress_export(&p, 0, "", NULL, &metadata);
    progress_release(&p);
    *v = (struct catalog_version){.version = version};
    v->metadata_json = buf_detach(&metadata);
    return 0;
}

void catalog_version_release(struct catalog_version *v)
{
    free(v->metadata_json);
}

const struct infer *serving_get(struct serving *s, int64_t version,
                                int64_t *got, struct err *err)
{
    (void)s;
    *got = version;
    if (version == w.missing) {
        err_set(err, ERR_CORRUPT, "version %d is damaged", (int)version);
        return NULL;
    }
    w.references++;
    return (const struct infer *)&weights[version];
}

void serving_put(struct serving *s, const struct infer *infer)
{
    (void)s;
    w.references -= infer != NULL;
}

const struct model_shape *infer_shape(const struct infer *f)
{
    (void)f;
    return NULL;
}

int infer_segments(const struct infer *f, const struct segment *segments,
                   size_t n, double *nats, uint8_t *right,
                   const atomic_bool *stop, struct err *err)
{
    ptrdiff_t version = (const int *)(const void *)f - weights;

    (void)stop;
    if (w.rc)
        return err_set(err, w.rc, "a loss of nan");
    for (size_t i = 0; i < n; i++) {
        nats[i] = (double)version * segments[i].text_bytes;
        right[i] = segments[i].text_bytes % 2;
    }
    w.scored[version] += (int)n;
    return 0;
}

int holdout_sample_take(struct catalog *catalog, int64_t version,
                        const struct holdout_sample_options *options,
                        struct holdout_sample *out, struct err *err)
{
    (void)catalog;
    (void)version;
    (void)err;
    w.asked = *options;
    *out = (struct holdout_sample){
        .segments = {.items = w.segments, .n = w.n, .n_damaged = 1},
        .n = w.n,
        .keys = w.keys,
        .roles = w.roles,
        .n_rows = 77,
    };
    return 0;
}

void holdout_sample_release(struct holdout_sample *s)
{
    (void)s;
}

/* The sample has the keys first to first + n - 1. */
static void sample(int64_t first, size_t n)
{
    memset(w.scored, 0, sizeof w.scored);
    w.n = n;
    for (size_t i = 0; i < n; i++) {
        w.keys[i] = first + (int64_t)i;
        w.segments[i] = (struct segment){.n_bytes = 100,
                                         .label = -1,
                                         .text_bytes = (uint32_t)w.keys[i]};
        w.roles[i] = (struct holdout_sample_role){.even = true};
    }
}

static int run(struct holdout_scoring *h, int64_t version, int64_t reference,
               struct holdout_scoring_result *out)
{
    const struct holdout_scoring_task task = {
        .version = version,
        .candidate = (const struct infer *)&weights[version],
        .reference = reference,
        .reference_rows = 50,
        .compared_rows = 60,
    };
    struct err err = ERR_INIT;

    return holdout_scoring_run(h, &task, out, &err);
}

static const char *protect[] = {"b"};
static const struct conf conf = {
    .publish.gate = {.max_tokens = 4096,
                     .traffic_half_life = 100,
                     .protect = {.items = (char **)protect, .n = 1}},
    .learner.seed = 42};

static void test_losses(void **state)
{
    struct holdout_scoring *h = holdout_scoring_create(&conf, NULL, NULL);
    struct holdout_scoring_result s;

    (void)state;
    memset(&w, 0, sizeof w);
    sample(1, 4);
    w.segments[1].domain = 1;
    w.segments[2].label = 0;
    w.roles[2] = (struct holdout_sample_role){
        .recent = true, .newest = true, .is_new = true};
    w.roles[3].before = true;
    assert_int_equal(run(h, 3, 1, &s), 0);
    assert_int_equal(w.asked.reference_rows, 50);
    assert_int_equal(w.asked.compared_rows, 60);
    assert_int_equal(w.asked.max_tokens, 4096);
    assert_int_equal(w.asked.seed, 42);
    assert_int_equal(w.asked.limits.domains, 2);
    assert_int_equal(s.n_chunks, 4);
    assert_int_equal(s.n_rows, 77);
    for (int i = 0; i < 4; i++) {
        assert_float_equal(s.chunks[i].candidate_nats, 3 * (i + 1), 0);
        assert_float_equal(s.chunks[i].reference_nats, i + 1, 0);
        assert_int_equal(s.chunks[i].newest, i == 2);
        assert_int_equal(s.chunks[i].labelled, i == 2);
        assert_int_equal(s.chunks[i].before, i == 3);
        assert_int_equal(s.is_new[i], i == 2);
    }
    /* The candidate's own results leave the recent segment out. */
    assert_int_equal(s.n_results, 2);
    assert_int_equal(s.results[0].chunks, 2);
    assert_float_equal(s.results[0].bits_per_byte,
                       3 * (1 + 4) / 200.0 / 0.69314718055994530942, 1e-12);
    assert_int_equal(w.references, 0);
    holdout_scoring_release(&s);
    holdout_scoring_free(h);
}

/* Of two candidates in a row only new segments are scored again. */
static void test_known_losses(void **state)
{
    struct holdout_scoring *h = holdout_scoring_create(&conf, NULL, NULL);
    struct holdout_scoring_result s;

    (void)state;
    memset(&w, 0, sizeof w);
    sample(1, 8);
    assert_int_equal(run(h, 2, 1, &s), 0);
    assert_int_equal(w.scored[1], 8);
    assert_int_equal(w.scored[2], 8);
    holdout_scoring_release(&s);
    /* Version 2 has become the reference. */
    sample(4, 8);
    assert_int_equal(run(h, 3, 2, &s), 0);
    assert_int_equal(w.scored[1], 0);
    assert_int_equal(w.scored[2], 3);
    assert_int_equal(w.scored[3], 8);
    for (int i = 0; i < 8; i++) {
        assert_float_equal(s.chunks[i].reference_nats, 2 * (i + 4), 0);
        assert_int_equal(s.chunks[i].reference_right, (i + 4) % 2);
    }
    holdout_scoring_release(&s);
    holdout_scoring_free(h);
}

static void test_domains(void **state)
{
    struct holdout_scoring *h = holdout_scoring_create(&conf, NULL, NULL);
    struct holdout_scoring_result s;

    (void)state;
    memset(&w, 0, sizeof w);
    assert_int_equal(run(h, 3, 1, &s), 0);
    assert_int_equal(s.n_domains, 2);
    assert_string_equal(s.domains[1].name, "b");
    assert_false(s.domains[0].is_protected);
    assert_true(s.domains[1].is_protected);
    /* Half of the traffic of a, which was learned a half-life ago. */
    assert_float_equal(s.domains[0].traffic, 500, 1e-9);
    assert_float_equal(s.domains[1].traffic, 2000, 1e-9);
    /* 1,000 bytes of a when version 1 was made, and no more since; b is new. */
    assert_float_equal(s.domains[0].old_traffic, 1000, 1e-9);
    assert_float_equal(s.domains[0].learned_since, 0, 0);
    assert_float_equal(s.domains[1].old_traffic, 0, 0);
    assert_float_equal(s.domains[1].learned_since, 2000, 0);
    holdout_scoring_release(&s);
    assert_int_equal(run(h, 3, 2, &s), 0);
    assert_float_equal(s.domains[1].old_traffic, 500, 1e-9);
    assert_float_equal(s.domains[1].learned_since, 1500, 0);
    holdout_scoring_release(&s);
    holdout_scoring_free(h);
}

static void test_errors(void **state)
{
    struct holdout_scoring *h = holdout_scoring_create(&conf, NULL, NULL);
    struct holdout_scoring_result s;

    (void)state;
    memset(&w, 0, sizeof w);
    sample(1, 2);
    /* Without a reference only the candidate is scored. */
    assert_int_equal(run(h, 3, 0, &s), 0);
    assert_int_equal(w.scored[3], 2);
    assert_true(w.asked.reference_rows == INT64_MAX);
    holdout_scoring_release(&s);
    w.missing = 1;
    assert_int_equal(run(h, 3, 1, &s), ERR_CORRUPT);
    assert_true(s.no_reference);
    holdout_scoring_release(&s);
    w.missing = 0;
    w.no_metadata = 1;
    assert_int_equal(run(h, 3, 1, &s), ERR_CORRUPT);
    assert_true(s.no_reference);
    holdout_scoring_release(&s);
    w.no_metadata = 3; /* the candidate */
    assert_int_equal(run(h, 3, 1, &s), ERR_CORRUPT);
    assert_false(s.no_reference);
    holdout_scoring_release(&s);
    w.no_metadata = 0;
    w.rc = ERR_DIVERGED;
    assert_int_equal(run(h, 3, 1, &s), ERR_DIVERGED);
    assert_int_equal(s.n_chunks, 0);
    holdout_scoring_release(&s);
    assert_int_equal(w.references, 0);
    holdout_scoring_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_known_losses),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
