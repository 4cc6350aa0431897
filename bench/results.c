/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "bench/scratch.h"
#include "learner/kernels/ops.h"

/* --- the table of figures ----------------------------------------------- */

#define AT(field) offsetof(struct part, u.field)
#define MACHINE(key, name, pair)                                               \
    {PART_MACHINE, key, name ", all threads", RESULTS_MEDIAN,                  \
     AT(machine.pair.all)},                                                    \
        {PART_MACHINE, key "_one_thread", name ", one thread", RESULTS_MEDIAN, \
         AT(machine.pair.one)}
#define SHARE(key, name, i)                                                    \
    {PART_TRAIN, "shares." key, "share of time: " name, RESULTS_EXACT,         \
     AT(train.shares[i])}

/* In the order of the output. */
const struct results_figure results_figures[] = {
    {PART_MACHINE, "fma_kind", "instructions of multiply-adds", RESULTS_TEXT,
     AT(machine.fma_kind)},
    MACHINE("fma_peak_gflops", "fp32 multiply-adds, GFLOP/s", fma),
    MACHINE("sgemm_gflops", "sgemm 1024, GFLOP/s", sgemm),
    MACHINE("triad_gb_per_second", "memory (triad), GB/s", triad),

    {PART_TRAIN, "tokens_per_second", "tokens/s", RESULTS_MEDIAN,
     AT(train.rate)},
    {PART_TRAIN, "model_gflops", "GFLOP/s", RESULTS_REAL, AT(train.gflops)},
    {PART_TRAIN, "peak_share", "share of the fp32 peak", RESULTS_REAL,
     AT(train.peak_share)},
    {PART_TRAIN, "parameters", "parameters", RESULTS_COUNT,
     AT(train.n_params)},
    {PART_TRAIN, "step_tokens", NULL, RESULTS_COUNT, AT(train.step_tokens)},
    {PART_TRAIN, "flop_per_token", NULL, RESULTS_EXACT,
     AT(train.flop_a_token)},
    {PART_TRAIN, "skipped_steps", NULL, RESULTS_COUNT, AT(train.skipped)},
    SHARE("products", "matrix products", SPENT_PRODUCTS),
    SHARE("attention", "attention", SPENT_ATTENTION),
    SHARE("norms", "norms", SPENT_NORMS),
    SHARE("loss", "loss", SPENT_LOSS),
    SHARE("optimizer", "optimizer", SPENT_OPTIMIZER),
    SHARE("ewc", "EWC", SPENT_EWC),
    SHARE("gradient_sum", "sum of gradients", SPENT_SUM),
    SHARE("rest", "everything else", SPENT_PARTS),

    {PART_SCORE, "tokens_per_second", "tokens/s, fp32", RESULTS_MEDIAN,
     AT(answers.rate)},
    {PART_SCORE, "int8_tokens_per_second", "tokens/s, int8", RESULTS_MEDIAN,
     AT(answers.int8_rate)},
    {PART_SCORE, "ratio_to_training", "fp32 scoring to training",
     RESULTS_REAL, AT(answers.ratio_to_training)},

    {PART_GENERATE, "tokens_per_second", "tokens/s, fp32", RESULTS_MEDIAN,
     AT(answers.rate)},
    {PART_GENERATE, "int8_tokens_per_second", "tokens/s, int8", RESULTS_MEDIAN,
     AT(answers.int8_rate)},
    {PART_GENERATE, "prompt_tokens", NULL, RESULTS_COUNT,
     AT(answers.prompt_tokens)},
    {PART_GENERATE, "new_tokens", NULL, RESULTS_COUNT,
     AT(answers.new_tokens)},

    {PART_QUANTIZE, "shape", NULL, RESULTS_TEXT, AT(quantize.shape)},
    {PART_QUANTIZE, "trained_tokens", "learned tokens", RESULTS_COUNT,
     AT(quantize.trained_tokens)},
    {PART_QUANTIZE, "bits_per_byte_float", "bits per byte, fp32", RESULTS_REAL,
     AT(quantize.bits_per_byte)},
    {PART_QUANTIZE, "bits_per_byte_int8", "bits per byte, int8", RESULTS_REAL,
     AT(quantize.int8_bits_per_byte)},
    {PART_QUANTIZE, "loss_percent", "loss that int8 adds, %", RESULTS_REAL,
     AT(quantize.loss_percent)},
    {PART_QUANTIZE, "scored_chunks", NULL, RESULTS_COUNT, AT(quantize.chunks)},
    {PART_QUANTIZE, "scored_bytes", "scored bytes", RESULTS_COUNT,
     AT(quantize.bytes)},

    {PART_REPLAY, "rows_in_per_second", "rows written/s", RESULTS_MEDIAN,
     AT(replay.rows_in)},
    {PART_REPLAY, "rows_out_per_second", "rows read/s", RESULTS_MEDIAN,
     AT(replay.rows_out)},
    {PART_REPLAY, "capacity_rows", NULL, RESULTS_COUNT,
     AT(replay.capacity_rows)},
    {PART_REPLAY, "row_tokens", "tokens in a row", RESULTS_COUNT,
     AT(replay.row_tokens)},

    {PART_PUBLISH, "seconds", "seconds for a version", RESULTS_MEDIAN,
     AT(publish.seconds)},
    {PART_PUBLISH, "stop_seconds", "seconds without training", RESULTS_MEDIAN,
     AT(publish.stop)},
    {PART_PUBLISH, "longest_stop_seconds", NULL, RESULTS_REAL,
     AT(publish.longest_stop)},
};

const size_t results_figures_n =
    sizeof results_figures / sizeof *results_figures;

const void *results_field(const struct part *part,
                          const struct results_figure *figure)
{
    enum part_kind kind = part->kind == PART_PRESET ? PART_TRAIN : part->kind;

    return figure->kind == kind ? (const char *)part + figure->offset : NULL;
}

/* --- the parts ---------------------------------------------------------- */

static struct part *add(struct part *p, enum part_kind kind,
                        const char *group, const char *shape, size_t index,
                        double weight)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s%s%s", group, shape ? "." : "",
             shape ? shape : "");
    p->kind = kind;
    p->index = index;
    p->weight = weight;
    return p + 1;
}

void results_list(struct results *r)
{
    struct part *p = add(r->parts, PART_MACHINE, "machine", NULL, 0, 6);

    for (size_t i = 0; i < SHAPES_N; i++) {
        const char *shape = shape_comparison_name(i);
        /* One step of gpt2 takes longer than a window. */
        bool slow = i == SHAPES_N - 1;

        p = add(p, PART_TRAIN, "train", shape, i, slow ? 50 : 5);
        p = add(p, PART_SCORE, "score", shape, i, slow ? 14 : 6);
        p = add(p, PART_GENERATE, "generate", shape, i, slow ? 14 : 6);
    }
    /* Shape 0 is tiny: it learns enough within ten seconds on two cores. */
    p = add(p, PART_QUANTIZE, "quantize", NULL, 0, 12);
    for (size_t i = 0; i < SHAPES_PRESETS_N; i++)
        p = add(p, PART_PRESET, "presets", shape_preset_name(i), i, 5);
    p = add(p, PART_REPLAY, "replay", NULL, 0, 6);
    p = add(p, PART_PUBLISH, "publish", NULL, 0, 4);
    BUG_ON(p != r->parts + RESULTS_PARTS);
}

static bool matches(const struct part *p, const char *word)
{
    const char *dot = strchr(p->name, '.');
    size_t n = strlen(word);

    if (!strcmp(p->name, word))
        return true;
    if (!dot)
        return false;
    if (n == (size_t)(dot - p->name) && !strncmp(p->name, word, n))
        return true; /* the whole group */
    if (p->kind == PART_PRESET)
        return !strncmp(word, "preset-", 7) && !strcmp(word + 7, dot + 1);
    return !strcmp(word, dot + 1);
}

int results_choose(struct results *r, const char *only, struct err *err)
{
    char *words = xstrdup(only ? only : ""), *rest = NULL;
    int rc = 0;

    for (size_t i = 0; i < RESULTS_PARTS; i++)
        r->parts[i].chosen = only == NULL;
    for (char *word = strtok_r(words, ", ", &rest); word && rc == 0;
         word = strtok_r(NULL, ", ", &rest)) {
        bool found = false;

        for (size_t i = 0; i < RESULTS_PARTS; i++)
            if (matches(&r->parts[i], word))
                found = r->parts[i].chosen = true;
        if (!found)
            rc = err_set(err, ERR_INVALID,
                         "--only: there is no part %s; see: mneme bench "
                         "--help",
                         word);
    }
    free(words);
    return rc;
}

/* --- measuring ---------------------------------------------------------- */

static int measure(struct part *p, const struct speed_options *o,
                   struct err *err)
{
    struct speed_options with_dir = *o;
    struct shape s;
    char *dir = NULL;
    int rc;

    if (p->kind == PART_PRESET)
        shape_preset(p->index, &s);
    else
        shape_comparison(p->index, &s);
    switch (p->kind) {
    case PART_MACHINE:
        return speed_machine(o, &p->u.machine, err);
    case PART_TRAIN:
    case PART_PRESET:
        return speed_train(o, &s, &p->u.train, err);
    case PART_SCORE:
        return speed_score(o, &s, &p->u.answers, err);
    case PART_GENERATE:
        return speed_generate(o, &s, &p->u.answers, err);
    case PART_QUANTIZE:
        return speed_quantize(o, &s, &p->u.quantize, err);
    default: /* the parts that write */
        rc = scratch_make("mneme-bench", &dir, err);
        with_dir.dir = dir;
        if (rc == 0)
            rc = p->kind == PART_REPLAY
                     ? speed_replay(&with_dir, &p->u.replay, err)
                     : speed_publish(&with_dir, &p->u.publish, err);
        scratch_remove(dir);
        return rc;
    }
}

/* Returns a part's median; NaN if the part was not measured. */
static double median_of(const struct results *r, enum part_kind kind,
                        size_t index)
{
    for (const struct part *p = r->parts; p < r->parts + RESULTS_PARTS; p++)
        if (p->kind == kind && p->index == index)
            return figure_median(kind == PART_MACHINE ? &p->u.machine.fma.all
                                                      : &p->u.train.rate);
    return (double)NAN;
}

int results_run(struct results *r, struct part *part,
                const struct speed_options *o, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = measure(part, o, &why);

    part->done = rc == 0;
    if (part->kind == PART_TRAIN || part->kind == PART_PRESET)
        part->u.train.peak_share =
            part->u.train.gflops / median_of(r, PART_MACHINE, 0);
    if (part->kind == PART_SCORE)
        part->u.answers.ratio_to_training =
            figure_median(&part->u.answers.rate) /
            median_of(r, PART_TRAIN, part->index);
    if (rc == ERR_LIMIT) { /* other parts may be small enough */
        snprintf(part->left_out, sizeof part->left_out, "%s", why.msg);
        return 0;
    }
    return rc ? err_set(err, why.code, "%s: %s", part->name, why.msg) : 0;
}

/* --- JSON --------------------------------------------------------------- */

/* Puts value at "key" or "object.key". */
static void put(json_t *to, const char *path, json_t *value)
{
    size_t n = strcspn(path, ".");
    json_t *object;

    if (path[n]) {
        object = json_object_getn(to, path, n);
        if (!object) {
            object = json_object();
            json_object_setn_new(to, path, n, object);
        }
        to = object;
        path += n + 1;
    }
    json_object_set_new(to, path, value);
}

static void put_real(json_t *to, const char *key, const char *more,
                     double value)
{
    char *name = xasprintf("%s%s", key, more), text[32];

    snprintf(text, sizeof text, "%.5g", value); /* more digits are noise */
    if (isfinite(value))
        put(to, name, json_real(strtod(text, NULL)));
    free(name);
}

static json_t *part_json(const struct part *p)
{
    json_t *j = json_object();

    for (size_t i = 0; i < results_figures_n; i++) {
        const struct results_figure *f = &results_figures[i];
        const void *field = results_field(p, f);

        if (!field)
            continue;
        switch (f->type) {
        case RESULTS_MEDIAN:
            put_real(j, f->key, "", figure_median(field));
            put_real(j, f->key, "_least", figure_least(field));
            put_real(j, f->key, "_most", figure_most(field));
            break;
        case RESULTS_REAL:
            put_real(j, f->key, "", *(const double *)field);
            break;
        case RESULTS_EXACT:
            put(j, f->key, json_real(*(const double *)field));
            break;
        case RESULTS_COUNT:
            put(j, f->key,
                json_integer((json_int_t) * (const size_t *)field));
            break;
        case RESULTS_TEXT:
            put(j, f->key, json_string(*(const char *const *)field));
            break;
        }
    }
    return j;
}

json_t *results_json(const struct results *r, const struct speed_options *o)
{
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:i, s:I, s:f, s:{s:s, s:I}}", "mneme",
        PACKAGE_VERSION, "cpu", r->cpu, "kernels", ops_kernels(), "threads",
        o->threads, "windows", (json_int_t)o->windows, "window_seconds",
        o->seconds, "text", "from", r->text_from, "bytes",
        (json_int_t)r->text_bytes);

    for (const struct part *p = r->parts; p < r->parts + RESULTS_PARTS; p++) {
        char *path = xasprintf("%s%s", p->done ? "" : "left_out.", p->name);

        if (p->done)
            put(root, path, part_json(p));
        else if (p->left_out[0])
            put(root, path, json_string(p->left_out));
        free(path);
    }
    return root;
}
