/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench: what this machine can do, and how much of it mneme makes use of. The
 * parts are measured one after another by bench/; this is their order, the
 * text they read, and the tables.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "bench/results.h"
#include "cli/bar.h"
#include "cli/commands.h"
#include "cli/demo_text.h"
#include "cli/table.h"
#include "learner/kernels/ops.h"

#define TEXT_BYTES ((size_t)1 << 20)
#define MOST_FILE_BYTES ((size_t)1 << 28)
#define MOST_THREADS 1024

static atomic_bool interrupted;

/* --- what was asked for ------------------------------------------------- */

struct bench {
    struct results results;
    struct speed_options options;
    struct buf text;
    struct bar bar;
    bool json;
    const struct part *part; /* in hand */
    double done, all;        /* weights */
};

static int64_t cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    return 1;
}

static int parse(const struct verb_args *args, struct bench *b,
                 struct err *err)
{
    int64_t threads = cores(), windows = 5, rows = 20000;
    double seconds = 0.5;
    int rc;

    parts_list(b->results.parts);
    if ((rc = verb_integer(args, "threads", 1, MOST_THREADS, &threads, err)) ||
        (rc = verb_integer(args, "windows", 1, FIGURE_MOST - 1, &windows,
                           err)) ||
        (rc = verb_integer(args, "rows", 1000, 100000000, &rows, err)) ||
        (rc = verb_real(args, "seconds", 0.001, 3600, &seconds, err)) ||
        (rc = parts_choose(b->results.parts, verb_value(args, "only"), err)))
        return rc;
    b->json = verb_has(args, "json");
    b->results.threads = b->options.threads = (int)threads;
    b->results.windows = b->options.windows = (size_t)windows;
    b->results.rows = b->options.rows = (size_t)rows;
    b->results.seconds = b->options.seconds = seconds;
    return 0;
}

static int load_text(const struct verb_args *args, struct bench *b,
                     struct err *err)
{
    const char *path = verb_path(args, "text");
    int rc = 0;

    b->results.text_from = path ? path : "this machine";
    if (path)
        rc = fileio_read(path, MOST_FILE_BYTES, &b->text, err);
    else
        demo_text_found(TEXT_BYTES, &b->text);
    if (rc == 0 && b->text.len < CORPUS_LEAST_BYTES)
        rc = err_set(err, path ? ERR_INVALID : ERR_NOTFOUND,
                     "%s has too little text: give a file of %d KiB or more "
                     "(--text FILE)",
                     b->results.text_from, CORPUS_LEAST_BYTES / 1024);
    b->results.text_bytes = b->text.len;
    return rc;
}

static void find_cpu(struct results *r)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];

    snprintf(r->cpu, sizeof r->cpu, "unknown processor");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %127[^\n]", r->cpu) == 1)
            break;
    if (f)
        fclose(f);
}

/* --- running ------------------------------------------------------------ */

static void stop(int signal_number)
{
    (void)signal_number;
    atomic_store(&interrupted, true);
}

static void show_progress(double share, void *arg)
{
    struct bench *b = arg;

    bar_update(&b->bar, (b->done + share * b->part->weight) / b->all, "%s",
               b->part->name);
}

static int run_parts(struct bench *b, struct err *err)
{
    struct results *r = &b->results;
    int rc = 0;

    for (size_t i = 0; i < PARTS_N; i++)
        b->all += r->parts[i].chosen ? r->parts[i].weight : 0.0;
    for (size_t i = 0; rc == 0 && i < PARTS_N; i++) {
        if (!r->parts[i].chosen)
            continue;
        b->part = &r->parts[i];
        show_progress(0.0, b);
        rc = results_run(r, &r->parts[i], &b->options, err);
        b->done += r->parts[i].weight;
    }
    return rc;
}

/* SIGINT and SIGTERM end it after the window in hand, and what it wrote is
 * removed. */
static int measure(struct bench *b, struct err *err)
{
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESETHAND};
    int rc;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    find_cpu(&b->results);
    b->options.corpus = corpus_create(b->text.data, b->text.len);
    b->options.stop = &interrupted;
    b->options.progress = show_progress;
    b->options.arg = b;
    bar_begin(&b->bar, "bench");
    rc = run_parts(b, err);
    bar_clear(&b->bar);
    corpus_free(b->options.corpus);
    return rc;
}

/* --- tables ------------------------------------------------------------- */

/* Three digits, or whole numbers. */
static void cell(struct table *t, double value)
{
    if (!isfinite(value))
        table_cell(t, "-");
    else
        table_cell(t, "%.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
}

static void finish(struct table *t)
{
    table_print(t, stdout);
    table_release(t);
    putchar('\n');
}

static void limit_row(struct table *t, const char *name,
                      const struct speed_pair *p)
{
    table_cell(t, "%s", name);
    cell(t, figure_median(&p->one));
    cell(t, figure_median(&p->all));
    cell(t, figure_least(&p->all));
    cell(t, figure_most(&p->all));
}

static void print_machine(const struct results *r)
{
    struct table t;
    char name[64];

    if (!results_done(r, PART_MACHINE, 0))
        return;
    table_init(&t, "l:MACHINE r:ONE_THREAD");
    snprintf(name, sizeof name, "%d THREADS", r->threads);
    table_column(&t, 'r', name);
    table_column(&t, 'r', "LEAST");
    table_column(&t, 'r', "MOST");
    snprintf(name, sizeof name, "fp32 multiply-add peak, GFLOP/s (%s)",
             r->machine.fma_kind);
    limit_row(&t, name, &r->machine.fma);
    limit_row(&t, "sgemm 1024, GFLOP/s", &r->machine.sgemm);
    limit_row(&t, "memory, GB/s (triad)", &r->machine.triad);
    finish(&t);
}

/* The trainings that were measured, with what goes before the name. */
struct trained {
    const char *before, *name;
    const struct speed_train *train;
};

static size_t list_trained(const struct results *r, struct trained *list)
{
    size_t n = 0;

    for (size_t i = 0; i < SHAPES_N; i++)
        if (results_done(r, PART_TRAIN, i))
            list[n++] = (struct trained){"", shape_comparison_name(i),
                                         &r->train[i]};
    for (size_t i = 0; i < SHAPES_PRESETS_N; i++)
        if (results_done(r, PART_PRESET, i))
            list[n++] = (struct trained){"preset ", shape_preset_name(i),
                                         &r->presets[i]};
    return n;
}

static void print_speeds(const struct results *r, const struct trained *list,
                         size_t n)
{
    struct table t;

    table_init(&t, "l:TRAINING r:PARAMETERS r:TOKENS/S r:LEAST r:MOST "
                   "r:GFLOP/S r:OF_PEAK");
    for (size_t i = 0; i < n; i++) {
        const struct speed_train *s = list[i].train;
        double share = results_peak_share(r, s);

        table_cell(&t, "%s%s", list[i].before, list[i].name);
        table_cell(&t, "%.2f M", (double)s->n_params / 1e6);
        cell(&t, figure_median(&s->rate));
        cell(&t, figure_least(&s->rate));
        cell(&t, figure_most(&s->rate));
        cell(&t, results_gflops(s));
        if (isfinite(share))
            table_cell(&t, "%.0f %%", 100.0 * share);
        else
            table_cell(&t, "-");
    }
    finish(&t);
}

static void print_shares(const struct trained *list, size_t n)
{
    struct table t;

    table_init(&t, "l:TIME_IN_PERCENT r:PRODUCTS r:ATTENTION r:NORMS r:LOSS "
                   "r:OPTIMIZER r:EWC r:SUM r:REST");
    for (size_t i = 0; i < n; i++) {
        table_cell(&t, "%s%s", list[i].before, list[i].name);
        for (int k = 0; k <= SPENT_PARTS; k++)
            table_cell(&t, "%.1f", 100.0 * list[i].train->shares[k]);
    }
    finish(&t);
}

static void print_trainings(const struct results *r)
{
    struct trained list[SHAPES_N + SHAPES_PRESETS_N];
    size_t n = list_trained(r, list);

    if (n == 0)
        return;
    print_speeds(r, list, n);
    print_shares(list, n);
}

static void print_answers(const struct results *r)
{
    struct table t;
    bool any = false;

    table_init(&t, "l:ANSWERING r:SCORED_TOKENS/S r:TIMES_TRAINING r:INT8 "
                   "r:GENERATED_TOKENS/S r:INT8");
    for (size_t i = 0; i < SHAPES_N; i++) {
        if (!results_done(r, PART_SCORE, i) &&
            !results_done(r, PART_GENERATE, i))
            continue;
        any = true;
        table_cell(&t, "%s", shape_comparison_name(i));
        cell(&t, figure_median(&r->score[i].rate));
        cell(&t, results_score_ratio(r, i));
        cell(&t, figure_median(&r->score[i].int8_rate));
        cell(&t, figure_median(&r->generate[i].rate));
        cell(&t, figure_median(&r->generate[i].int8_rate));
    }
    if (any)
        finish(&t);
    else
        table_release(&t);
}

static void print_quantize(const struct results *r)
{
    const struct speed_quantize *q = &r->quantize;
    struct table t;

    if (!results_done(r, PART_QUANTIZE, PARTS_QUANTIZE))
        return;
    table_init(&t, "l:WHAT_INT8_COSTS r:LEARNED_TOKENS r:SCORED_BYTES "
                   "r:BITS/BYTE r:INT8 r:LOSS");
    table_cell(&t, "%s", shape_comparison_name(PARTS_QUANTIZE));
    table_cell(&t, "%zu", q->trained_tokens);
    table_cell(&t, "%zu", q->bytes);
    table_cell(&t, "%.4f", q->bits_per_byte);
    table_cell(&t, "%.4f", q->int8_bits_per_byte);
    table_cell(&t, "%+.3f %%", results_int8_loss(r));
    finish(&t);
}

static void print_disk(const struct results *r)
{
    if (results_done(r, PART_REPLAY, 0))
        printf("Replay: %.0f rows/s in, %.0f rows/s out (%d tokens each)\n",
               figure_median(&r->replay.rows_in),
               figure_median(&r->replay.rows_out), SPEED_REPLAY_TOKENS);
    if (results_done(r, PART_PUBLISH, 0))
        printf("A version of preset small: %.0f ms, of which the trainer "
               "stands still %.1f ms (at most %.1f)\n",
               1e3 * figure_median(&r->publish.seconds),
               1e3 * figure_median(&r->publish.stop),
               1e3 * figure_most(&r->publish.stop));
    for (size_t i = 0; i < PARTS_N; i++)
        if (r->parts[i].left_out[0])
            printf("%s left out: %s\n", r->parts[i].name,
                   r->parts[i].left_out);
}

static void print_tables(const struct results *r)
{
    printf("mneme %s, %s, %d thread%s\n%s\nMedians of %zu windows of %g s or "
           "one step, whichever is longer.\n\n",
           PACKAGE_VERSION, r->cpu, r->threads, r->threads == 1 ? "" : "s",
           ops_kernels(), r->windows, r->seconds);
    print_machine(r);
    print_trainings(r);
    print_answers(r);
    print_quantize(r);
    print_disk(r);
}

static void print_json(const struct results *r)
{
    json_t *j = results_json(r);

    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
}

int cmd_bench(const struct verb_args *args, struct err *err)
{
    struct bench *b = xcalloc(1, sizeof *b);
    int rc = parse(args, b, err);

    if (rc == 0)
        rc = load_text(args, b, err);
    if (rc == 0)
        rc = measure(b, err);
    if (rc == 0 && b->json)
        print_json(&b->results);
    else if (rc == 0)
        print_tables(&b->results);
    buf_release(&b->text);
    free(b);
    return rc;
}
