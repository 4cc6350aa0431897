/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench: measures this machine with bench/, and prints tables or JSON.
 */
#include "config.h"

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
#include "cli/demo_text.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "learner/kernels/ops.h"

#define TEXT_BYTES ((size_t)1 << 20)
#define MOST_FILE_BYTES ((size_t)1 << 28)
#define MOST_THREADS 1024

static atomic_bool interrupted;

struct bench {
    struct results results;
    struct speed_options options;
    struct buf text;
    struct bar bar;
    const struct part *part; /* the part that runs */
    double done, all;        /* weights */
};

/* --- measuring ---------------------------------------------------------- */

static int parse(const struct verb_args *args, struct bench *b, struct err *err)
{
    int64_t threads = 1, windows = 5, rows = 20000;
    double seconds = 0.5;
    cpu_set_t set;
    int rc;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        threads = CPU_COUNT(&set);
    results_list(&b->results);
    if ((rc = verb_integer(args, "threads", 1, MOST_THREADS, &threads, err)) ||
        (rc = verb_integer(args, "windows", 1, FIGURE_MOST - 1, &windows,
                           err)) ||
        (rc = verb_integer(args, "rows", 1000, 100000000, &rows, err)) ||
        (rc = verb_real(args, "seconds", 0.001, 3600, &seconds, err)) ||
        (rc = results_choose(&b->results, verb_value(args, "only"), err)))
        return rc;
    b->options.threads = (int)threads;
    b->options.windows = (size_t)windows;
    b->options.rows = (size_t)rows;
    b->options.seconds = seconds;
    return 0;
}

/* Text of this machine. There may be less than TEXT_BYTES. */
static void find_text(struct buf *text)
{
    struct demo_texts t;

    demo_texts_load(NULL, 0, &t, NULL);
    for (size_t i = 0; i < t.n; i++)
        for (size_t k = 0; k < t.domains[i].n_records; k++)
            if (text->len < TEXT_BYTES)
                buf_addf(text, "%s\n", t.domains[i].records[k]);
    demo_texts_release(&t);
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
        find_text(&b->text);
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

static void on_signal(int signal_number)
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

/* SIGINT and SIGTERM end it after the running window, and temporary files are
 * removed. */
static int measure(struct bench *b, struct err *err)
{
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = SA_RESETHAND};
    struct results *r = &b->results;
    int rc = 0;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    find_cpu(r);
    b->options.corpus = corpus_create(b->text.data, b->text.len);
    b->options.stop = &interrupted;
    b->options.progress = show_progress;
    b->options.arg = b;
    bar_begin(&b->bar, "bench");
    for (size_t i = 0; i < RESULTS_PARTS; i++)
        b->all += r->parts[i].chosen ? r->parts[i].weight : 0.0;
    for (size_t i = 0; rc == 0 && i < RESULTS_PARTS; i++) {
        if (!r->parts[i].chosen)
            continue;
        b->part = &r->parts[i];
        show_progress(0.0, b);
        rc = results_run(r, &r->parts[i], &b->options, err);
        b->done += r->parts[i].weight;
    }
    bar_clear(&b->bar);
    corpus_free(b->options.corpus);
    return rc;
}

/* --- tables ------------------------------------------------------------- */

static void add_real(struct table *t, double value)
{
    double size = fabs(value);

    table_real(t, value, size < 10 ? 4 : size < 100 ? 1 : 0);
}

/* Adds a row with one cell for each measured part of the kind. */
static void add_row(struct table *t, const struct results *r,
                    enum part_kind kind, const struct results_figure *f,
                    const char *name, double (*value)(const struct figure *))
{
    table_cell(t, "%s", name);
    for (const struct part *p = r->parts; p < r->parts + RESULTS_PARTS; p++) {
        const void *field = results_field(p, f);

        if (p->kind != kind || !p->done)
            continue;
        if (f->type == RESULTS_MEDIAN)
            add_real(t, value(field));
        else if (f->type == RESULTS_COUNT)
            table_cell(t, "%zu", *(const size_t *)field);
        else if (f->type == RESULTS_TEXT)
            table_cell(t, "%s", *(const char *const *)field);
        else
            add_real(t, *(const double *)field);
    }
}

/* Prints a table with a row for each figure of the kind, and a column for each
 * part. */
static void print_kind(const struct results *r, enum part_kind kind)
{
    static const char *const headings[PART_KINDS] = {
        [PART_MACHINE] = "l:MACHINE", [PART_TRAIN] = "l:TRAINING",
        [PART_SCORE] = "l:SCORING",   [PART_GENERATE] = "l:GENERATION",
        [PART_PRESET] = "l:PRESETS",  [PART_QUANTIZE] = "l:INT8",
        [PART_REPLAY] = "l:REPLAY",   [PART_PUBLISH] = "l:PUBLISHING",
    };
    const struct part *one = NULL;
    struct table t;

    table_init(&t, headings[kind]);
    for (const struct part *p = r->parts; p < r->parts + RESULTS_PARTS; p++)
        if (p->kind == kind && p->done) {
            one = p;
            table_column(&t, 'r',
                         strchr(p->name, '.') ? strchr(p->name, '.') + 1
                                              : "VALUE");
        }
    for (size_t i = 0; one && i < results_figures_n; i++) {
        const struct results_figure *f = &results_figures[i];

        if (!f->name || !results_field(one, f))
            continue;
        add_row(&t, r, kind, f, f->name, figure_median);
        if (f->type == RESULTS_MEDIAN) {
            add_row(&t, r, kind, f, "  least", figure_least);
            add_row(&t, r, kind, f, "  most", figure_most);
        }
    }
    if (one) {
        table_print(&t, stdout);
        putchar('\n');
    }
    table_release(&t);
}

static void print_tables(const struct bench *b)
{
    const struct results *r = &b->results;

    printf("mneme %s, %s, %d thread%s\n%s\nMedians of %zu windows of %g s or "
           "one call, whichever is longer.\n\n",
           PACKAGE_VERSION, r->cpu, b->options.threads,
           b->options.threads == 1 ? "" : "s", ops_kernels(),
           b->options.windows, b->options.seconds);
    for (int kind = 0; kind < PART_KINDS; kind++)
        print_kind(r, (enum part_kind)kind);
    for (const struct part *p = r->parts; p < r->parts + RESULTS_PARTS; p++)
        if (p->left_out[0])
            printf("%s left out: %s\n", p->name, p->left_out);
}

int cmd_bench(const struct verb_args *args, struct err *err)
{
    struct bench *b = xcalloc(1, sizeof *b);
    int rc;

    if ((rc = parse(args, b, err)) == 0 && (rc = load_text(args, b, err)) == 0)
        rc = measure(b, err);
    if (rc == 0 && verb_has(args, "json")) {
        json_t *j = results_json(&b->results, &b->options);

        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
    } else if (rc == 0) {
        print_tables(b);
    }
    buf_release(&b->text);
    free(b);
    return rc;
}
