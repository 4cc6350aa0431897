/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trainer with a real store, publisher and learner, on a fake clock: when
 * it makes a step, when it publishes, what it does at the end of the source, on
 * a full disk, and before there is a vocabulary. The test makes the turns: the
 * trainer's thread is started only where the test says so.
 */
#include "config.h"

#include "daemon/train/trainer.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "base/fileio.h"
#include "base/timing.h"
#include "tests/util/rewind_util.h"
#include "tests/util/store_util.h"
#include "tests/util/trainer_util.h"

/* --- learning ----------------------------------------------------------- */

/* The first version is the model before any step. */
static void test_begin(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_assert_head(u, 1);
    assert_int_equal(serving_version(u->serving), 1);
    trainer_util_assert_state(u, STATUS_WAITING, NULL);
    trainer_util_turn(u);
    assert_int_equal(u->wait_ms, 0);
    assert_int_equal(trainer_util_steps(u), 0);
}

static void test_step(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_push(u, 3);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 0);
    assert_int_equal(queue_length(u->queue), 0);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
    assert_int_equal(u->learning.progress.records.learned, 2);
    trainer_util_turn(u); /* the third record waits for a full batch */
    assert_int_equal(trainer_util_steps(u), 1);
    assert_int_equal(u->learning.progress.records.learned, 2);
}

/* A step has 0.65 sqrt(T) new tokens after T tokens, from 128 to the setting. A
 * record has 33 tokens, and a step has as many whole records as fit. */
static void test_steps_grow(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    int64_t learned = 0, pushed = 0, most = 0;

    u->conf->learner.batch_tokens = 200;
    for (int64_t step = 1; most < 200; step++) {
        most = 128;
        while (most < 200 && (most + 1) * (most + 1) * 10000 <=
                                 65 * 65 * 33 * learned)
            most++;
        trainer_util_push(u, (int)(learned + 7 - pushed)); /* over 200 wait */
        pushed = learned + 7;
        learned += most / 33;
        while (trainer_util_steps(u) < step)
            trainer_util_turn(u);
        assert_int_equal(u->learning.progress.records.learned, learned);
    }
}

/* Learns until a step raises a drift alarm, at most n records. */
static bool learn_other_text(struct train_util *u, int n)
{
    char text[48];

    for (int i = 0; i < n; i++) {
        snprintf(text, sizeof text, "%04d-QWZXJ-KVBYH-%04d-QPLMC-YUX!", i,
                 i * 7919 % 10000);
        trainer_util_push_value(u, text);
        trainer_util_turn(u);
        if (u->learning.n_drifted > 0)
            return true;
    }
    return false;
}

/* A change of the text is an alarm, which the board shows once, and which a
 * restart knows but does not raise again. */
static void test_drift(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    const struct progress_drift *d;

    for (int i = 0; i < 400; i++) {
        trainer_util_learn_batch(u);
        assert_false(u->learning.n_drifted > 0);
    }
    assert_int_equal(u->board.now.drift_alarms, 0);
    assert_true(learn_other_text(u, 200));
    d = &u->learning.progress.by_domain[0].drifted;
    assert_int_equal(d->alarms, 1);
    assert_true(d->last.after > d->last.before);
    assert_int_equal(u->board.now.drift_alarms, 1);
    assert_int_equal(u->board.now.drifted.drift.alarms, 1);
    assert_true(u->board.now.drifted.drift.after == d->last.after);
    trainer_util_publish(u);
    trainer_util_restart(u);
    d = &u->learning.progress.by_domain[0].drifted;
    assert_int_equal(d->alarms, 1);
    assert_false(u->learning.n_drifted > 0);
}

/* Without the test there is no alarm. */
static void test_no_drift(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    ((struct conf *)u->learning.conf)->learner.drift.enabled = false;
    for (int i = 0; i < 400; i++)
        trainer_util_learn_batch(u);
    assert_false(learn_other_text(u, 200));
    assert_int_equal(u->learning.progress.by_domain[0].drifted.alarms, 0);
}

/* A part-filled batch is learned when the stream pauses. */
static void test_flush(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_advance(u, 1.9);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 0);
    trainer_util_assert_state(u, STATUS_WAITING, NULL);
    trainer_util_advance(u, 0.1);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 1);
    assert_int_equal(u->learning.progress.flushes, 1);
    trainer_util_turn(u); /* everything is learned: a version is due at once */
    trainer_util_assert_head(u, 2);
}

static void test_no_flush(void **state)
{
    struct train_util *u = *state;

    u->conf->learner.flush_seconds = 0;
    trainer_util_begin(state);
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_advance(u, 3600);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 0);
}

static void test_version(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    json_t *status, *next;

    trainer_util_learn_batch(u);
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 1);
    status = status_to_json(&u->board);
    next = json_object_get(json_object_get(status, "publish"), "next_version");
    assert_string_equal(json_string_value(json_object_get(next, "waits_for")),
                        "publish.every_seconds");
    json_decref(status);
    /* The untrained version stays for three seconds, the next one for ten. */
    trainer_util_advance(u, 2.9);
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 1);
    trainer_util_advance(u, 0.1);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 2);
    assert_int_equal(serving_version(u->serving), 2);
    trainer_util_learn_batch(u);
    trainer_util_advance(u, 9.9);
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 2);
    trainer_util_advance(u, 0.1);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 3);
}

/* The loss is not finite: no update, and the records are quarantined. */
static void test_not_finite(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_set_weight(u, "model.norm.weight", 3e38f);
    trainer_util_learn_batch(u);
    assert_int_equal(u->learning.progress.records.learned, 0);
    assert_int_equal(u->learning.progress.records.quarantined, 2);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
    trainer_util_assert_metric(u, "steps_skipped_total", 1);
    trainer_util_assert_metric(
        u, "quarantine_reasons_total{reason=\"step_skipped\"}", 2);
    assert_int_equal(u->n_fatal, 0);
}

/* --- the source --------------------------------------------------------- */

static void test_source_stops(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_push(u, 2);
    source_set_state(&u->source.base, SOURCE_STOPPED, "the topic is gone");
    trainer_util_turn(u);
    trainer_util_turn(u); /* what is queued is still learned */
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_assert_state(u, STATUS_PAUSED, "the topic is gone");
    trainer_util_advance(u, 2);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 2);
    trainer_util_assert_state(u, STATUS_PAUSED, "the topic is gone");
    assert_int_equal(u->n_fatal + u->n_ended, 0); /* it goes on serving */
    trainer_util_operate(u, CONTROL_ROLLBACK_REWIND, 99, "99");
    trainer_util_assert_state(u, STATUS_PAUSED, "the topic is gone");
    source_set_state(&u->source.base, SOURCE_RETRYING, "the broker is away");
    trainer_util_turn(u);
    trainer_util_assert_state(u, STATUS_WAITING, "the broker is away");
    source_set_state(&u->source.base, SOURCE_RUNNING, "%s", "");
    trainer_util_learn_batch(u);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
}

/* With at_end: exit, a source that stops is fatal once all is published. */
static void test_source_stops_at_end(void **state)
{
    struct train_util *u = *state;

    u->conf->source.at_end = CONF_AT_END_EXIT;
    trainer_util_begin(state);
    trainer_util_push(u, 1);
    source_set_state(&u->source.base, SOURCE_STOPPED, "the file was truncated");
    for (int i = 0; i < 4 && u->wait_ms >= 0; i++)
        trainer_util_turn(u);
    assert_int_equal(u->wait_ms, -1);
    assert_int_equal(u->n_fatal, 1);
    assert_string_equal(u->fatal.msg, "the file was truncated");
    assert_int_equal(u->n_ended, 0);
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_assert_head(u, 2);
    trainer_end(u->trainer);
    trainer_util_assert_head(u, 2);
}

static void test_end(void **state)
{
    struct train_util *u = *state;

    u->conf->source.at_end = CONF_AT_END_EXIT;
    trainer_util_begin(state);
    trainer_util_push(u, 3);
    trainer_util_push_end(u);
    for (int i = 0; i < 6 && u->wait_ms >= 0; i++)
        trainer_util_turn(u);
    assert_int_equal(u->wait_ms, -1);
    assert_int_equal(u->n_ended, 1);
    assert_int_equal(u->n_fatal, 0);
    assert_int_equal(u->learning.progress.records.learned, 3);
    assert_int_equal(u->learning.progress.flushes, 0);
    trainer_util_assert_head(u, 2);
    trainer_util_assert_state(u, STATUS_STOPPING, NULL);
}

/* Without it the daemon serves on, and learns what comes later. */
static void test_end_serve(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_push(u, 1);
    trainer_util_push_end(u);
    for (int i = 0; i < 4; i++)
        trainer_util_turn(u);
    assert_int_equal(u->n_ended, 0);
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_assert_head(u, 2);
    trainer_util_learn_batch(u);
    assert_int_equal(trainer_util_steps(u), 2);
}

/* A stop publishes what was learned, and learns no part-filled batch. */
static void test_stop(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_learn_batch(u);
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_end(u->trainer);
    trainer_util_assert_head(u, 2);
    trainer_util_assert_state(u, STATUS_STOPPING, NULL);
    assert_int_equal(trainer_turn(u->trainer), -1);
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_restart(u);
    assert_int_equal(trainer_util_steps(u), 1);
    assert_int_equal(u->learning.progress.records.consumed, 2);
}

/* The same on the trainer's own thread. */
static void test_thread(void **state)
{
    struct train_util *u = *state;

    trainer_util_open(u);
    trainer_util_push(u, 2);
    trainer_start(u->trainer);
    while (queue_length(u->queue))
        timing_sleep_ms(1);
    trainer_stop(u->trainer);
    trainer_util_assert_head(u, trainer_util_steps(u) ? 2 : 1);
    trainer_stop(u->trainer);
}

/* --- the store ---------------------------------------------------------- */

static int disk_is_full(const char *operation, const char *path)
{
    (void)path;
    return strcmp(operation, "write") == 0 ? ENOSPC : 0;
}

static void test_full_disk(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_learn_batch(u);
    fileio_fault = disk_is_full;
    trainer_util_publish(u);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 1);
    trainer_util_assert_state(u, STATUS_PAUSED, "the disk is full");
    assert_true(u->wait_ms > 0);
    trainer_util_push(u, 2);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 1); /* nothing is learned */
    trainer_util_operate_on(u, CONTROL_FORGET_ID, 0, "x", "the disk is full");
    fileio_fault = NULL;
    trainer_util_advance(u, 4.9);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 1);
    trainer_util_assert_state(u, STATUS_PAUSED, "the disk is full");
    trainer_util_advance(u, 0.1);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 2);
    trainer_util_turn(u);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
    assert_int_equal(u->n_fatal, 0);
}

/* --- the vocabulary ----------------------------------------------------- */

static void push_of(struct train_util *u, const char *id, int n)
{
    for (int i = 0; i < n; i++) {
        char *value = xasprintf("{\"text\": \"record %04d tells something new."
                                "\", \"id\": \"%s\"}",
                                (int)u->source.next[0], id);

        trainer_util_push_value(u, value);
        free(value);
    }
}

static int64_t rows_of(struct train_util *u, const char *id)
{
    char *sql = xasprintf("SELECT (SELECT count(*) FROM replay_rows WHERE id ="
                          " '%s' AND died IS NULL) + (SELECT count(*) FROM"
                          " holdout_rows WHERE id = '%s' AND died IS NULL)",
                          id, id);
    int64_t n = rewind_util_sql(u, sql);

    free(sql);
    return n;
}

static void turn_until_quiet(struct train_util *u)
{
    for (int i = 0; i < 12; i++) {
        trainer_util_turn(u);
        trainer_util_advance(u, 3); /* a part-filled batch is learned */
    }
}

/*
 * A tombstone forgets the records before it, learned or waiting, and none of
 * those after it. A kill before the next version reads it again, and changes
 * nothing more.
 */
static void test_tombstone(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    const struct progress *p = &u->learning.progress;

    push_of(u, "alice", 3);
    push_of(u, "bob", 2);
    turn_until_quiet(u);
    assert_int_equal(p->records.learned + p->records.holdout, 5);
    assert_int_equal(p->records.skipped, 0);

    push_of(u, "alice", 1); /* waits for a full batch */
    trainer_util_push_tombstone(u, "alice");
    push_of(u, "carol", 1);
    trainer_util_push_tombstone(u, "nobody");
    push_of(u, "bob", 1);
    push_of(u, "alice", 2);
    turn_until_quiet(u);
    assert_int_equal(u->n_fatal, 0);
    assert_int_equal(rows_of(u, "alice"), 2);
    assert_int_equal(rows_of(u, "bob"), 3);
    assert_int_equal(rows_of(u, "carol"), 1);
    assert_int_equal(p->records.quarantined, 0);
    /* Two tombstones, and the record that waited. */
    assert_int_equal(p->records.skipped, 3);
    assert_int_equal(p->records.learned + p->records.holdout, 9);

    trainer_util_push_tombstone(u, "bob");
    trainer_util_turn(u);
    trainer_util_restart(u); /* the tombstone is not in a version */
    p = &u->learning.progress;
    assert_int_equal(rows_of(u, "bob"), 0);
    u->source.next[0]--;
    trainer_util_push_tombstone(u, "bob");
    push_of(u, "bob", 1);
    turn_until_quiet(u);
    assert_int_equal(rows_of(u, "bob"), 1);
    assert_int_equal(rows_of(u, "alice"), 2);
    assert_int_equal(p->records.skipped, 4);
    assert_int_equal(u->n_fatal, 0);
}

/* The text for the vocabulary has a tombstone. */
static void test_tombstone_first(void **state)
{
    struct train_util *u = *state;

    u->conf->model.tokenizer = CONF_TOKENIZER_BPE;
    u->conf->model.vocab_size = 300;
    trainer_util_open(u);
    push_of(u, "alice", 3);
    push_of(u, "bob", 2);
    trainer_util_push_tombstone(u, "alice");
    push_of(u, "alice", 1);
    trainer_util_push_end(u);
    trainer_begin(u->trainer);
    publisher_wait(u->publisher);
    turn_until_quiet(u);
    assert_int_equal(rows_of(u, "alice"), 1);
    assert_int_equal(rows_of(u, "bob"), 2);
    assert_int_equal(u->learning.progress.records.skipped, 4);
}

static void test_vocabulary(void **state)
{
    struct train_util *u = *state;

    u->conf->model.tokenizer = CONF_TOKENIZER_BPE;
    u->conf->model.vocab_size = 300;
    trainer_util_open(u);
    assert_null(u->learning.learner);
    trainer_util_push(u, 5);
    trainer_util_push_end(u);
    trainer_begin(u->trainer);
    assert_non_null(u->learning.learner);
    assert_int_equal(tokenizer_vocab_size(u->learning.tokenizer), 300);
    publisher_wait(u->publisher);
    trainer_util_assert_head(u, 1);
    for (int i = 0; i < 4; i++)
        trainer_util_turn(u);
    assert_int_equal(u->learning.progress.records.learned, 5);
    trainer_util_assert_head(u, 2);
}

/* The built-in vocabulary needs no text: version 1 comes before any record. */
static void test_builtin_vocabulary(void **state)
{
    struct train_util *u = *state;

    u->conf->model.tokenizer = CONF_TOKENIZER_BUILTIN;
    u->conf->model.vocab_size = 300;
    trainer_util_open(u);
    assert_non_null(u->learning.learner);
    assert_int_equal(tokenizer_vocab_size(u->learning.tokenizer), 300);
    trainer_begin(u->trainer);
    publisher_wait(u->publisher);
    trainer_util_assert_head(u, 1);
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_advance(u, 2);
    trainer_util_turn(u);
    assert_int_equal(learner_steps(u->learning.learner), 1);
}

/* A stop while text is collected: there is no model to publish. */
static void test_vocabulary_stop(void **state)
{
    struct train_util *u = *state;

    u->conf->model.tokenizer = CONF_TOKENIZER_BPE;
    trainer_util_open(u);
    trainer_util_push(u, 1);
    trainer_start(u->trainer);
    while (queue_length(u->queue))
        timing_sleep_ms(1);
    trainer_stop(u->trainer);
    trainer_util_assert_head(u, 0);
    assert_int_equal(u->n_fatal, 0);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, trainer_util_set_up,                    \
                                    trainer_util_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_begin),
        T(test_step),
        T(test_steps_grow),
        T(test_drift),
        T(test_no_drift),
        T(test_flush),
        T(test_no_flush),
        T(test_version),
        T(test_not_finite),
        T(test_source_stops),
        T(test_source_stops_at_end),
        T(test_end),
        T(test_end_serve),
        T(test_stop),
        T(test_thread),
        T(test_full_disk),
        T(test_tombstone),
        T(test_tombstone_first),
        T(test_vocabulary),
        T(test_builtin_vocabulary),
        T(test_vocabulary_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
