/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_drift - prints the prequential loss of every segment of a stream.
 *
 *     bench/bench_drift [--preset nano] [--vocab 2048] [--batch 512]
 *                       [--ratio 1] [--seed 42] [--shuffle 0] [--bytes 200000]
 *                       [--from 0] [--held-out 0] [--rewarm 0] FILE...
 *
 * Each FILE has one JSON object a line, with the member "text"; it may be
 * compressed with gzip. The files are learned one after another, in one pass,
 * as one domain: nothing tells the learner where a file ends. Of each file the
 * records up to --bytes bytes of text are learned, after the first --from
 * records.
 *   --vocab     0: bytes; else byte-level BPE, trained on all files
 *   --shuffle   a seed: the records of all files in random order; 0: in order
 *   --rewarm    N: after a drift alarm the learning rate rises from 0 to its
 *               value in N steps, as it does at the start
 *   --held-out  N: every N-th record is not learned; its loss is measured when
 *               the stream has ended
 *
 * Prints a line for each segment: number of the file, number of the record,
 * bytes, nats. bench/drift.py reads these lines. A line "# alarm RECORD BEFORE
 * AFTER" follows the segment that raises a drift alarm. With --held-out, the
 * last lines are "# held out FILE BITS_PER_BYTE".
 */
#include "config.h"

#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "daemon/intake/drift.h"
#include "learner/learner.h"
#include "learner/model.h"
#include "learner/tokenizer/cut.h"
#include "replay/replay.h"

static struct options {
    const char *preset;
    int vocab, batch;
    size_t n_bytes, from, held_out;
    uint64_t shuffle;
    uint64_t rewarm;
    double ratio;
    struct learner_options learner;
} opt = {.preset = "nano",
         .vocab = 2048,
         .batch = 512,
         .n_bytes = 200000,
         .ratio = 1.0};

/* One record. */
struct item {
    size_t file;
    char *text;
    size_t n_bytes;
    struct cut cut;
};

/* A segment, with the record that it belongs to. */
struct part {
    struct segment segment;
    size_t record;
};

static struct item *items;
static size_t n_items, cap_items;
static struct item *held;
static size_t n_held, cap_held;
static struct part *parts;
static size_t n_parts, cap_parts;
static struct tokenizer *tokenizer;
static struct model_shape shape;
static struct learner *learner;
static struct replay *replay;
static struct drift drift;
static uint64_t warm_from; /* the step after the last alarm; 0: no alarm */

static void fail(const struct err *err)
{
    fprintf(stderr, "bench_drift: %s\n", err->msg);
    exit(1);
}

/* --- records ------------------------------------------------------------ */

static void add_record(size_t file, size_t number, const json_t *text)
{
    struct item r = {.file = file,
                     .text = xstrdup(json_string_value(text)),
                     .n_bytes = json_string_length(text)};

    if (opt.held_out && number % opt.held_out == 0) {
        XGROW(held, n_held, cap_held);
        held[n_held++] = r;
    } else {
        XGROW(items, n_items, cap_items);
        items[n_items++] = r;
    }
}

static void read_file(const char *path, size_t file)
{
    static char line[1 << 20];
    gzFile f = gzopen(path, "rb");
    size_t n_bytes = 0, number = 0;

    if (!f) {
        fprintf(stderr, "bench_drift: cannot open %s\n", path);
        exit(1);
    }
    while (n_bytes < opt.n_bytes && gzgets(f, line, sizeof line)) {
        json_t *root = json_loads(line, 0, NULL);
        const json_t *text = json_object_get(root, "text");

        number++;
        if (json_is_string(text) && json_string_length(text) > 0 &&
            number > opt.from) {
            n_bytes += json_string_length(text);
            add_record(file, number, text);
        }
        json_decref(root);
    }
    gzclose(f);
}

static void shuffle(void)
{
    for (size_t i = n_items; i > 1; i--) {
        size_t j = (size_t)rng_below(i, opt.shuffle, RNG_SAMPLE, i, 0);
        struct item swap = items[i - 1];

        items[i - 1] = items[j];
        items[j] = swap;
    }
}

static void make_tokenizer(void)
{
    struct buf all = BUF_INIT;
    struct err err = ERR_INIT;

    for (size_t i = 0; i < n_items; i++)
        buf_add(&all, items[i].text, items[i].n_bytes);
    if (opt.vocab == 0)
        tokenizer = tokenizer_create_bytes();
    else if (tokenizer_train(all.data, all.len, opt.vocab, NULL, NULL,
                             &tokenizer, &err))
        fail(&err);
    buf_release(&all);
}

static void cut_item(struct item *r)
{
    cut_record(&r->cut, tokenizer, (size_t)shape.context, NULL, 0, r->text,
               r->n_bytes, 0, -1);
}

static void cut_all(void)
{
    for (size_t i = 0; i < n_items; i++) {
        cut_item(&items[i]);
        for (size_t j = 0; j < items[i].cut.n_segments; j++) {
            XGROW(parts, n_parts, cap_parts);
            parts[n_parts++] = (struct part){items[i].cut.segments[j], i};
        }
    }
    for (size_t i = 0; i < n_held; i++)
        cut_item(&held[i]);
}

/* --- learning ----------------------------------------------------------- */

static struct segment *copy_sample(const struct replay_sampled *sample,
                                   size_t n)
{
    struct segment *s = xcalloc(n, sizeof *s);

    for (size_t i = 0; i < n; i++)
        s[i] = sample[i].segment;
    return s;
}

static void set_rate(uint64_t step)
{
    double lr = (double)opt.learner.optim.lr;
    uint64_t warm = step - warm_from + 1;

    if (opt.rewarm && warm_from && warm <= opt.rewarm)
        learner_set_rate(learner,
                         (float)(lr * (double)warm / (double)opt.rewarm));
}

/* Learns parts p[n] in one step, and prints their losses. */
static void step(const struct part *p, size_t n, size_t n_tokens)
{
    uint64_t number = (uint64_t)learner_steps(learner);
    struct segment *fresh = xcalloc(n, sizeof *fresh);
    struct replay_sampled *sample = NULL;
    size_t n_sample = 0;
    struct learner_step_input in = {.fresh = fresh, .n_fresh = n};
    struct learner_step_output out = {0};
    struct segment_origin origin = {0};
    struct segment *replayed;
    struct drift_alarm alarm;
    struct err err = ERR_INIT;

    for (size_t i = 0; i < n; i++)
        fresh[i] = p[i].segment;
    if (replay_sample(replay, number, (size_t)(opt.ratio * (double)n_tokens),
                      false, &sample, &n_sample, &err))
        fail(&err);
    in.replayed = replayed = copy_sample(sample, n_sample);
    in.n_replayed = n_sample;
    out.nats = xcalloc(n + n_sample, sizeof *out.nats);
    out.text_nats = xcalloc(n + n_sample, sizeof *out.text_nats);
    set_rate(number);
    if (learner_step(learner, &in, &out, &err))
        fail(&err);
    for (size_t i = 0; i < n; i++) {
        printf("%zu %zu %u %.6g\n", items[p[i].record].file, p[i].record,
               fresh[i].n_bytes, out.text_nats[i]);
        if (drift_add(&drift, out.text_nats[i], fresh[i].n_bytes, &alarm)) {
            printf("# alarm %zu %.4f %.4f\n", p[i].record, alarm.before,
                   alarm.after);
            warm_from = number + 1;
        }
        replay_offer(replay, &fresh[i], &origin, out.nats[i]);
    }
    free(fresh);
    free(replayed);
    free(out.nats);
    free(out.text_nats);
}

static void learn(void)
{
    size_t at = 0;

    while (at < n_parts) {
        size_t n = 1, n_tokens = parts[at].segment.n_tokens;

        while (at + n < n_parts &&
               n_tokens + parts[at + n].segment.n_tokens <= (size_t)opt.batch)
            n_tokens += parts[at + n++].segment.n_tokens;
        step(parts + at, n, n_tokens);
        at += n;
    }
}

/* --- losses on held-out records ----------------------------------------- */

static float *gather_weights(const struct model *m)
{
    struct tensor_list weights = TENSOR_LIST_INIT;
    float *params = xfloats(m->n_params);

    learner_export(learner, &weights, NULL, NULL, NULL, NULL);
    for (size_t i = 0; i < m->n_tensors; i++)
        memcpy(params + m->tensors[i].offset, weights.items[i].data,
               m->tensors[i].count * sizeof *params);
    tensor_list_release(&weights);
    return params;
}

static double sum_losses(const struct segment *s, const float *loss)
{
    double nats = 0.0;

    for (uint32_t t = s->n_masked; t + (s->ends ? 1 : 0) < s->n_tokens; t++)
        nats += (double)loss[t];
    return nats;
}

static void print_held_out(size_t n_files)
{
    struct model *m;
    struct model_work *work;
    struct batch b = {0};
    double *nats = xcalloc(n_files, sizeof *nats);
    double *n_bytes = xcalloc(n_files, sizeof *n_bytes);
    float *params, *loss;
    struct err err = ERR_INIT;

    if (model_create(&shape, &m, &err))
        fail(&err);
    work = model_work_create(m, (size_t)shape.context);
    params = gather_weights(m);
    loss = xfloats((size_t)shape.context);
    for (size_t i = 0; i < n_held; i++)
        for (size_t j = 0; j < held[i].cut.n_segments; j++) {
            const struct segment *s = &held[i].cut.segments[j];

            batch_clear(&b);
            batch_add(&b, s);
            model_forward(m, params, &b, work, loss);
            nats[held[i].file] += sum_losses(s, loss);
            n_bytes[held[i].file] += s->n_bytes;
        }
    for (size_t i = 0; i < n_files; i++)
        printf("# held out %zu %.4f\n", i, nats[i] / log(2) / n_bytes[i]);
    batch_release(&b);
    free(nats);
    free(n_bytes);
    free(params);
    free(loss);
    model_work_free(work);
    model_free(m);
}

/* --- options ------------------------------------------------------------ */

enum {
    O_PRESET = 256, O_VOCAB, O_BATCH, O_RATIO, O_SEED, O_SHUFFLE, O_BYTES,
    O_FROM, O_HELD_OUT, O_REWARM
};

static const struct option long_options[] = {
    {"preset", required_argument, NULL, O_PRESET},
    {"vocab", required_argument, NULL, O_VOCAB},
    {"batch", required_argument, NULL, O_BATCH},
    {"ratio", required_argument, NULL, O_RATIO},
    {"seed", required_argument, NULL, O_SEED},
    {"shuffle", required_argument, NULL, O_SHUFFLE},
    {"bytes", required_argument, NULL, O_BYTES},
    {"from", required_argument, NULL, O_FROM},
    {"held-out", required_argument, NULL, O_HELD_OUT},
    {"rewarm", required_argument, NULL, O_REWARM},
    {NULL, 0, NULL, 0},
};

static void set_option(int which, const char *value)
{
    switch (which) {
    case O_PRESET: opt.preset = value; break;
    case O_VOCAB: opt.vocab = atoi(value); break;
    case O_BATCH: opt.batch = atoi(value); break;
    case O_RATIO: opt.ratio = atof(value); break;
    case O_SEED: opt.learner.seed = (uint64_t)atoll(value); break;
    case O_SHUFFLE: opt.shuffle = (uint64_t)atoll(value); break;
    case O_BYTES: opt.n_bytes = (size_t)atoll(value); break;
    case O_FROM: opt.from = (size_t)atoll(value); break;
    case O_HELD_OUT: opt.held_out = (size_t)atoll(value); break;
    case O_REWARM: opt.rewarm = (uint64_t)atoll(value); break;
    default: exit(2);
    }
}

static void create_parts(void)
{
    struct replay_options rows;
    struct err err = ERR_INIT;

    if (model_preset(opt.preset, &shape, &err))
        fail(&err);
    shape.vocab_size = tokenizer_vocab_size(tokenizer);
    opt.learner.shape = &shape;
    opt.learner.tokenizer = tokenizer;
    opt.learner.threads = 1;
    opt.learner.shards = 2;
    if (learner_create(&opt.learner, &learner, &err))
        fail(&err);
    replay_options_default(&rows, REPLAY_ROWS);
    rows.seed = opt.learner.seed;
    replay = replay_create(&rows, NULL);
}

int main(int argc, char **argv)
{
    size_t n_files;
    int which;

    learner_options_default(&opt.learner);
    opt.learner.ewc.enabled = false;
    while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(which, optarg);
    n_files = (size_t)(argc - optind);
    for (size_t i = 0; i < n_files; i++)
        read_file(argv[optind + (int)i], i);
    make_tokenizer();
    create_parts();
    if (opt.shuffle)
        shuffle();
    cut_all();
    learn();
    if (opt.held_out)
        print_held_out(n_files);
    return 0;
}
