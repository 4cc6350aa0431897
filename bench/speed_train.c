/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures the real learner with one shard for each thread. The learner gets an
 * anchor and a Fisher estimate, as after a consolidation, so that EWC computes
 * its penalty.
 *
 * Extra steps after the windows measure the shares, because clocks around each
 * operation take time.
 */
#include "config.h"

#include "bench/speed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "bench/timed_ops.h"
#include "learner/learner.h"
#include "learner/learner_private.h"

#define FISHER 1e-4f
#define LAMBDA 10.0f

struct training {
    const struct speed_options *options;
    const struct shape *shape;
    struct learner *learner;
    struct segment *segments; /* [shape->batch] */
    size_t steps, skipped;
};

/* --- memory ------------------------------------------------------------- */

/* Returns the bytes that can be allocated without swapping; 0: unknown. */
static size_t available_bytes(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (size_t)kib * 1024;
}

static int check_memory(const struct learner_options *o, size_t step_tokens,
                        struct err *err)
{
    size_t needed = learner_bytes(o, step_tokens);
    size_t free_bytes = available_bytes();

    if (free_bytes == 0 || needed <= free_bytes)
        return 0;
    return err_set(err, ERR_LIMIT, "%.1f GiB of memory are needed, %.1f free",
                   (double)needed / (1 << 30),
                   (double)free_bytes / (1 << 30));
}

/* --- the learner -------------------------------------------------------- */

static void consolidate(struct learner *l)
{
    size_t n = l->model->n_params;

    memcpy(l->ewc.anchor, l->params, n * sizeof *l->params);
    for (size_t i = 0; i < n; i++)
        l->ewc.fisher[i] = FISHER;
    l->ewc.consolidations = 1;
}

static int training_init(struct training *t, const struct speed_options *o,
                         const struct shape *s, struct err *err)
{
    struct learner_options options;
    int rc;

    *t = (struct training){.options = o, .shape = s};
    learner_options_default(&options);
    options.shape = &s->model;
    options.threads = options.shards = o->threads;
    options.ewc.lambda = LAMBDA;
    options.ewc.consolidate = EWC_OFF; /* the penalty stays */
    rc = check_memory(&options, s->sequence * s->batch, err);
    if (rc == 0)
        rc = learner_create(&options, &t->learner, err);
    if (rc)
        return rc;
    consolidate(t->learner);
    t->segments = xcalloc(s->batch, sizeof *t->segments);
    return 0;
}

static void training_release(struct training *t)
{
    learner_free(t->learner);
    free(t->segments);
}

static int step(void *arg, struct err *err)
{
    struct training *t = arg;
    const struct shape *s = t->shape;
    struct learner_step_input in = {.fresh = t->segments, .n_fresh = s->batch};
    struct learner_step_output out = {0};
    int rc = corpus_segments(t->options->corpus, s->model.vocab_size,
                             s->sequence, t->steps++ * s->batch, s->batch,
                             t->segments, err);

    if (rc == 0)
        rc = learner_step(t->learner, &in, &out, err);
    t->skipped += out.skipped;
    return rc;
}

/* --- shares ------------------------------------------------------------- */

void speed_shares(const struct spent *spent, int threads, double seconds,
                  double shares[SPENT_PARTS + 1])
{
    double rest = 1.0;

    for (int i = 0; i < SPENT_PARTS; i++) {
        shares[i] = (double)spent->ns[i] * 1e-9 / (seconds * threads);
        rest -= shares[i];
    }
    shares[SPENT_PARTS] = rest > 0.0 ? rest : 0.0;
}

/* Runs at least two steps. */
static int measure_shares(struct training *t, double *shares, struct err *err)
{
    int64_t begin = timing_mono_ns();
    struct spent spent;
    double seconds;
    int rc = 0;

    timed_ops_on(&spent);
    for (int i = 0; rc == 0 && (i < 2 || timing_seconds_since(begin) <
                                             t->options->seconds);
         i++)
        rc = step(t, err);
    seconds = timing_seconds_since(begin);
    timed_ops_off();
    speed_shares(&spent, t->options->threads, seconds, shares);
    return rc;
}

int speed_train(const struct speed_options *o, const struct shape *s,
                struct speed_train *result, struct err *err)
{
    struct training t;
    int rc = training_init(&t, o, s, err);

    memset(result, 0, sizeof *result);
    result->step_tokens = s->sequence * s->batch;
    if (rc == 0)
        rc = speed_windows(o, step, &t, (double)result->step_tokens,
                           &result->rate, err);
    if (rc == 0)
        rc = measure_shares(&t, result->shares, err);
    if (rc == 0) {
        result->n_params = learner_params(t.learner);
        result->flop_a_token =
            shape_step_flop(t.learner->model, s->sequence, s->batch) /
            (double)result->step_tokens;
        result->gflops =
            figure_median(&result->rate) * result->flop_a_token * 1e-9;
        result->skipped = t.skipped;
    }
    training_release(&t);
    return rc;
}
