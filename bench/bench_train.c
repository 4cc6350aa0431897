/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_train - how fast a model learns here: forward and backward, and with
 * --adamw the update too.
 *
 *     bench/bench_train [--preset small] [--vocab 4096] [--threads 1]
 *                       [--tokens 512] [--segment 256] [--seconds 1]
 *                       [--windows 7] [--adamw]
 *
 * Each thread has its own share of the batch, work and gradients, as the
 * learner's workers have; a step ends when all are done and, with --adamw,
 * when their gradients are summed and the parameters updated, half a thread
 * each. Prints the median over the windows.
 *
 * Model GFLOP are counted from the shapes: 6 for each weight of a product and
 * token, and 12 for each head, dimension and (query, key) pair that causal
 * attention must look at; what is computed twice counts once.
 */
#include "config.h"

#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "learner/model.h"
#include "learner/ops.h"

#define MAX_WINDOWS 101
#define MAX_THREADS 64

static struct options {
    const char *preset;
    int vocab, threads, tokens, segment, windows;
    double seconds;
    bool adamw;
} opt = {"small", 4096, 1, 512, 256, 7, 1.0, false};

struct worker {
    pthread_t thread;
    int id;
    struct batch batch;
    struct model_work *work;
    float *grads, *loss;
};

static struct model *model;
static float *params, *adam_m, *adam_v;
static struct worker workers[MAX_THREADS];
static pthread_barrier_t barrier;
static bool stop;
static int64_t step;

static double model_flop(size_t n_tokens)
{
    const struct model_shape *s = &model->shape;
    double products = 0.0, t = opt.segment;
    double pairs = (double)n_tokens / t * (t * (t + 1.0) / 2.0);

    for (size_t i = 0; i < model->n_tensors; i++)
        if (model->tensors[i].n_dims == 2)
            products += (double)model->tensors[i].count;
    if (!s->tied) /* looking up the embedding is no product */
        products -= (double)s->vocab_size * s->dim;
    return 6.0 * products * (double)n_tokens +
           12.0 * pairs * s->layers * s->heads * s->head_dim;
}

/* A share of an AdamW step in plain loops: the gradients of all threads are
 * summed on the way. The optimizer of the learner is measured elsewhere. */
static void update(int id)
{
    size_t n = model->n_params, share = (n / (size_t)opt.threads + 15) & ~15ul;
    size_t from = (size_t)id * share, to = from + share < n ? from + share : n;
    float c1 = 1.0f / (1.0f - powf(0.9f, (float)step));
    float c2 = 1.0f / (1.0f - powf(0.95f, (float)step));
    float *sum = workers[0].grads;

    for (int t = 1; t < opt.threads; t++) {
        const float *other = workers[t].grads;

#pragma omp simd
        for (size_t i = from; i < to; i++)
            sum[i] += other[i];
    }
#pragma omp simd
    for (size_t i = from; i < to; i++) {
        float g = sum[i];

        adam_m[i] = 0.9f * adam_m[i] + 0.1f * g;
        adam_v[i] = 0.95f * adam_v[i] + 0.05f * g * g;
        params[i] -= 1e-3f * (adam_m[i] * c1 / (sqrtf(adam_v[i] * c2) + 1e-8f) +
                              0.1f * params[i]);
    }
}

static void one_step(struct worker *w)
{
    memset(w->grads, 0, model->n_params * sizeof *w->grads);
    model_forward(model, params, &w->batch, w->work, w->loss);
    model_backward(model, params, &w->batch, w->work, 1.0f / (float)opt.tokens,
                   NULL, NULL, w->grads);
    pthread_barrier_wait(&barrier);
    if (opt.adamw) {
        update(w->id);
        pthread_barrier_wait(&barrier);
    }
}

static void *work(void *arg)
{
    for (;;) {
        pthread_barrier_wait(&barrier);
        if (stop)
            return NULL;
        one_step(arg);
    }
}

static void make_worker(struct worker *w, int id)
{
    size_t share = (size_t)(opt.tokens / opt.threads);
    uint16_t *tokens = xcalloc((size_t)opt.segment + 1, sizeof *tokens);
    struct segment s = {.tokens = tokens, .label = -1};

    w->id = id;
    for (size_t at = 0; at < share; at += s.n_tokens) {
        size_t left = share - at;

        s.n_tokens =
            (uint32_t)(left < (size_t)opt.segment ? left : (size_t)opt.segment);
        for (size_t i = 0; i <= s.n_tokens; i++)
            tokens[i] = (uint16_t)(((at + i) * 7919 + (size_t)id * 31) %
                                   (size_t)opt.vocab);
        batch_add(&w->batch, &s);
    }
    w->work = model_work_create(model, share);
    w->grads = xfloats(model->n_params);
    w->loss = xfloats(share);
    free(tokens);
}

/* Thread 0 is this one. Returns the seconds it took. */
static double run_steps(int n)
{
    int64_t begin = timing_mono_ns();

    for (int i = 0; i < n; i++) {
        step++;
        pthread_barrier_wait(&barrier);
        one_step(&workers[0]);
    }
    return timing_seconds_since(begin);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(void)
{
    double rate[MAX_WINDOWS], took = run_steps(2);
    int n = (int)(opt.seconds / (took / 2.0)) + 1;

    for (int i = 0; i < opt.windows; i++)
        rate[i] = n * opt.tokens / run_steps(n);
    qsort(rate, (size_t)opt.windows, sizeof *rate, compare);
    printf("preset=%s params=%zu vocab=%d threads=%d tokens=%d segment=%d "
           "adamw=%d steps=%d windows=%d tokens_per_second=%.0f "
           "least=%.0f most=%.0f gflops=%.1f loss=%.4f\n",
           opt.preset, model->n_params, opt.vocab, opt.threads, opt.tokens,
           opt.segment, opt.adamw, n, opt.windows, rate[opt.windows / 2],
           rate[0], rate[opt.windows - 1],
           rate[opt.windows / 2] * 1e-9 * model_flop((size_t)opt.tokens) /
               opt.tokens,
           (double)workers[0].loss[0]);
}

/* A whole positive number, or 0, which no option may be. */
static int number(const char *s)
{
    char *end;
    long n = strtol(s, &end, 10);

    return *s == '\0' || *end != '\0' || n < 0 || n > 1 << 24 ? 0 : (int)n;
}

static int parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"preset", 1, 0, 'p'},  {"vocab", 1, 0, 'v'},   {"threads", 1, 0, 't'},
        {"tokens", 1, 0, 'n'},  {"segment", 1, 0, 's'}, {"seconds", 1, 0, 'S'},
        {"windows", 1, 0, 'w'}, {"adamw", 0, 0, 'a'},   {0, 0, 0, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'p':
            opt.preset = optarg;
            break;
        case 'v':
            opt.vocab = number(optarg);
            break;
        case 't':
            opt.threads = number(optarg);
            break;
        case 'n':
            opt.tokens = number(optarg);
            break;
        case 's':
            opt.segment = number(optarg);
            break;
        case 'S':
            opt.seconds = strtod(optarg, NULL);
            break;
        case 'w':
            opt.windows = number(optarg);
            break;
        case 'a':
            opt.adamw = true;
            break;
        default:
            return -1;
        }
    }
    if (opt.threads < 1 || opt.threads > MAX_THREADS || opt.windows < 1 ||
        opt.windows > MAX_WINDOWS || opt.segment < 1 || opt.vocab < 1 ||
        !(opt.seconds > 0.0) || opt.tokens < opt.threads ||
        opt.tokens % opt.threads != 0)
        return -1;
    return 0;
}

int main(int argc, char **argv)
{
    struct model_shape shape;
    struct err err = ERR_INIT;

    if (parse(argc, argv)) {
        fprintf(stderr, "bench_train: see the head of bench/bench_train.c\n");
        return 2;
    }
    ops_init();
    if (model_preset(opt.preset, &shape, &err) == 0)
        shape.vocab_size = opt.vocab;
    if (err.code || model_create(&shape, &model, &err) ||
        opt.segment > shape.context) {
        fprintf(stderr, "bench_train: %s\n",
                err.code ? err.msg : "segment longer than the context");
        return 2;
    }
    params = xfloats(model->n_params);
    adam_m = xfloats(model->n_params);
    adam_v = xfloats(model->n_params);
    model_init_params(model, 1, params);
    pthread_barrier_init(&barrier, NULL, (unsigned)opt.threads);
    for (int i = 0; i < opt.threads; i++)
        make_worker(&workers[i], i);
    for (int i = 1; i < opt.threads; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            return 1;
    fprintf(stderr, "kernels: %s\n", model_kernels());
    measure();
    stop = true;
    pthread_barrier_wait(&barrier);
    for (int i = 1; i < opt.threads; i++)
        pthread_join(workers[i].thread, NULL);
    return 0;
}
