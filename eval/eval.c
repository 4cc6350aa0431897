/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans the runs, and makes the report of their results:
 *
 *     order, settings, bad_records, held_out_copies
 *     domains  [{name, records, bytes, heldout_records, heldout_bytes}]
 *     arms     [{arm, equal, runs, rows, start, matrix, accuracy,
 *              first_contact, prequential_by_domain, mean, least, most}]
 *
 * `runs` are the results of eval_run.c, one for each seed. The other members of
 * an arm are means over the seeds; least and most are the extremes. With equal
 * seconds, the runs at equal updates come first, since the time of the slowest
 * arm is the time of every arm.
 */
#include "config.h"

#include "eval/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/train/options.h"
#include "eval/eval_pool.h"
#include "eval/eval_run.h"
#include "eval/eval_texts.h"
#include "eval/measures.h"

const char *const eval_arm_names[EVAL_ARMS] = {"none", "ewc",   "replay",
                                               "both", "joint", "scratch"};
const char *const eval_order_names[EVAL_ORDERS] = {"sequence", "gradual",
                                                   "interleaved", "time"};
const char *const eval_by_names[EVAL_BYS] = {"file", "domain", "label"};

struct plan {
    const struct eval_options *o;
    struct eval_texts texts;
    enum eval_arm arms[EVAL_ARMS]; /* the chosen ones */
    size_t n_arms, n_jobs; /* a job for each arm and seed; by arm first */
    json_t **first;        /* [n_jobs] at equal updates */
    json_t **second;       /* [n_jobs] at equal seconds; NULL: not wanted */
    bool is_second;        /* these run now */
    double *seconds;       /* [n_seeds][domains] for the second */
};

/* --- jobs --------------------------------------------------------------- */

static uint64_t seed_of(const struct plan *p, size_t job)
{
    return p->o->seed + job % p->o->n_seeds;
}

static int run_job(void *arg, size_t job, void *sink, json_t **result,
                   struct err *err)
{
    const struct plan *p = arg;
    struct eval_run_options o = {
        .o = p->o,
        .texts = &p->texts,
        .arm = p->arms[job / p->o->n_seeds],
        .seed = seed_of(p, job),
        .seconds = p->is_second
                       ? p->seconds + job % p->o->n_seeds * p->texts.names.n
                       : NULL,
        .progress = eval_pool_report,
        .arg = sink,
    };

    return eval_run(&o, result, err);
}

static void name_job(void *arg, size_t job, char *out, size_t size)
{
    const struct plan *p = arg;

    snprintf(out, size, "arm %s, seed %llu",
             eval_arm_names[p->arms[job / p->o->n_seeds]],
             (unsigned long long)seed_of(p, job));
}

static void show(void *arg, double share, size_t n_done)
{
    const struct plan *p = arg;
    size_t n = p->second ? 2 * p->n_jobs : p->n_jobs;

    if (p->second)
        share = share / 2 + (p->is_second ? 0.5 : 0.0);
    if (p->o->progress)
        p->o->progress(p->o->arg, share,
                       n_done + (p->is_second ? p->n_jobs : 0), n);
}

/* The time of the slowest arm, for each seed and part of the stream. */
static void find_seconds(struct plan *p)
{
    size_t n = p->texts.names.n;

    p->seconds = xcalloc(p->o->n_seeds * n, sizeof *p->seconds);
    for (size_t job = 0; job < p->n_jobs; job++) {
        const json_t *list = json_object_get(
            json_object_get(p->first[job], "cost"), "part_seconds");
        double *most = p->seconds + job % p->o->n_seeds * n;

        for (size_t j = 0; j < n; j++)
            most[j] = fmax(most[j], json_real_value(json_array_get(list, j)));
    }
}

static int run_all(struct plan *p, struct err *err)
{
    struct eval_pool pool = {
        .n = p->n_jobs,
        .at_once = p->o->jobs,
        .arg = p,
        .run = run_job,
        .name = name_job,
        .progress = show,
    };
    int rc = eval_pool_run(&pool, p->first, err);

    if (rc || !p->second)
        return rc;
    find_seconds(p);
    p->is_second = true;
    return eval_pool_run(&pool, p->second, err);
}

/* --- means over the seeds ----------------------------------------------- */

static double number(const json_t *x)
{
    return json_is_number(x) ? json_number_value(x) : NAN;
}

/* The mean over the runs of a matrix. */
static json_t *mean_matrix(json_t *const *runs, size_t n_runs, const char *key)
{
    json_t *rows = json_array();
    size_t n = json_array_size(json_object_get(runs[0], key));

    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array();

        for (size_t j = 0; j < n; j++) {
            double sum = 0;

            for (size_t k = 0; k < n_runs; k++)
                sum += number(json_array_get(
                    json_array_get(json_object_get(runs[k], key), i), j));
            json_array_append_new(row, json_value_real(sum / (double)n_runs));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

/* Names the rows of the matrix: by the domain that was learned last, or by the
 * share of the text, where no part of the stream is one domain. */
static json_t *row_names(const struct plan *p, enum eval_arm arm)
{
    bool by_domain = arm != EVAL_JOINT && (p->o->order == EVAL_SEQUENCE ||
                                           p->o->order == EVAL_GRADUAL);
    json_t *list = json_array();
    size_t n = 0, all = 0;

    for (size_t i = 0; i < p->texts.names.n; i++)
        all += p->texts.domains[i].learned_bytes;
    for (size_t i = 0; i < p->texts.names.n; i++) {
        n += p->texts.domains[i].learned_bytes;
        json_array_append_new(
            list, by_domain ? json_value_text(p->texts.names.items[i])
                            : json_sprintf("%.0f %%",
                                           100.0 * (double)n / (double)all));
    }
    return list;
}

/* The mean over the runs of a list. */
static json_t *mean_list(json_t *const *runs, size_t n_runs, const char *key)
{
    json_t *list = json_array();
    size_t n = json_array_size(json_object_get(runs[0], key));

    for (size_t j = 0; j < n; j++) {
        double sum = 0;

        for (size_t k = 0; k < n_runs; k++)
            sum += number(json_array_get(json_object_get(runs[k], key), j));
        json_array_append_new(list, json_value_real(sum / (double)n_runs));
    }
    return list;
}

/* Adds mean, least and most of each number in runs[k].group. */
static void add_extremes(json_t *arm, json_t *const *runs, size_t n_runs,
                         const char *group)
{
    json_t *first = json_object_get(runs[0], group), *value;
    const char *key;

    json_object_foreach(first, key, value)
    {
        double sum = 0, least = INFINITY, most = -INFINITY;

        if (json_is_array(value))
            continue;
        for (size_t k = 0; k < n_runs; k++) {
            double x =
                number(json_object_get(json_object_get(runs[k], group), key));

            sum += x;
            least = x < least ? x : least;
            most = x > most ? x : most;
        }
        json_object_set_new(json_object_get(arm, "mean"), key,
                            json_value_real(sum / (double)n_runs));
        json_object_set_new(json_object_get(arm, "least"), key,
                            json_value_real(least));
        json_object_set_new(json_object_get(arm, "most"), key,
                            json_value_real(most));
    }
}

static json_t *const *runs_of(const struct plan *p, json_t *const *runs,
                              enum eval_arm arm)
{
    for (size_t i = 0; i < p->n_arms; i++)
        if (p->arms[i] == arm)
            return runs + i * p->o->n_seeds;
    return NULL;
}

/* Retention compares the runs of one seed. */
static void add_retention(const struct plan *p, json_t *const *runs)
{
    json_t *const *naive = runs_of(p, runs, EVAL_NONE);
    json_t *const *joint = runs_of(p, runs, EVAL_JOINT);

    for (size_t job = 0; job < p->n_jobs; job++) {
        size_t k = job % p->o->n_seeds;
        json_t *m = json_object_get(runs[job], "measures");
        double retention = NAN;

        if (naive && joint)
            retention = measures_retention(
                number(json_object_get(json_object_get(naive[k], "measures"),
                                       "final_mean")),
                number(json_object_get(m, "final_mean")),
                number(json_object_get(json_object_get(joint[k], "measures"),
                                       "final_mean")));
        json_object_set_new(m, "retention", json_value_real(retention));
    }
}

/* Compares the processor time of the arm scratch with that of each arm. */
static void add_less(const struct plan *p, json_t *const *runs)
{
    json_t *const *scratch = runs_of(p, runs, EVAL_SCRATCH);

    for (size_t job = 0; job < p->n_jobs; job++) {
        json_t *cost = json_object_get(runs[job], "cost");
        double less = NAN;

        if (scratch)
            less = number(json_object_get(
                       json_object_get(scratch[job % p->o->n_seeds], "cost"),
                       "seconds")) /
                   number(json_object_get(cost, "seconds"));
        json_object_set_new(cost, "less_than_scratch", json_value_real(less));
    }
}

static void add_arms(const struct plan *p, json_t *const *runs,
                     const char *equal, json_t *arms)
{
    add_retention(p, runs);
    add_less(p, runs);
    for (size_t i = 0; i < p->n_arms; i++) {
        json_t *const *of_arm = runs + i * p->o->n_seeds;
        size_t n = p->o->n_seeds;
        json_t *arm = json_pack(
            "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:[], s:{}, s:{}, s:{}}",
            "arm", eval_arm_names[p->arms[i]], "equal", equal, "rows",
            row_names(p, p->arms[i]), "start", mean_list(of_arm, n, "start"),
            "matrix", mean_matrix(of_arm, n, "matrix"), "first_contact",
            mean_list(of_arm, n, "first_contact"), "prequential_by_domain",
            mean_list(of_arm, n, "prequential_by_domain"), "runs", "mean",
            "least", "most");

        if (p->texts.has_labels)
            json_object_set_new(arm, "accuracy",
                                mean_matrix(of_arm, p->o->n_seeds, "accuracy"));
        add_extremes(arm, of_arm, p->o->n_seeds, "measures");
        add_extremes(arm, of_arm, p->o->n_seeds, "cost");
        for (size_t k = 0; k < p->o->n_seeds; k++)
            json_array_append(json_object_get(arm, "runs"), of_arm[k]);
        json_array_append_new(arms, arm);
    }
}

/* --- the report --------------------------------------------------------- */

static json_t *domains_of(const struct eval_texts *t)
{
    json_t *list = json_array();

    for (size_t j = 0; j < t->names.n; j++) {
        const struct eval_domain *d = &t->domains[j];

        json_array_append_new(
            list, json_pack("{s:o, s:I, s:I, s:I, s:I}", "name",
                            json_value_text(t->names.items[j]), "records",
                            (json_int_t)d->n_learned, "bytes",
                            (json_int_t)d->learned_bytes, "heldout_records",
                            (json_int_t)d->n_heldout, "heldout_bytes",
                            (json_int_t)d->heldout_bytes));
    }
    return list;
}

static json_t *report_of(const struct plan *p)
{
    json_t *settings = options_settings(p->o->conf);
    json_t *report = json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:[]}",
                               "program", "mneme " PACKAGE_VERSION, "order",
                               eval_order_names[p->o->order], "settings",
                               settings, "seeds", (json_int_t)p->o->n_seeds,
                               "bad_records", (json_int_t)p->texts.n_bad,
                               "held_out_copies", (json_int_t)p->texts.n_copies,
                               "domains", domains_of(&p->texts), "arms");
    json_t *arms = json_object_get(report, "arms");

    /* The arms and the seeds decide these. */
    json_object_del(settings, "learner.replay.enabled");
    json_object_del(settings, "learner.ewc.enabled");
    json_object_del(settings, "learner.seed");
    json_object_del(settings, "learner.holdout.fraction");
    add_arms(p, p->first, "updates", arms);
    if (p->second)
        add_arms(p, p->second, "seconds", arms);
    return report;
}

static int check_times(const struct eval_texts *t, struct err *err)
{
    for (size_t i = 0; i < t->learned.n; i++)
        if (t->learned.items[i].time_ms)
            return 0;
    return err_set(err, ERR_INVALID,
                   "no record has a time stamp (a member \"ts\")");
}

int eval_files(const struct eval_options *o, json_t **report, struct err *err)
{
    struct plan p = {.o = o};
    int rc;

    if (o->by == EVAL_BY_FILE && o->n_heldout && o->n_heldout != o->n_files)
        return err_set(err, ERR_INVALID,
                       "%zu files to learn, but %zu of held-out records: "
                       "give one for each, in the same order",
                       o->n_files, o->n_heldout);
    if (o->equal_seconds && o->arms[EVAL_SCRATCH])
        return err_set(err, ERR_INVALID,
                       "equal seconds are not for the arm scratch, which "
                       "learns the first domain once for each domain");
    for (size_t i = 0; i < EVAL_ARMS; i++)
        if (o->arms[i])
            p.arms[p.n_arms++] = (enum eval_arm)i;
    p.n_jobs = p.n_arms * o->n_seeds;
    p.first = xcalloc(p.n_jobs, sizeof *p.first);
    if (o->equal_seconds)
        p.second = xcalloc(p.n_jobs, sizeof *p.second);
    rc = eval_texts_read(o, &p.texts, err);
    if (rc == 0 && o->order == EVAL_TIME)
        rc = check_times(&p.texts, err);
    if (rc == 0 && o->conf->model.preset == CONF_PRESET_LINEAR &&
        !p.texts.has_labels)
        rc = err_set(err, ERR_INVALID,
                     "preset linear learns labels, and no held-out record has "
                     "one (a member \"label\")");
    if (rc == 0)
        rc = run_all(&p, err);
    if (rc == 0)
        *report = report_of(&p);
    for (size_t i = 0; i < p.n_jobs; i++) {
        json_decref(p.first[i]);
        if (p.second)
            json_decref(p.second[i]);
    }
    free(p.first);
    free(p.second);
    free(p.seconds);
    eval_texts_release(&p.texts);
    return rc;
}
