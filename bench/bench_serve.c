/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_serve - how fast a version answers on one thread: generation at batch
 * 1, reading a prompt, scoring; beside it a training pass of the same shape.
 *
 *     bench/bench_serve [--layers 6] [--dim 256] [--heads 8]
 *                       [--ffn 688] [--context 256] [--tokens 128]
 *                       [--batch 8] [--windows 7]
 *                       [--only generate,generate8,...]
 *
 * A window generates `tokens` tokens after a prompt of as many, reads a prompt
 * of the whole context, scores, or goes forward and backward through, `batch`
 * segments of it. The windows of all are taken in turns, so that other load on
 * the machine meets each alike; what is printed is the median by the thread's
 * own CPU time. The weights are random, and so is the text.
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/infer.h"
#include "learner/model.h"
#include "learner/ops.h"

#define MAX_WINDOWS 101
#define V 257 /* bytes as tokens */

static struct options {
    int layers, dim, heads, ffn, context, tokens, batch, windows;
    const char *only;
} opt = {6, 256, 8, 688, 256, 128, 8, 7, NULL};

static struct model_shape shape;
static struct model *model;
static struct tokenizer *tokenizer;
static float *params, *grads, *loss;
static struct model_work *work;
static struct infer *held[2], *infer; /* float, int8; the one in turn */
static uint16_t *tokens; /* [batch][context + 1] */
static struct segment *segments;
static struct batch batch;

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* When the first token was there, and the last. */
struct told {
    int n;
    double first, last;
};

static bool tell(uint16_t id, void *arg)
{
    struct told *t = arg;

    (void)id;
    t->last = cpu_seconds();
    if (t->n++ == 0)
        t->first = t->last;
    return false;
}

static struct told generate(size_t prompt, int n)
{
    struct told t = {0};
    struct infer_sampling s;
    struct infer_completion c;

    infer_sampling_default(&s);
    s.max_tokens = n;
    if (infer_complete(infer, tokens, prompt, &s, tell, &t, &c, NULL))
        exit(1);
    infer_completion_release(&c);
    return t;
}

/* The odd end-of-text cuts a window short. */
static double run_generate(void)
{
    struct told t = generate((size_t)opt.tokens, opt.tokens);

    return t.n > 1 ? (t.n - 1) / (t.last - t.first) : 0.0;
}

static double run_prompt(void)
{
    double from = cpu_seconds();

    generate((size_t)opt.context - 1, 1);
    return opt.context / (cpu_seconds() - from);
}

static double run_score(void)
{
    size_t n = (size_t)opt.batch;
    double *nats = xcalloc(n, sizeof *nats), from = cpu_seconds();

    if (infer_segments(infer, segments, n, nats, NULL, NULL, NULL))
        exit(1);
    free(nats);
    return (double)batch.n_tokens / (cpu_seconds() - from);
}

static double run_train(void)
{
    double from = cpu_seconds();

    model_forward(model, params, &batch, work, loss);
    model_backward(model, params, &batch, work, 1.0f / (float)batch.n_tokens,
                   NULL, NULL, grads);
    return (double)batch.n_tokens / (cpu_seconds() - from);
}

static const struct part {
    const char *name, *what;
    double (*run)(void);
    enum infer_quantize quantize;
} parts[] = {
    {"generate", "generation, float", run_generate, INFER_FLOAT},
    {"generate8", "generation, int8", run_generate, INFER_INT8},
    {"prompt", "prompt, float", run_prompt, INFER_FLOAT},
    {"prompt8", "prompt, int8", run_prompt, INFER_INT8},
    {"score", "scoring, float", run_score, INFER_FLOAT},
    {"score8", "scoring, int8", run_score, INFER_INT8},
    {"train", "forward and backward", run_train, INFER_FLOAT},
};

#define N_PARTS (sizeof parts / sizeof *parts)

/* Is it in the comma list of --only? */
static bool wanted(const struct part *p)
{
    size_t n = strlen(p->name);

    if (!opt.only)
        return true;
    for (const char *at = opt.only; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strcspn(at, ",") == n && memcmp(at, p->name, n) == 0)
            return true;
    }
    return false;
}

static void make_text(void)
{
    size_t t = (size_t)opt.context, n = (size_t)opt.batch;

    tokens = xcalloc(n * (t + 1), sizeof *tokens);
    segments = xcalloc(n, sizeof *segments);
    for (size_t i = 0; i < n * (t + 1); i++)
        tokens[i] = (uint16_t)(rng_unit(1, RNG_SAMPLE, 0, i) * (V - 1));
    for (size_t i = 0; i < n; i++) {
        segments[i] = (struct segment){.tokens = tokens + i * (t + 1),
                                       .n_tokens = (uint32_t)t,
                                       .label = -1};
        batch_add(&batch, &segments[i]);
    }
}

static void make_model(void)
{
    struct tensor_list weights = TENSOR_LIST_INIT, none = TENSOR_LIST_INIT;
    struct names labels = NAMES_INIT;
    struct err err = ERR_INIT;

    shape = (struct model_shape){.vocab_size = V,
                                 .dim = opt.dim,
                                 .layers = opt.layers,
                                 .heads = opt.heads,
                                 .kv_heads = opt.heads,
                                 .head_dim = opt.dim / opt.heads,
                                 .ffn_dim = opt.ffn,
                                 .context = opt.context,
                                 .norm_eps = 1e-5f,
                                 .rope_theta = 10000.0f};
    tokenizer = tokenizer_create_bytes();
    if (model_create(&shape, &model, &err))
        goto failed;
    params = xfloats(model->n_params);
    grads = xfloats(model->n_params);
    model_init_params(model, 1, params);
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];

        for (size_t j = 0; t->decays && j < t->count; j++)
            params[t->offset + j] =
                0.02f * (float)rng_normal(1, RNG_INIT, i, j);
        tensor_add_borrowed(&weights, t->name, TENSOR_F32, t->n_dims, t->shape,
                            params + t->offset);
    }
    for (int i = 0; i < 2; i++) {
        struct infer_options o = {.quantize = i ? INFER_INT8 : INFER_FLOAT};

        if (infer_create(&shape, tokenizer, &weights, &none, &labels, &o,
                         &held[i], &err))
            goto failed;
    }
    tensor_list_release(&weights);
    return;
failed:
    fprintf(stderr, "bench_serve: %s\n", err.msg);
    exit(2);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void read_options(int argc, char **argv)
{
    static const struct option longs[] = {
        {"layers", 1, NULL, 'l'},  {"dim", 1, NULL, 'd'},
        {"heads", 1, NULL, 'h'},
        {"ffn", 1, NULL, 'f'},     {"context", 1, NULL, 'c'},
        {"tokens", 1, NULL, 't'},  {"batch", 1, NULL, 'b'},
        {"windows", 1, NULL, 'w'}, {"only", 1, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    static int *const numbers[] = {
        ['l'] = &opt.layers,  ['d'] = &opt.dim,     ['h'] = &opt.heads,
   ['f'] = &opt.ffn,     ['c'] = &opt.context,
        ['t'] = &opt.tokens,  ['b'] = &opt.batch,   ['w'] = &opt.windows,
    };

    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == '?')
            exit(2);
        if (c == 'o')
            opt.only = optarg;
        else
            *numbers[c] = atoi(optarg);
    }
    if (opt.windows < 1 || opt.windows > MAX_WINDOWS) {
        fprintf(stderr, "bench_serve: 1 to %d windows\n", MAX_WINDOWS);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static double rates[N_PARTS][MAX_WINDOWS];
    size_t n = 0;

    read_options(argc, argv);
    ops_init();
    make_model();
    make_text();
    work = model_work_create(model, batch.n_tokens);
    loss = xfloats(batch.n_tokens);
    for (int w = -1; w < opt.windows; w++) /* the first warms up */
        for (size_t i = 0; i < N_PARTS; i++)
            if (wanted(&parts[i])) {
                infer = held[parts[i].quantize];
                rates[i][w < 0 ? 0 : w] = parts[i].run();
            }
    n = (size_t)opt.windows;
    for (size_t i = 0; i < N_PARTS; i++) {
        if (!wanted(&parts[i]))
            continue;
        qsort(rates[i], n, sizeof rates[i][0], by_value);
        printf("%-22s %9.0f tokens/s\n", parts[i].what, rates[i][n / 2]);
    }
    return 0;
}
