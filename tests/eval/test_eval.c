/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole evaluation with a model of 16 channels: the report agrees with
 * itself, and does not depend on the number of processes.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "eval/eval.h"
#include "tests/util/base_util.h"

static const char *const sets[] = {
    "learner.ngram.enabled=false", /* the figures are the Transformer's */
    "source.type=stdin",        "model.preset=custom", "model.dim=16",
    "model.layers=1",           "model.heads=2",       "model.kv_heads=1",
    "model.ffn_dim=32",         "model.context=32",    "model.tokenizer=bytes",
    "learner.batch_tokens=128",
};

struct fixture {
    char *files[3];
    struct conf *conf;
    struct eval_options o;
};

static void write_file(struct fixture *f, const char *dir, int i,
                       const char *const words[4])
{
    struct buf text = BUF_INIT;

    for (int k = 0; k < 60; k++) {
        buf_adds(&text, "{\"text\": \"");
        for (int w = 0; w < 6; w++)
            buf_addf(&text, "%s %d ", words[(k * 7 + w * w) % 4], k % 10);
        buf_addf(&text, "%d\", \"label\": \"l%d\"}\n", k, i);
    }
    f->files[i] = xasprintf("%s/%c.jsonl", dir, 'a' + i);
    assert_int_equal(fileio_write_sync(f->files[i], text.data, text.len, NULL),
                     0);
    buf_release(&text);
}

static void set_up(struct fixture *f, const char *dir)
{
    static const char *const words[3][4] = {{"tide", "quay", "mooring", "gull"},
                                            {"APPLE", "GRAFT", "FROST", "BEE"},
                                            {"#42;", "{if}", "++x", "(y)"}};
    struct conf_problems problems = CONF_PROBLEMS_INIT;

    memset(f, 0, sizeof *f);
    for (int i = 0; i < 3; i++)
        write_file(f, dir, i, words[i]);
    f->conf = conf_create();
    assert_int_equal(conf_load(f->conf, NULL, sets, sizeof sets / sizeof *sets,
                               NULL, &problems),
                     0);
    conf_problems_release(&problems);
    f->o = (struct eval_options){
        .conf = f->conf,
        .files = (const char *const *)f->files,
        .n_files = 3,
        .arms = {[EVAL_NONE] = true, [EVAL_BOTH] = true, [EVAL_JOINT] = true},
        .seed = 1,
        .n_seeds = 2,
        .jobs = 2,
        .points = 2,
    };
}

static void tear_down(struct fixture *f)
{
    conf_free(f->conf);
    for (int i = 0; i < 3; i++) {
        fileio_unlink(f->files[i], NULL);
        free(f->files[i]);
    }
}

static json_t *run(struct fixture *f)
{
    struct err err = ERR_INIT;
    json_t *report = NULL;

    if (eval_files(&f->o, &report, &err))
        fail_msg("%s", err.msg);
    return report;
}

/* Seconds and memory are not the same twice. */
static void drop_costs(json_t *report)
{
    static const char *const costs[] = {"seconds", "measuring_seconds",
                                        "peak_mib"};
    json_t *arm, *one;
    size_t i, k;

    json_array_foreach(json_object_get(report, "arms"), i, arm)
    {
        json_array_foreach(json_object_get(arm, "runs"), k, one)
            json_object_del(one, "cost");
        for (k = 0; k < 3; k++) {
            json_object_del(json_object_get(arm, "mean"), costs[k]);
            json_object_del(json_object_get(arm, "least"), costs[k]);
            json_object_del(json_object_get(arm, "most"), costs[k]);
        }
    }
}

static double real(const json_t *j, const char *group, const char *key)
{
    return json_real_value(json_object_get(json_object_get(j, group), key));
}

static double cell(const json_t *matrix, size_t i, size_t j)
{
    return json_real_value(json_array_get(json_array_get(matrix, i), j));
}

static void check_run(const json_t *run)
{
    const json_t *m = json_object_get(run, "matrix");
    const json_t *curve = json_object_get(run, "curve");
    bool joint =
        !strcmp(json_string_value(json_object_get(run, "arm")), "joint");

    assert_int_equal(json_array_size(m), 3);
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++)
            assert_true(cell(m, i, j) > 0.5 && cell(m, i, j) < 20);
    for (size_t j = 0; j < 3; j++) {
        /* An untrained model of bytes: log2(257) = 8.006. */
        double start =
            json_real_value(json_array_get(json_object_get(run, "start"), j));
        double contact = json_real_value(
            json_array_get(json_object_get(run, "first_contact"), j));

        assert_true(fabs(start - 8.006) < 0.4);
        assert_true(contact > 2 && contact < 20);
    }
    assert_true(fabs(real(run, "measures", "final_mean") -
                     (cell(m, 2, 0) + cell(m, 2, 1) + cell(m, 2, 2)) / 3) <
                1e-12);
    assert_true(json_is_real(json_object_get(json_object_get(run, "measures"),
                                             "forgetting")) != joint);
    if (!joint) {
        assert_true(cell(m, 0, 0) < 7.5);
        assert_true(fabs(real(run, "measures", "backward_transfer") -
                         (cell(m, 0, 0) - cell(m, 2, 0) + cell(m, 1, 1) -
                          cell(m, 2, 1)) /
                             2) < 1e-12);
    }
    /* 2 points in each of 3 parts, and one before. */
    assert_int_equal(json_array_size(json_object_get(curve, "bytes")), 7);
    assert_int_equal(json_array_size(json_object_get(curve, "loss")), 7);
    assert_int_equal((int)real(run, "measures", "records_learned") +
                         (int)real(run, "measures", "records_refused"),
                     3 * 57);
}

static void check_retention(const json_t *arms)
{
    double final[3];

    for (size_t i = 0; i < 3; i++)
        final[i] = real(
            json_array_get(json_object_get(json_array_get(arms, i), "runs"), 0),
            "measures", "final_mean");
    for (size_t i = 0; i < 3; i++)
        assert_true(
            fabs(real(json_array_get(
                          json_object_get(json_array_get(arms, i), "runs"), 0),
                      "measures", "retention") -
                 (final[0] - final[i]) / (final[0] - final[2])) < 1e-12);
}

static void test_report(void **state)
{
    struct fixture f;
    json_t *report, *again, *arms, *arm, *one;
    struct buf svg = BUF_INIT;
    size_t i, k;

    set_up(&f, *state);
    report = run(&f);
    arms = json_object_get(report, "arms");
    assert_int_equal(json_array_size(arms), 3);
    json_array_foreach(arms, i, arm)
    {
        assert_int_equal(json_array_size(json_object_get(arm, "runs")), 2);
        json_array_foreach(json_object_get(arm, "runs"), k, one) check_run(one);
        assert_true(real(arm, "least", "final_mean") <=
                        real(arm, "mean", "final_mean") &&
                    real(arm, "mean", "final_mean") <=
                        real(arm, "most", "final_mean"));
    }
    check_retention(arms);
    /* Replay keeps more than nothing. */
    assert_true(real(json_array_get(arms, 1), "mean", "final_mean") <
                real(json_array_get(arms, 0), "mean", "final_mean"));
    eval_chart(report, &svg);
    assert_memory_equal(svg.data, "<svg ", 5);
    assert_null(strstr(svg.data, "nan"));
    buf_release(&svg);
    f.o.jobs = 1;
    again = run(&f);
    drop_costs(report);
    drop_costs(again);
    assert_true(json_equal(report, again));
    json_decref(report);
    json_decref(again);
    tear_down(&f);
}

/* The time that an arm took for a part of the stream. */
static double part_seconds(const json_t *arm, size_t part)
{
    const json_t *first = json_array_get(json_object_get(arm, "runs"), 0);
    const json_t *cost = json_object_get(first, "cost");

    return json_number_value(
        json_array_get(json_object_get(cost, "part_seconds"), part));
}

/* For each part, every arm gets the time of the slowest, and its prequential
 * loss counts the first pass only. */
static void test_equal_seconds(void **state)
{
    struct fixture f;
    json_t *report, *arms, *arm;

    set_up(&f, *state);
    f.o.arms[EVAL_JOINT] = false;
    f.o.n_seeds = 1;
    f.o.equal_seconds = true;
    report = run(&f);
    arms = json_object_get(report, "arms");
    assert_int_equal(json_array_size(arms), 4);
    for (size_t part = 0; part < 3; part++) {
        double slowest = 0;

        for (size_t i = 0; i < 2; i++) {
            arm = json_array_get(arms, i);
            slowest = fmax(slowest, part_seconds(arm, part));
        }
        assert_true(slowest > 0);
        for (size_t i = 2; i < 4; i++) {
            arm = json_array_get(arms, i);
            assert_true(part_seconds(arm, part) >= slowest);
            assert_true(real(arm, "mean", "records_learned") <= 3 * 57);
        }
    }
    json_decref(report);
    tear_down(&f);
}

/* The last training from scratch is the arm joint, and an earlier one does not
 * know the domains that come later. */
static void test_scratch(void **state)
{
    struct fixture f;
    json_t *report, *arms, *joint, *scratch, *m;
    double learned = 57 + 2 * 57 + 3 * 57;

    set_up(&f, *state);
    f.o.arms[EVAL_NONE] = f.o.arms[EVAL_BOTH] = false;
    f.o.arms[EVAL_SCRATCH] = true;
    f.o.n_seeds = 1;
    report = run(&f);
    arms = json_object_get(report, "arms");
    assert_int_equal(json_array_size(arms), 2);
    joint = json_array_get(json_object_get(json_array_get(arms, 0), "runs"), 0);
    scratch =
        json_array_get(json_object_get(json_array_get(arms, 1), "runs"), 0);
    m = json_object_get(scratch, "matrix");
    /* Joint makes a step at the end of each part; else the two are equal. */
    for (size_t j = 0; j < 3; j++)
        assert_true(fabs(cell(m, 2, j) -
                         cell(json_object_get(joint, "matrix"), 2, j)) < 0.3);
    assert_true(cell(m, 0, 0) + 1 < cell(m, 0, 1));
    assert_true(cell(m, 1, 1) + 1 < cell(m, 1, 2));
    assert_true(fabs(real(scratch, "measures", "anytime_mean") -
                     (cell(m, 0, 0) + (cell(m, 1, 0) + cell(m, 1, 1)) / 2 +
                      (cell(m, 2, 0) + cell(m, 2, 1) + cell(m, 2, 2)) / 3) /
                         3) < 1e-12);
    assert_true(real(scratch, "measures", "records_learned") +
                    real(scratch, "measures", "records_refused") ==
                learned);
    assert_true(real(scratch, "measures", "tokens") >
                1.5 * real(joint, "measures", "tokens"));
    assert_true(json_is_null(
        json_object_get(json_object_get(scratch, "measures"), "prequential")));
    assert_true(real(scratch, "cost", "less_than_scratch") == 1.0);
    assert_true(fabs(real(joint, "cost", "less_than_scratch") -
                     real(scratch, "cost", "seconds") /
                         real(joint, "cost", "seconds")) < 1e-12);
    json_decref(report);
    f.o.n_files = 1;
    report = run(&f);
    arms = json_object_get(report, "arms");
    assert_true(json_equal(json_object_get(json_array_get(arms, 0), "matrix"),
                           json_object_get(json_array_get(arms, 1), "matrix")));
    json_decref(report);
    tear_down(&f);
}

static void test_linear(void **state)
{
    struct fixture f;
    json_t *report, *arm;

    set_up(&f, *state);
    f.conf->model.preset = CONF_PRESET_LINEAR;
    f.o.arms[EVAL_NONE] = f.o.arms[EVAL_JOINT] = false;
    f.o.n_seeds = 1;
    report = run(&f);
    arm = json_array_get(json_object_get(report, "arms"), 0);
    assert_true(json_is_null(
        json_object_get(json_object_get(arm, "mean"), "final_mean")));
    assert_true(real(arm, "mean", "final_accuracy") > 0.9);
    assert_true(real(arm, "mean", "anytime_accuracy") > 0.9);
    assert_true(real(arm, "mean", "prequential_accuracy") > 0.5);
    json_decref(report);
    tear_down(&f);
}

static void test_errors(void **state)
{
    struct err err = ERR_INIT;
    json_t *report = NULL;
    struct fixture f;

    set_up(&f, *state);
    f.o.order = EVAL_TIME;
    assert_int_equal(eval_files(&f.o, &report, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "time stamp"));
    f.o.order = EVAL_SEQUENCE;
    f.o.arms[EVAL_SCRATCH] = f.o.equal_seconds = true;
    assert_int_equal(eval_files(&f.o, &report, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "scratch"));
    f.o.arms[EVAL_SCRATCH] = f.o.equal_seconds = false;
    /* An error in the process of a run names the run. */
    f.conf->model.tokenizer_from = xstrdup("no-such-file.json");
    assert_int_equal(eval_files(&f.o, &report, &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "arm none, seed"));
    assert_non_null(strstr(err.msg, "no-such-file.json"));
    assert_int_equal(fileio_write_sync(f.files[1], "\xff\xfe\0\x01\n", 5, NULL),
                     0);
    assert_int_equal(eval_files(&f.o, &report, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, f.files[1]));
    assert_int_equal(eval_versions(*state, &report, &err), ERR_NOTFOUND);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),  cmocka_unit_test(test_equal_seconds),
        cmocka_unit_test(test_scratch), cmocka_unit_test(test_linear),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, base_make_temp, base_remove_temp);
}
