/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_learn - measures learning and forgetting on a sequence of domains.
 *
 *     bench/bench_learn [--preset nano] [--vocab 0] [--lr 3e-3] [--beta1 B]
 *                       [--beta2 B] [--decay W] [--batch 512] [--ratio 1]
 *                       [--buffer 100] [--lambda 0|auto|L]
 *                       [--consolidate auto|STEPS] [--seed 42]
 *                       [--average D[,D]...] [--threads 1] [--skip 0]
 *                       [--bytes 300000] [--record 2000] [--hold-out 20]
 *                       TEXTFILE...
 *
 * Each file is a domain. The domains are learned in the given order, in one
 * pass each: --bytes bytes after the first --skip, cut at line ends into
 * records of about --record bytes. One record in --hold-out is held out. The
 * replay buffer is the daemon's, in memory.
 *   --vocab   0: bytes; else byte-level BPE, trained on the files
 *   --buffer  capacity of the replay buffer, in percent of the stream
 *   --lambda  0: no EWC
 *   --average  decays of moving averages, which are kept beside the learner's
 *              own; from 1 on: a number of tokens T, for exp(-tokens / T)
 * Prints for each domain its prequential loss, and then the losses on the
 * held-out records of all domains so far, in bits per byte, and their mean: a
 * line for the served weights and, with --average, one for the live weights and
 * one for each average. At the end: the mean and the forgetting of the served
 * weights (docs/LEARNING.md), and the processor seconds of learning.
 */
#include "config.h"

#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "learner/tokenizer/cut.h"
#include "learner/learner_private.h"
#include "learner/model.h"
#include "replay/replay.h"

#define MAX_DOMAINS 16
#define EVAL_TOKENS 4096
#define MAX_AVERAGES 8

static struct options {
    const char *preset;
    int vocab, batch, threads, record;
    size_t n_bytes, skip, hold_out;
    double ratio, buffer;
    struct learner_options learner;
} opt = {.preset = "nano",
         .batch = 512,
         .threads = 1,
         .record = 2000,
         .n_bytes = 300000,
         .hold_out = 20,
         .ratio = 1.0,
         .buffer = 100.0};

/* One file, cut into segments. */
struct domain {
    struct buf text;
    struct cut *cuts;
    struct segment *train, *held;
    size_t n_cuts, n_train, n_held;
};

static struct domain domains[MAX_DOMAINS];
/* [learned][domain] bits per byte of the served weights */
static double losses[MAX_DOMAINS][MAX_DOMAINS];
static size_t n_domains;
static struct tokenizer *tokenizer;
static struct model_shape shape;
static struct learner *learner;
static struct replay *replay;
static struct average averages[MAX_AVERAGES];
static size_t n_averages;

static void fail(const struct err *err)
{
    fprintf(stderr, "bench_learn: %s\n", err->msg);
    exit(1);
}

/* --- text --------------------------------------------------------------- */

static void read_domain(const char *path, struct domain *d)
{
    struct err err = ERR_INIT;

    size_t skip;

    if (fileio_read(path, (size_t)1 << 30, &d->text, &err))
        fail(&err);
    skip = opt.skip < d->text.len ? opt.skip : d->text.len;
    d->text.len -= skip;
    memmove(d->text.data, d->text.data + skip, d->text.len);
    if (d->text.len > opt.n_bytes)
        d->text.len = opt.n_bytes;
}

/* Returns the end of the record that begins at `from`: the first line end after
 * opt.record bytes. */
static size_t record_end(const struct buf *text, size_t from)
{
    size_t to = from + (size_t)opt.record;
    const char *end;

    if (to >= text->len)
        return text->len;
    end = memchr(text->data + to, '\n', text->len - to);
    return end ? (size_t)(end + 1 - text->data) : text->len;
}

static void add_segments(struct segment **to, size_t *n, const struct cut *c)
{
    *to = xreallocarray(*to, *n + c->n_segments, sizeof **to);
    memcpy(*to + *n, c->segments, c->n_segments * sizeof **to);
    *n += c->n_segments;
}

static void cut_domain(struct domain *d, int32_t id)
{
    size_t cap = 0, from = 0;

    while (from < d->text.len) {
        size_t to = record_end(&d->text, from);
        struct cut *c;

        XGROW(d->cuts, d->n_cuts, cap);
        c = &d->cuts[d->n_cuts++];
        cut_record(c, tokenizer, (size_t)shape.context, NULL, 0,
                   d->text.data + from, to - from, id, -1);
        if (d->n_cuts % opt.hold_out == 0)
            add_segments(&d->held, &d->n_held, c);
        else
            add_segments(&d->train, &d->n_train, c);
        from = to;
    }
}

static void make_tokenizer(void)
{
    struct buf all = BUF_INIT;
    struct err err = ERR_INIT;

    for (size_t i = 0; i < n_domains; i++)
        buf_add(&all, domains[i].text.data, domains[i].text.len);
    if (opt.vocab == 0)
        tokenizer = tokenizer_create_bytes();
    else if (tokenizer_train(all.data, all.len, opt.vocab, NULL, NULL,
                             &tokenizer, &err))
        fail(&err);
    buf_release(&all);
}

/* --- losses on held-out records ----------------------------------------- */

static double sum_losses(const struct segment *s, const float *loss)
{
    double nats = 0.0;

    for (uint32_t t = s->n_masked; t + (s->ends ? 1 : 0) < s->n_tokens; t++)
        nats += (double)loss[t];
    return nats;
}

static double held_out_bits(const struct model *m, const float *params,
                            struct model_work *work, const struct domain *d)
{
    float *loss = xfloats(EVAL_TOKENS);
    struct batch b = {0};
    double nats = 0.0, n_bytes = 0.0;

    for (size_t i = 0; i < d->n_held; i++) {
        batch_clear(&b);
        batch_add(&b, &d->held[i]);
        model_forward(m, params, &b, work, loss);
        nats += sum_losses(&d->held[i], loss);
        n_bytes += d->held[i].n_bytes;
    }
    batch_release(&b);
    free(loss);
    return nats / log(2) / n_bytes;
}

static void print_weights(const char *name, size_t learned, const float *params,
                          double *bits_of)
{
    const struct model *m = learner->model;
    struct model_work *work = model_work_create(m, (size_t)shape.context);
    double sum = 0.0;

    printf("held out after %zu, %s:", learned + 1, name);
    for (size_t i = 0; i <= learned; i++) {
        double bits = held_out_bits(m, params, work, &domains[i]);

        if (bits_of)
            bits_of[i] = bits;
        sum += bits;
        printf(" %.4f", bits);
    }
    printf(" mean %.4f\n", sum / (double)(learned + 1));
    model_work_free(work);
}

static void print_held_out(size_t learned)
{
    print_weights("served", learned, learner_served(learner), losses[learned]);
    if (n_averages > 0)
        print_weights("live", learned, learner->params, NULL);
    for (size_t i = 0; i < n_averages; i++) {
        char name[24];

        snprintf(name, sizeof name, "average %g",
                 (double)averages[i].options.decay);
        print_weights(name, learned, averages[i].weights, NULL);
    }
}

/* --- learning ----------------------------------------------------------- */

static struct segment *copy_sample(const struct replay_sampled *draws, size_t n)
{
    struct segment *s = xcalloc(n, sizeof *s);

    for (size_t i = 0; i < n; i++)
        s[i] = draws[i].segment;
    return s;
}

static void follow(size_t n_tokens)
{
    for (size_t i = 0; i < n_averages; i++) {
        struct average a = averages[i];

        if (a.options.decay >= 1.0f)
            a.options.decay = expf(-(float)n_tokens / a.options.decay);
        average_follow(&a, learner->params,
                       average_decay(&a, learner->optim.step - 1), 0,
                       learner->model->n_params);
    }
}

/* Learns fresh[n] in one step, and adds their losses to *nats. */
static void step(const struct segment *fresh, size_t n, size_t n_tokens,
                 double *nats)
{
    uint64_t number = (uint64_t)learner_steps(learner);
    struct replay_sampled *draws = NULL;
    size_t n_draws = 0;
    struct learner_step_input in = {
        .fresh = fresh,
        .n_fresh = n,
        .covered = ewc_covered(opt.ratio, replay_kept(replay)),
    };
    struct learner_step_output out = {0};
    struct segment_origin origin = {0};
    struct segment *replayed;
    struct err err = ERR_INIT;

    if (replay_sample(replay, number,
                      (size_t)(opt.ratio * (double)n_tokens), false, &draws,
                      &n_draws, &err))
        fail(&err);
    in.replayed = replayed = copy_sample(draws, n_draws);
    in.n_replayed = n_draws;
    out.nats = xcalloc(n + n_draws, sizeof *out.nats);
    out.text_nats = xcalloc(n + n_draws, sizeof *out.text_nats);
    if (learner_step(learner, &in, &out, &err))
        fail(&err);
    for (size_t i = 0; i < n; i++) {
        *nats += out.text_nats[i];
        replay_offer(replay, &fresh[i], &origin, out.nats[i]);
    }
    follow(n_tokens);
    if (out.consolidated)
        printf("consolidated at step %llu\n", (unsigned long long)number);
    free(replayed);
    free(out.nats);
    free(out.text_nats);
}

static void learn_domain(const struct domain *d)
{
    double nats = 0.0, n_bytes = 0.0;
    int64_t began = timing_mono_ns();
    size_t at = 0;

    while (at < d->n_train) {
        size_t n = 1, n_tokens = d->train[at].n_tokens;

        while (at + n < d->n_train &&
               n_tokens + d->train[at + n].n_tokens <= (size_t)opt.batch)
            n_tokens += d->train[at + n++].n_tokens;
        step(d->train + at, n, n_tokens, &nats);
        for (size_t i = 0; i < n; i++)
            n_bytes += d->train[at + i].n_bytes;
        at += n;
    }
    printf("prequential %.4f bits per byte, %.0f bytes, %.0f bytes/s, "
           "%lld skipped, share %.0f consolidations\n",
           nats / log(2) / n_bytes, n_bytes,
           n_bytes / timing_seconds_since(began),
           (long long)learner_optim(learner)->skipped,
           (double)learner_ewc(learner)->consolidations);
}

/* --- options ------------------------------------------------------------ */

enum {
    O_PRESET = 256, O_VOCAB, O_LR, O_BETA1, O_BETA2, O_DECAY, O_BATCH,
    O_RATIO, O_BUFFER, O_LAMBDA, O_AVERAGE, O_CONSOLIDATE, O_SEED, O_THREADS,
    O_SKIP, O_BYTES, O_RECORD, O_HOLD_OUT
};

static const struct option long_options[] = {
    {"preset", required_argument, NULL, O_PRESET},
    {"vocab", required_argument, NULL, O_VOCAB},
    {"lr", required_argument, NULL, O_LR},
    {"beta1", required_argument, NULL, O_BETA1},
    {"beta2", required_argument, NULL, O_BETA2},
    {"decay", required_argument, NULL, O_DECAY},
    {"batch", required_argument, NULL, O_BATCH},
    {"ratio", required_argument, NULL, O_RATIO},
    {"buffer", required_argument, NULL, O_BUFFER},
    {"lambda", required_argument, NULL, O_LAMBDA},
    {"average", required_argument, NULL, O_AVERAGE},
    {"consolidate", required_argument, NULL, O_CONSOLIDATE},
    {"seed", required_argument, NULL, O_SEED},
    {"threads", required_argument, NULL, O_THREADS},
    {"skip", required_argument, NULL, O_SKIP},
    {"bytes", required_argument, NULL, O_BYTES},
    {"record", required_argument, NULL, O_RECORD},
    {"hold-out", required_argument, NULL, O_HOLD_OUT},
    {NULL, 0, NULL, 0},
};

static void set_consolidate(struct ewc_options *e, const char *value)
{
    e->consolidate = strcmp(value, "auto") ? EWC_EVERY : EWC_AUTO;
    e->every_steps = atoll(value);
}

static void set_averages(const char *value)
{
    char *end;

    for (n_averages = 0; *value && n_averages < MAX_AVERAGES; value = end) {
        averages[n_averages].options.enabled = true;
        averages[n_averages++].options.decay = strtof(value, &end);
        if (*end == ',')
            end++;
        else if (*end || end == value)
            exit(2);
    }
}

static void set_option(int which, const char *value)
{
    struct learner_options *l = &opt.learner;

    switch (which) {
    case O_PRESET: opt.preset = value; break;
    case O_VOCAB: opt.vocab = atoi(value); break;
    case O_LR: l->optim.lr = (float)atof(value); break;
    case O_BETA1: l->optim.beta1 = (float)atof(value); break;
    case O_BETA2: l->optim.beta2 = (float)atof(value); break;
    case O_DECAY: l->optim.weight_decay = (float)atof(value); break;
    case O_BATCH: opt.batch = atoi(value); break;
    case O_RATIO: opt.ratio = atof(value); break;
    case O_BUFFER: opt.buffer = atof(value); break;
    case O_LAMBDA:
        l->ewc.lambda =
            strcmp(value, "auto") ? (float)atof(value) : EWC_LAMBDA_AUTO;
        l->ewc.enabled = l->ewc.lambda != 0.0f;
        break;
    case O_AVERAGE: set_averages(value); break;
    case O_CONSOLIDATE: set_consolidate(&l->ewc, value); break;
    case O_SEED: l->seed = (uint64_t)atoll(value); break;
    case O_THREADS: opt.threads = atoi(value); break;
    case O_BYTES: opt.n_bytes = (size_t)atoll(value); break;
    case O_SKIP: opt.skip = (size_t)atoll(value); break;
    case O_RECORD: opt.record = atoi(value); break;
    case O_HOLD_OUT: opt.hold_out = (size_t)atoll(value); break;
    default: exit(2);
    }
}

static void create_parts(void)
{
    struct replay_options rows;
    struct err err = ERR_INIT;
    size_t n_rows = 0;

    if (model_preset(opt.preset, &shape, &err))
        fail(&err);
    shape.vocab_size = tokenizer_vocab_size(tokenizer);
    opt.learner.shape = &shape;
    opt.learner.tokenizer = tokenizer;
    opt.learner.threads = opt.threads;
    opt.learner.shards = 2;
    if (learner_create(&opt.learner, &learner, &err))
        fail(&err);
    for (size_t i = 0; i < n_averages; i++)
        average_init(&averages[i], &averages[i].options, learner->params,
                     learner->model->n_params);
    replay_options_default(&rows, REPLAY_ROWS);
    rows.seed = opt.learner.seed;
    for (size_t i = 0; i < n_domains; i++) {
        cut_domain(&domains[i], (int32_t)i);
        n_rows += domains[i].n_train;
    }
    rows.capacity = (int64_t)ceil(opt.buffer / 100.0 * (double)n_rows);
    replay = replay_create(&rows, NULL);
}

/* Forgetting: the mean over all domains but the last of the last loss, less
 * the lowest loss before it. */
static void print_summary(double seconds)
{
    size_t last = n_domains - 1;
    double mean = 0.0, forgetting = 0.0;

    for (size_t j = 0; j < n_domains; j++)
        mean += losses[last][j] / (double)n_domains;
    for (size_t j = 0; j < last; j++) {
        double least = INFINITY;

        for (size_t i = j; i < last; i++)
            least = fmin(least, losses[i][j]);
        forgetting += (losses[last][j] - least) / (double)last;
    }
    printf("mean %.4f forgetting %.4f newest %.4f, %.1f processor seconds, "
           "%lld consolidations, lambda %.3g\n",
           mean, forgetting, losses[last][last], seconds,
           (long long)learner_ewc(learner)->consolidations,
           (double)ewc_lambda(learner_ewc(learner)));
}

int main(int argc, char **argv)
{
    double seconds = 0.0;
    int which;

    learner_options_default(&opt.learner);
    opt.learner.ewc.enabled = false;
    while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(which, optarg);
    for (; optind < argc && n_domains < MAX_DOMAINS; optind++)
        read_domain(argv[optind], &domains[n_domains++]);
    make_tokenizer();
    create_parts();
    for (size_t i = 0; i < n_domains; i++) {
        clock_t began = clock();

        learn_domain(&domains[i]);
        seconds += (double)(clock() - began) / CLOCKS_PER_SEC;
        print_held_out(i);
    }
    print_summary(seconds);
    return 0;
}
