/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval: measures learning and forgetting with eval/, and prints tables or JSON.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "cli/bar.h"
#include "cli/pick.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "conf/conf.h"
#include "eval/eval.h"

#define MOST_COLUMNS 12 /* domains in a table */

struct eval {
    struct eval_options options;
    struct conf *conf;
    const char **heldout;
    size_t cap_heldout;
    char *lists; /* memory of the names in heldout */
    struct bar bar;
};

/* --- options ------------------------------------------------------------ */

static int parse_name(const struct verb_args *args, const char *option,
                      const char *const *names, size_t n, int *value,
                      struct err *err)
{
    const char *given = verb_value(args, option);
    struct buf all = BUF_INIT;

    if (!given)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(names[i], given)) {
            *value = (int)i;
            buf_release(&all);
            return 0;
        }
        buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    err_set(err, ERR_INVALID, "--%s: %s: one of %s is needed", option, given,
            all.data);
    buf_release(&all);
    return ERR_INVALID;
}

static int parse_arms(const struct verb_args *args, bool *arms, struct err *err)
{
    const char *given = verb_value(args, "arms");
    char *list = given ? xstrdup(given) : NULL, *next = NULL;
    int rc = 0;

    for (size_t i = 0; !given && i < EVAL_ARMS; i++)
        arms[i] = i != EVAL_SCRATCH; /* it takes very long */
    for (char *name = list ? strtok_r(list, ",", &next) : NULL; rc == 0 && name;
         name = strtok_r(NULL, ",", &next)) {
        size_t i = 0;

        while (i < EVAL_ARMS && strcmp(eval_arm_names[i], name) != 0)
            i++;
        if (i < EVAL_ARMS)
            arms[i] = true;
        else
            rc = err_set(err, ERR_INVALID,
                         "--arms: %s: a list of none, ewc, replay, both, "
                         "joint and scratch is needed",
                         name);
    }
    for (size_t i = 0; rc == 0; i++) {
        if (i == EVAL_ARMS)
            rc = err_set(err, ERR_INVALID, "--arms: the list is empty");
        else if (arms[i])
            break;
    }
    free(list);
    return rc;
}

/* --heldout may be repeated, and a value may be a list. */
static void parse_heldout(const struct verb_args *args, struct eval *e)
{
    struct buf all = BUF_INIT;
    char *next = NULL;

    for (size_t i = 0; i < args->n_given; i++)
        if (!strcmp(args->given[i].option->name, "heldout"))
            buf_addf(&all, "%s,", args->given[i].value);
    buf_addc(&all, '\0');
    e->lists = buf_detach(&all);
    for (char *path = strtok_r(e->lists, ",", &next); path;
         path = strtok_r(NULL, ",", &next)) {
        XGROW(e->heldout, e->options.n_heldout, e->cap_heldout);
        e->heldout[e->options.n_heldout++] = path;
    }
    e->options.heldout = e->heldout;
}

static int load_conf(const struct verb_args *args, struct eval *e,
                     struct err *err)
{
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    const char **sets = xcalloc(args->n_given + 2, sizeof *sets);
    const char *preset = verb_value(args, "preset");
    char *set_preset = xasprintf("model.preset=%s", preset ? preset : "");
    size_t n = 0;
    int rc;

    for (size_t i = 0; i < args->n_given; i++)
        if (!strcmp(args->given[i].option->name, "set"))
            sets[n++] = args->given[i].value;
    if (preset)
        sets[n++] = set_preset;
    sets[n++] = "source.type=stdin"; /* so that no other source is asked for */
    e->conf = conf_create();
    rc = conf_load(e->conf, verb_path(args, "conf"), sets, n, NULL, &problems);
    if (rc)
        rc = err_set(err, ERR_INVALID, "%s%s", problems.items[0].text,
                     problems.n > 1 ? " (and more)" : "");
    conf_problems_release(&problems);
    free(set_preset);
    free(sets);
    e->options.conf = e->conf;
    return rc;
}

static int parse(const struct verb_args *args, struct eval *e, struct err *err)
{
    struct eval_options *o = &e->options;
    int64_t seeds = 3, seed, jobs = 1, bytes = 0, heldout_bytes = 65536;
    int64_t points = 0;
    int by = args->n_words == 1 ? EVAL_BY_DOMAIN : EVAL_BY_FILE;
    int order = EVAL_SEQUENCE;
    cpu_set_t set;
    int rc = load_conf(args, e, err);

    if (rc)
        return rc;
    seed = e->conf->learner.seed;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        jobs = CPU_COUNT(&set);
    parse_heldout(args, e);
    if ((rc = parse_name(args, "by", eval_by_names, EVAL_BYS, &by, err)) ||
        (rc = parse_name(args, "order", eval_order_names, EVAL_ORDERS, &order,
                         err)) ||
        (rc = parse_arms(args, o->arms, err)) ||
        (rc = verb_integer(args, "seeds", 1, 1000, &seeds, err)) ||
        (rc = verb_integer(args, "seed", 0, INT64_MAX / 2, &seed, err)) ||
        (rc = verb_integer(args, "jobs", 1, 1024, &jobs, err)) ||
        (rc = verb_integer(args, "bytes", 0, INT64_MAX, &bytes, err)) ||
        (rc = verb_integer(args, "heldout-bytes", 0, INT64_MAX, &heldout_bytes,
                           err)) ||
        (rc = verb_integer(args, "points", 1, 1000, &points, err)))
        return rc;
    o->files = (const char *const *)args->words;
    o->n_files = args->n_words;
    o->by = (enum eval_by)by;
    o->order = (enum eval_order)order;
    o->seed = (uint64_t)seed;
    o->n_seeds = (size_t)seeds;
    o->jobs = (size_t)jobs;
    o->bytes = (size_t)bytes;
    o->heldout_bytes = (size_t)heldout_bytes;
    o->points = (size_t)points;
    o->equal_seconds = verb_has(args, "equal-seconds");
    return 0;
}

/* --- running ------------------------------------------------------------ */

static void show(void *arg, double share, size_t done, size_t all)
{
    struct eval *e = arg;
    double seconds = bar_seconds(&e->bar);
    int left = share > 0 ? (int)(seconds * (1 - share) / share) : 0;

    if (share >= 0.01 && seconds >= 2)
        bar_update(&e->bar, share, "%zu of %zu runs, %d:%02d left", done, all,
                   left / 60, left % 60);
    else
        bar_update(&e->bar, share, "%zu of %zu runs", done, all);
}

static int play(const struct verb_args *args, struct eval *e, json_t **report,
                struct err *err)
{
    int rc = parse(args, e, err);

    if (rc)
        return rc;
    bar_begin(&e->bar, "eval");
    e->options.progress = show;
    e->options.arg = e;
    rc = eval_files(&e->options, report, err);
    bar_clear(&e->bar);
    return rc;
}

/* --- tables ------------------------------------------------------------- */

static void print_matrix_row(struct table *t, const char *name,
                             const json_t *row, size_t n)
{
    if (!json_is_array(row))
        return;
    table_cell(t, "%s", name);
    for (size_t j = 0; j < n; j++) {
        const json_t *x = json_array_get(row, j);

        table_real(t, json_is_number(x) ? json_number_value(x) : NAN, 3);
    }
}

static const char *domain_name(const json_t *report, size_t j)
{
    return pick_text_or(json_array_get(pick(report, "domains"), j), "name", "");
}

/* Prints one matrix of an arm, with further rows. */
static void print_matrix(const json_t *report, const json_t *arm,
                         const char *key, const char *unit)
{
    size_t n = json_array_size(pick(report, "domains"));
    const json_t *matrix = pick(arm, key);
    const char *equal = pick_text(arm, "equal");
    bool is_loss = !strcmp(key, "matrix");
    struct table t;

    if (!matrix || n > MOST_COLUMNS)
        return;
    printf("\n%s%s%s: %s on each domain (column), after each (row)\n\n",
           pick_text_or(arm, "arm", ""), equal ? ", equal " : "",
           equal ? equal : "", unit);
    table_init(&t, "l:AFTER");
    for (size_t j = 0; j < n; j++)
        table_column(&t, 'r', domain_name(report, j));
    if (is_loss)
        print_matrix_row(&t, "(before any)", pick(arm, "start"), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *name = json_array_get(pick(arm, "rows"), i);

        print_matrix_row(&t,
                         json_is_string(name) ? json_string_value(name)
                                              : domain_name(report, i),
                         json_array_get(matrix, i), n);
    }
    if (is_loss && json_is_number(pick(arm, "mean.prequential"))) {
        print_matrix_row(&t, "first contact", pick(arm, "first_contact"), n);
        print_matrix_row(&t, "prequential", pick(arm, "prequential_by_domain"),
                         n);
    }
    table_print(&t, stdout);
    table_release(&t);
}

struct column {
    const char *measure;
    int digits;
    bool range; /* the largest minus the smallest value of the seeds */
};

/* Prints a row for each arm of this `equal`. */
static void print_arms(const json_t *arms, const char *equal,
                       const char *columns, const struct column *list, size_t n)
{
    const json_t *arm;
    struct table t;
    size_t i;

    table_init(&t, columns);
    json_array_foreach((json_t *)arms, i, arm)
    {
        if (strcmp(pick_text_or(arm, "equal", ""), equal) != 0)
            continue;
        table_cell(&t, "%s", pick_text_or(arm, "arm", ""));
        for (size_t k = 0; k < n; k++) {
            const char *name = list[k].measure;
            double value = pick_real(pick(arm, "mean"), name);

            if (list[k].range)
                value = pick_real(pick(arm, "most"), name) -
                        pick_real(pick(arm, "least"), name);
            table_real(&t, value, list[k].digits);
        }
    }
    table_print(&t, stdout);
    table_release(&t);
}

static void print_losses(const json_t *arms, const char *equal)
{
    static const struct column list[] = {
        {"final_mean", 3, false},
        {"final_mean", 3, true},
        {"anytime_mean", 3, false},
        {"forgetting", 3, false},
        {"backward_transfer", 3, false},
        {"retention", 3, false},
        {"newest", 3, false},
        {"prequential", 3, false},
    };

    print_arms(arms, equal,
               "l:ARM r:FINAL r:RANGE r:ANYTIME r:FORGETTING r:TRANSFER "
               "r:RETENTION r:NEWEST r:PREQUENTIAL",
               list, sizeof list / sizeof *list);
}

static void print_accuracies(const json_t *arms, const char *equal)
{
    static const struct column list[] = {
        {"final_accuracy", 3, false},
        {"final_accuracy", 3, true},
        {"anytime_accuracy", 3, false},
        {"prequential_accuracy", 3, false},
    };

    print_arms(arms, equal, "l:ARM r:FINAL r:RANGE r:ANYTIME r:PREQUENTIAL",
               list, sizeof list / sizeof *list);
}

static void print_costs(const json_t *arms, const char *equal)
{
    static const struct column list[] = {
        {"live_final_mean", 3, false},
        {"worst_unseen", 2, false},
        {"steps", 0, false},
        {"tokens", 0, false},
        {"consolidations", 0, false},
        {"records_learned", 0, false},
        {"records_refused", 0, false},
        {"seconds", 1, false},
        {"less_than_scratch", 1, false},
        {"peak_mib", 0, false},
    };

    print_arms(arms, equal,
               "l:ARM r:LIVE r:UNSEEN r:STEPS r:TOKENS r:ANCHORED r:LEARNED "
               "r:REFUSED r:SECONDS r:LESS r:MIB",
               list, sizeof list / sizeof *list);
}

static void print_measures(const json_t *report, const char *equal)
{
    const json_t *arms = pick(report, "arms"), *arm = NULL;
    int64_t seeds = pick_integer(report, "seeds", 1);
    size_t i;

    json_array_foreach((json_t *)arms, i, arm)
    {
        if (!strcmp(pick_text_or(arm, "equal", ""), equal))
            break;
    }
    if (i == json_array_size(arms))
        return;
    printf("\nAt equal %s, ",
           !strcmp(equal, "seconds") ? "processor seconds" : "updates");
    if (seeds == 1)
        printf("one seed\n");
    else
        printf("means of %" PRId64 " seeds\n", seeds);
    if (!isnan(pick_real(arm, "mean.final_mean"))) {
        printf("\nBits per byte\n\n");
        print_losses(arms, equal);
    }
    if (pick(arm, "accuracy")) {
        printf("\nAccuracy of the labels\n\n");
        print_accuracies(arms, equal);
    }
    putchar('\n');
    print_costs(arms, equal);
}

static void print_matrices(const json_t *report)
{
    const json_t *arm;
    size_t i;

    json_array_foreach(pick(report, "arms"), i, arm)
    {
        if (!isnan(pick_real(arm, "mean.final_mean")) || !pick(arm, "accuracy"))
            print_matrix(report, arm, "matrix", "bits per byte");
        print_matrix(report, arm, "accuracy", "accuracy");
    }
}

static void print_files(const json_t *report)
{
    size_t n = json_array_size(pick(report, "domains"));
    int64_t bad = pick_integer(report, "bad_records", 0);
    int64_t copies = pick_integer(report, "held_out_copies", 0);
    const json_t *d;
    struct table t;
    size_t j;

    printf("%zu domain%s, order %s, preset %s\n\n", n, n == 1 ? "" : "s",
           pick_text_or(report, "order", ""),
           json_string_value(
               json_object_get(pick(report, "settings"), "model.preset")));
    table_init(&t, "l:DOMAIN r:RECORDS r:KB r:HELD_OUT r:KB");
    json_array_foreach(pick(report, "domains"), j, d)
    {
        if (j == 40 && n > 42)
            break;
        table_cell(&t, "%s", domain_name(report, j));
        table_cell(&t, "%" PRId64, pick_integer(d, "records", 0));
        table_real(&t, pick_real(d, "bytes") / 1000, 0);
        table_cell(&t, "%" PRId64, pick_integer(d, "heldout_records", 0));
        table_real(&t, pick_real(d, "heldout_bytes") / 1000, 0);
    }
    table_print(&t, stdout);
    table_release(&t);
    if (j < n)
        printf("and %zu more\n", n - j);
    if (bad)
        printf("%" PRId64 " records are not valid and were left out\n", bad);
    if (copies)
        printf("%" PRId64 " records were not learned, since their text is held "
               "out\n",
               copies);
    print_measures(report, "updates");
    print_measures(report, "seconds");
    print_matrices(report);
}

/* A measure that the versions do not define is a dash. */
static void print_measure(const json_t *arm, const char *name, const char *path)
{
    double value = pick_real(arm, path);

    if (isnan(value))
        printf("%s -", name);
    else
        printf("%s %.3f", name, value);
}

static void print_versions(const json_t *report)
{
    const json_t *arm = json_array_get(pick(report, "arms"), 0);
    const json_t *serving = pick(report, "serving");
    double share = pick_real(serving, "behind_share");

    print_matrices(report);
    print_measure(arm, "\nfinal mean", "mean.final_mean");
    print_measure(arm, ", forgetting", "mean.forgetting");
    print_measure(arm, ", backward transfer", "mean.backward_transfer");
    putchar('\n');
    if (!isnan(share))
        printf("serving was behind the newest version for %.1f %% of %.0f s, "
               "by %" PRId64 " version%s at worst, by %" PRId64 " at the end\n",
               100 * share, pick_real(serving, "seconds"),
               pick_integer(serving, "worst_behind", 0),
               pick_integer(serving, "worst_behind", 0) == 1 ? "" : "s",
               pick_integer(serving, "behind_now", 0));
}

/* --- files -------------------------------------------------------------- */

static int write_files(const struct verb_args *args, const json_t *report,
                       struct err *err)
{
    const char *json = verb_value(args, "out"), *svg = verb_value(args, "svg");
    struct buf drawing = BUF_INIT;
    int rc = 0;

    if (json) {
        char *text = json_dumps(report, JSON_INDENT(1));

        rc = fileio_write_atomic(json, text, strlen(text), err);
        free(text);
    }
    if (rc == 0 && svg) {
        eval_chart(report, &drawing);
        rc = fileio_write_atomic(svg, drawing.data, drawing.len, err);
        buf_release(&drawing);
    }
    return rc;
}

int cmd_eval(const struct verb_args *args, struct err *err)
{
    struct eval e = {0};
    json_t *report = NULL;
    int rc;

    if (args->n_words && verb_has(args, "data-dir"))
        rc = err_set(err, ERR_INVALID,
                     "give files or --data-dir, not both: files are learned "
                     "without a data directory");
    else if (args->n_words)
        rc = play(args, &e, &report, err);
    else
        rc = eval_versions(verb_data_dir(args), &report, err);
    if (rc == 0)
        rc = write_files(args, report, err);
    if (rc == 0 && verb_has(args, "json"))
        pick_print(report);
    else if (rc == 0 && args->n_words)
        print_files(report);
    else if (rc == 0)
        print_versions(report);
    json_decref(report);
    conf_free(e.conf);
    free(e.heldout);
    free(e.lists);
    return rc;
}
