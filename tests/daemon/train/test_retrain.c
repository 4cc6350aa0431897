/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions are learned again from a file, by retrain_settings and retrain_run.
 * The versions are made by a learner to which the test hands the lines of the
 * file. retrain_run makes its own source, which reads the file.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"
#include "daemon/train/retrain.h"
#include "tests/util/rewind_util.h"
#include "tests/util/store_util.h"

#define N_LINES 60
#define N_SETS 5

/* A data directory, the file beside it, and the settings of both. */
struct world {
    struct train_util u;
    char *path, *sets[N_SETS];
};

static char *line_text(int i)
{
    struct buf out = BUF_INIT;

    if (i % 20 == 7) { /* longer than a batch */
        buf_adds(&out, "{\"text\": \"");
        for (int k = 0; k < 12; k++)
            buf_addf(&out, "Ship %d waits for the tide. ", 31 * i + k);
        buf_adds(&out, "\"}");
    } else if (i % 20 == 11) {
        buf_adds(&out, "{\"text\": \"\"}"); /* refused */
    } else {
        buf_addf(&out,
                 "{\"text\": \"Ship %d lies at quay %d.\", \"label\": \"%s\"}",
                 i, i * 7919 % 1000, i % 2 ? "odd" : "even");
    }
    return buf_detach(&out);
}

/* Writes lines 0 to n - 1, with another text in line `changed`. */
static void write_lines(const char *path, int n, int changed)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        char *text = line_text(i == changed ? i + 20 : i);

        fprintf(f, "%s\n", text);
        free(text);
    }
    assert_int_equal(fclose(f), 0);
}

/* Opens the data directory with or without a moving average. */
static void open_with(struct world *w, const char *dir, bool average)
{
    w->path = xasprintf("%s/text", dir);
    w->sets[0] = xasprintf("source.path=%s", w->path);
    w->sets[1] = xstrdup("source.follow=false");
    w->sets[2] = xstrdup("learner.holdout.fraction=0.2");
    w->sets[3] = xstrdup("learner.ewc.consolidate=every:3");
    w->sets[4] =
        xasprintf("learner.average.enabled=%s", average ? "true" : "false");
    write_lines(w->path, N_LINES, -1);
    rewind_util_open(&w->u, dir, (const char *const *)w->sets, N_SETS);
    w->u.source.next[0] =
        progress_next_offset(&w->u.learning.progress, w->path, 0);
}

static void open_world(struct world *w, const char *dir)
{
    open_with(w, dir, true);
}

static void close_world(struct world *w)
{
    rewind_util_close(&w->u);
    for (int i = 0; i < N_SETS; i++)
        free(w->sets[i]);
    free(w->path);
}

/* Learns the next n lines of the file and publishes a version. */
static int64_t version_of(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        char *text = line_text((int)w->u.source.next[0]);

        rewind_util_add(&w->u, 0, text, NULL, NULL);
        free(text);
    }
    rewind_util_flush(&w->u);
    return rewind_util_publish(&w->u, NULL);
}

/* The configuration names the file and the shape: the version brings the
 * settings that decide what is learned. */
static int retrain(struct world *w, int64_t version, json_t **report,
                   struct err *err)
{
    const char *const sets[] = {w->sets[0], "source.follow=false",
                                "source.kafka.on_gap=skip",
                                "learner.batch_tokens=4096"};
    struct conf *conf = train_util_conf(w->u.dir, sets, 4);
    int rc;

    *err = (struct err)ERR_INIT;
    *report = NULL;
    rc = retrain_settings(conf, &version, err);
    if (rc == 0) {
        assert_int_equal(conf->learner.batch_tokens, 64);
        assert_int_equal(conf->source.kafka.on_gap, CONF_ON_GAP_STOP);
        rc = retrain_run(conf, version, report, err);
    }
    conf_free(conf);
    return rc;
}

static int64_t number(const json_t *report, const char *name)
{
    return json_integer_value(json_object_get(report, name));
}

static void assert_same(struct world *w, int64_t version, int64_t parent)
{
    json_t *report;
    struct err err;

    if (retrain(w, version, &report, &err) != 0)
        fail_msg("version %lld: %s", (long long)version, err.msg);
    if (!json_is_true(json_object_get(report, "same")))
        fail_msg("version %lld: %s", (long long)version,
                 json_dumps(report, JSON_COMPACT));
    assert_int_equal(number(report, "version"), version);
    assert_int_equal(number(report, "parent"), parent);
    json_decref(report);
}

static void assert_refused(struct world *w, int64_t version, int rc,
                           const char *reason)
{
    json_t *report;
    struct err err;

    assert_int_equal(retrain(w, version, &report, &err), rc);
    assert_null(report);
    if (!strstr(err.msg, reason))
        fail_msg("%s", err.msg);
}

/* --- the same ----------------------------------------------------------- */

static void test_same(void **state)
{
    struct world w;
    json_t *report;
    struct err err;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 15), 2);
    assert_int_equal(version_of(&w, 1), 3); /* a flushed batch */
    assert_int_equal(version_of(&w, 24), 4);
    assert_true(w.u.learning.progress.records.holdout > 0);
    assert_true(w.u.learning.progress.records.quarantined > 0);
    for (int64_t v = 2; v <= 4; v++)
        assert_same(&w, v, v - 1);
    /* 0: the head. */
    assert_int_equal(retrain(&w, 0, &report, &err), 0);
    assert_int_equal(number(report, "version"), 4);
    assert_int_equal(number(report, "records"), 24);
    assert_true(number(report, "steps") > 0);
    assert_int_equal(json_array_size(json_object_get(report, "notes")), 0);
    json_decref(report);
    close_world(&w);
}

/* A version in the middle of a record: its ledger says what went on. */
static void test_long_record(void **state)
{
    struct world w;
    struct learner_step_output result;
    char *text;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 7), 2);
    text = line_text(7);
    rewind_util_add(&w.u, 0, text, NULL, NULL);
    free(text);
    assert_int_equal(learning_step(&w.u.learning, &result, NULL), 0);
    assert_int_equal(rewind_util_publish(&w.u, NULL), 3);
    assert_true(w.u.learning.progress.partitions[0].tokens_done > 0);
    assert_int_equal(version_of(&w, 3), 4);
    assert_same(&w, 3, 2);
    assert_same(&w, 4, 3);
    close_world(&w);
}

/* Row keys of another branch, and records that are skipped. */
static void test_after_rollbacks(void **state)
{
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 10), 2);
    assert_int_equal(version_of(&w, 10), 3);
    rewind_util_roll_back(&w.u, 2, false);
    assert_int_equal(version_of(&w, 15), 4);
    assert_same(&w, 4, 2);
    rewind_util_roll_back(&w.u, 2, true);
    assert_int_equal(version_of(&w, 15), 5);
    assert_same(&w, 5, 2);
    close_world(&w);
}

/* A released record is read from the database. */
static void test_released(void **state)
{
    struct world w;

    open_world(&w, *state);
    rewind_util_add(&w.u, 0, "{\"text\": \"A ship.\", \"label\": 7}", NULL,
                    NULL);
    assert_int_equal(w.u.learning.progress.records.quarantined, 1);
    w.u.source.next[0] = 1;
    assert_int_equal(version_of(&w, 10), 2);
    rewind_util_sql(&w.u, "UPDATE quarantine SET reason = 'repetition', bytes ="
                          " CAST('A ship lies here.' AS BLOB)");
    rewind_util_release(&w.u, rewind_util_sql(&w.u, "SELECT max(rowid) FROM"
                                                    " quarantine"));
    rewind_util_learn_released(&w.u);
    assert_int_equal(version_of(&w, 5), 3);
    assert_same(&w, 3, 2);
    close_world(&w);
}

/* The average is turned off and on again: each version says whether it has
 * one. */
static void test_average_changes(void **state)
{
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 15), 2);
    close_world(&w);
    open_with(&w, *state, false);
    assert_int_equal(version_of(&w, 10), 3);
    close_world(&w);
    open_world(&w, *state);
    assert_int_equal(version_of(&w, 10), 4);
    assert_int_equal(version_of(&w, 5), 5);
    for (int64_t v = 2; v <= 5; v++)
        assert_same(&w, v, v - 1);
    close_world(&w);
}

/* Removes learner.average.enabled from the snapshot's settings. */
static void forget_key(struct snapshot *s)
{
    static const char key[] = "\"learner.average.enabled\":\"false\",";
    char *at;

    buf_addc(&s->metadata, '\0');
    at = strstr(s->metadata.data, key);
    assert_non_null(at);
    memmove(at, at + strlen(key), strlen(at + strlen(key)) + 1);
    s->metadata.len = strlen(s->metadata.data);
}

/* A version of a program that kept no average: its settings say nothing of
 * one. */
static void test_no_average_yet(void **state)
{
    struct world w;
    struct snapshot *s;
    int64_t version;
    struct err err = ERR_INIT;

    open_with(&w, *state, false);
    assert_int_equal(version_of(&w, 10), 2);
    for (int i = 10; i < 20; i++) {
        char *text = line_text(i);

        rewind_util_add(&w.u, 0, text, NULL, NULL);
        free(text);
    }
    rewind_util_flush(&w.u);
    s = learning_snapshot(&w.u.learning);
    forget_key(s);
    publisher_submit(w.u.publisher, s);
    publisher_wait(w.u.publisher);
    assert_true(publisher_collect(w.u.publisher, &s, &version, &err));
    assert_int_equal(err.code, ERR_OK);
    snapshot_stored(s, w.u.learning.replay, w.u.learning.holdout);
    assert_int_equal(version, 3);
    close_world(&w);
    open_world(&w, *state);
    assert_same(&w, 3, 2);
    assert_int_equal(version_of(&w, 10), 4);
    assert_same(&w, 4, 3);
    close_world(&w);
}

/* --- not the same ------------------------------------------------------- */

static void test_changed_record(void **state)
{
    struct world w;
    json_t *report;
    struct err err;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 15), 2);
    assert_int_equal(version_of(&w, 15), 3);
    write_lines(w.path, N_LINES, 20);
    assert_int_equal(retrain(&w, 3, &report, &err), 0);
    assert_true(json_is_false(json_object_get(report, "same")));
    assert_true(json_array_size(json_object_get(report, "differences")) > 0);
    json_decref(report);
    assert_same(&w, 2, 1);
    close_world(&w);
}

/* A ledger that the version cannot have. */
static void test_ledger(void **state)
{
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 15), 2);
    assert_int_equal(version_of(&w, 15), 3);
    rewind_util_sql(&w.u, "DELETE FROM ledger WHERE version = 3 AND seq ="
                          " (SELECT max(seq) FROM ledger WHERE version = 3"
                          " AND kind = 'l')");
    assert_refused(&w, 3, ERR_CORRUPT, "not those of the ledger");
    rewind_util_sql(&w.u, "UPDATE ledger SET step = 999 WHERE version = 3"
                          " AND kind = 'l'");
    assert_refused(&w, 3, ERR_CORRUPT, "cannot have");
    close_world(&w);
}

/* Bits may differ when the version was learned with other kernels. */
static void test_other_kernels(void **state)
{
    struct world w;
    struct conf *conf;
    json_t *report = NULL, *notes;
    int64_t version = 2;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 15), 2);
    conf = train_util_conf(*state, (const char *const *)w.sets, N_SETS);
    assert_int_equal(retrain_settings(conf, &version, NULL), 0);
    rewind_util_sql(&w.u, "UPDATE versions SET metadata = json_set(metadata,"
                          " '$.kernels', 'others') WHERE version = 2");
    assert_int_equal(retrain_run(conf, 2, &report, NULL), 0);
    notes = json_object_get(report, "notes");
    assert_int_equal(json_array_size(notes), 1);
    assert_non_null(
        strstr(json_string_value(json_array_get(notes, 0)), "others"));
    json_decref(report);
    conf_free(conf);
    close_world(&w);
}

static void test_fewer_lines(void **state)
{
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 15), 2);
    assert_int_equal(version_of(&w, 15), 3);
    write_lines(w.path, 20, -1);
    assert_refused(&w, 3, ERR_STATE, "can no longer be read");
    close_world(&w);
}

/* --- refused ------------------------------------------------------------ */

static void test_refused(void **state)
{
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 10), 2);
    assert_int_equal(version_of(&w, 10), 3);
    assert_int_equal(version_of(&w, 10), 4);
    assert_refused(&w, 1, ERR_STATE, "the untrained model");
    assert_refused(&w, 99, ERR_NOTFOUND, "99");
    rewind_util_sql(&w.u, "INSERT INTO version_forgets VALUES (4, 1)");
    assert_refused(&w, 4, ERR_STATE, "have been forgotten");
    rewind_util_sql(&w.u, "DELETE FROM versions WHERE version = 2");
    assert_refused(&w, 3, ERR_STATE, "its parent, version 2, is not kept");
    close_world(&w);
}

static void test_stdin(void **state)
{
    const char *const sets[] = {"source.type=stdin"};
    struct conf *conf = train_util_conf(*state, sets, 1);
    json_t *report = NULL;
    struct err err = ERR_INIT;

    assert_int_equal(retrain_run(conf, 2, &report, &err), ERR_STATE);
    conf_free(conf);
}

/* The configuration names another source: the message tells which to name. */
static void test_other_source(void **state)
{
    const char *const sets[] = {"source.type=kafka",
                                "source.kafka.topics=[other]"};
    struct conf *conf;
    json_t *report = NULL;
    struct err err = ERR_INIT;
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 10), 2);
    conf = train_util_conf(w.u.dir, sets, 2);
    assert_int_equal(retrain_run(conf, 2, &report, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "--set source.path="));
    conf_free(conf);
    close_world(&w);
}

/* --- settings ----------------------------------------------------------- */

static void test_no_settings(void **state)
{
    struct world w;

    open_world(&w, *state);
    w.u.learning.mixed_settings = true;
    assert_int_equal(version_of(&w, 10), 2);
    assert_refused(&w, 2, ERR_STATE, "does not say with which settings");
    w.u.learning.mixed_settings = false;
    w.u.conf->learner.replay.adaptive = true;
    assert_int_equal(version_of(&w, 10), 3);
    assert_refused(&w, 3, ERR_STATE, "learner.replay.adaptive");
    close_world(&w);
}

/* The copy in the version's files has a checksum. */
static void test_changed_settings(void **state)
{
    struct world w;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 10), 2);
    rewind_util_sql(&w.u, "UPDATE versions SET metadata = replace(metadata,"
                          " '\"learner.batch_tokens\":\"64\"',"
                          " '\"learner.batch_tokens\":\"32\"')"
                          " WHERE version = 2");
    assert_refused(&w, 2, ERR_CORRUPT, "2");
    close_world(&w);
}

static void test_no_version(void **state)
{
    struct store *s = util_open_store(*state);
    struct conf *conf = train_util_conf(*state, NULL, 0);
    struct err err = ERR_INIT;
    int64_t version = 0;

    store_close(s);
    assert_int_equal(retrain_settings(conf, &version, &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "no version yet"));
    conf_free(conf);
}

static int embedded_settings(const char *dir, const char *address,
                             char **broker)
{
    const char *const sets[] = {
        "source.type=kafka", "source.kafka.topics=[text]",
        "source.kafka.dead_letter=bad",
        "source.kafka.properties.bootstrap.servers=embedded"};
    struct conf *conf = train_util_conf(dir, sets, 4);
    const struct conf_properties *p = &conf->source.kafka.properties;
    char *path = fileio_join(dir, "kafka.addr");
    struct err err = ERR_INIT;
    int64_t version = 0;
    int rc;

    if (address)
        assert_int_equal(
            fileio_write_sync(path, address, strlen(address), NULL), 0);
    rc = retrain_settings(conf, &version, &err);
    *broker = NULL;
    for (size_t i = 0; rc == 0 && i < p->n; i++) {
        if (strcmp(p->items[i].name, "bootstrap.servers") == 0)
            *broker = xstrdup(p->items[i].value);
        if (strcmp(p->items[i].name, "group.id") == 0)
            assert_int_equal(strncmp(p->items[i].value, "mneme-retrain-", 14),
                             0);
    }
    if (rc == 0)
        assert_null(conf->source.kafka.dead_letter);
    free(path);
    conf_free(conf);
    return rc;
}

/* Only the address that an embedded broker can have is used. */
static void test_embedded(void **state)
{
    static const char *const wrong[] = {"",
                                        "10.0.0.1:9092",
                                        "127.0.0.1:",
                                        "127.0.0.1:1x",
                                        "127.0.0.1:123456",
                                        "127.0.0.1:1,10.0.0.1:9092"};
    struct world w;
    char *broker;

    open_world(&w, *state);
    assert_int_equal(version_of(&w, 10), 2);
    assert_int_equal(embedded_settings(*state, NULL, &broker), ERR_STATE);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(embedded_settings(*state, wrong[i], &broker),
                         ERR_CORRUPT);
    assert_int_equal(embedded_settings(*state, "127.0.0.1:54321\n", &broker),
                     0);
    assert_string_equal(broker, "127.0.0.1:54321");
    free(broker);
    close_world(&w);
}

int main(void)
{
#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        TEST(test_same),
        TEST(test_long_record),
        TEST(test_after_rollbacks),
        TEST(test_average_changes),
        TEST(test_no_average_yet),
        TEST(test_released),
        TEST(test_changed_record),
        TEST(test_ledger),
        TEST(test_other_kernels),
        TEST(test_fewer_lines),
        TEST(test_refused),
        TEST(test_stdin),
        TEST(test_other_source),
        TEST(test_no_settings),
        TEST(test_changed_settings),
        TEST(test_no_version),
        TEST(test_embedded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
