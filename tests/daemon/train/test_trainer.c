/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trainer with a real store, publisher and learner, on a fake clock. The
 * test makes the turns: the trainer's thread is not started.
 *
 * Uses stream/source_private.h: a source that does nothing by itself is a
 * struct of source_ops.
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
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/publish/verdict_memory.h"
#include "daemon/publish/serving.h"
#include "daemon/stream/source_private.h"
#include "daemon/train/restore.h"
#include "tests/util/store_util.h"

#define START_MS INT64_C(1760000000000)
#define TOPIC "text"

struct world {
    struct source source; /* first: the fake source is a struct source */
    void *dir;
    int64_t now_ms;
    struct conf *conf;
    struct store *store;
    struct catalog *catalog;
    struct status_board board;
    struct serving *serving;
    struct control *control;
    struct queue *queue;
    struct learning learning;
    struct publisher *publisher;
    struct trainer *trainer;
    int64_t epoch, next_offset; /* of the fake source */
    int64_t wait_ms;            /* what the last turn returned */
    int ended, fatal;           /* calls */
    struct err fatal_err;
};

/* --- the fake source ---------------------------------------------------- */

static void fake_free(struct source *s)
{
    source_release(s);
}

static int fake_begin(struct source *s, const struct source_position *positions,
                      size_t n, int64_t epoch, struct err *err)
{
    struct world *w = (struct world *)s;

    (void)err;
    w->epoch = epoch;
    for (size_t i = 0; i < n; i++)
        w->next_offset = positions[i].next_offset;
    return 0;
}

static void fake_published(struct source *s,
                           const struct source_position *positions, size_t n)
{
    (void)s;
    (void)positions;
    (void)n;
}

static size_t fake_get_partitions(struct source *s,
                                  struct source_partition **rows)
{
    (void)s;
    *rows = NULL;
    return 0;
}

static const struct source_ops fake_ops = {
    .free = fake_free,
    .begin = fake_begin,
    .seek = fake_begin,
    .published = fake_published,
    .get_partitions = fake_get_partitions,
};

static void push_value(struct world *w, const char *value)
{
    struct record *rec =
        record_create_data(&w->source.maker, value, strlen(value));

    rec->epoch = w->epoch;
    rec->topic = TOPIC;
    rec->offset = w->next_offset++;
    rec->time_ms = w->now_ms;
    rec->value_hash = (uint64_t)rec->offset + 1000;
    source_parse(&w->source, rec, NULL);
    assert_true(queue_try_push(w->queue, rec));
}

/* n records of 32 bytes each: with the end mark 33 tokens. */
static void push(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        char *text = xasprintf("record %04d tells something new.",
                               (int)w->next_offset);

        push_value(w, text);
        free(text);
    }
}

static void push_end(struct world *w)
{
    struct record *rec = record_create(RECORD_END);

    rec->epoch = w->epoch;
    rec->topic = TOPIC;
    assert_true(queue_try_push(w->queue, rec));
}

/* --- the world ---------------------------------------------------------- */

static void on_end(void *arg)
{
    ((struct world *)arg)->ended++;
}

static void on_fatal(const struct err *err, void *arg)
{
    struct world *w = arg;

    w->fatal++;
    w->fatal_err = *err;
}

static void wake_trainer(void *arg)
{
    queue_wake(((struct world *)arg)->queue);
}

static void wake_publisher(void *arg)
{
    publisher_wake(((struct world *)arg)->publisher);
}

/* A model of one layer, a token a byte, and two records to a batch. */
static void configure(struct world *w)
{
    struct conf *c = w->conf = conf_create();

    conf_set_data_dir(c, w->dir);
    c->model.preset = CONF_PRESET_CUSTOM;
    c->model.tokenizer = CONF_TOKENIZER_BYTES;
    c->model.dim = c->model.ffn_dim = 8;
    c->model.layers = c->model.heads = c->model.kv_heads = 1;
    c->model.context = 64;
    c->model.max_labels = 4;
    c->learner.batch_tokens = 66;
    c->learner.flush_seconds = 2;
    c->learner.optimizer.lr = 0.001;
    c->learner.optimizer.warmup_steps = 0;
    c->learner.holdout.fraction = 0;
    c->learner.replay.adaptive = false;
    c->filter.surprise.enabled = false;
    c->filter.near_duplicate.enabled = false;
    c->filter.repetition.enabled = false;
    c->publish.every_seconds = 10;
    c->publish.every_tokens = 0;
}

static void open_world(struct world *w)
{
    const struct store_schema schema = {"replay", replay_schema,
                                        replay_schema_n};
    struct source_options source = {.conf = w->conf};
    struct err err = ERR_INIT;
    const struct model_shape *shape;

    assert_int_equal(store_open(w->dir, &schema, 1, &w->store, &err), 0);
    w->catalog = util_open_catalog(w->dir);
    status_board_init(&w->board);
    w->queue = source.queue = queue_create(1000, 1 << 20);
    source_init(&w->source, &fake_ops, &source);
    w->serving = serving_create(w->catalog, NULL);
    if (learning_open(&w->learning, w->conf, 1, 1, &err) != 0 ||
        restore_state(w->store, w->conf, &w->learning, &err) != 0)
        fail_msg("%s", err.msg);
    shape = &w->learning.shape;
    w->control = control_create(wake_trainer, wake_publisher, w);
    w->publisher = publisher_create(&(struct publisher_options){
        .conf = w->conf,
        .store = w->store,
        .catalog = w->catalog,
        .serving = w->serving,
        .control = w->control,
        .board = &w->board,
        .source = &w->source,
        .on_fatal = on_fatal,
        .wake_trainer = wake_trainer,
        .arg = w,
    });
    if (w->learning.learner) {
        serving_prepare(w->serving, shape, w->learning.tokenizer);
        publisher_prepare(w->publisher, shape, w->learning.tokenizer);
        assert_int_equal(
            restore_serving(w->store, w->catalog, w->serving, &err), 0);
    }
    w->trainer = trainer_create(&(struct trainer_options){
        .conf = w->conf,
        .learning = &w->learning,
        .queue = w->queue,
        .source = &w->source,
        .publisher = w->publisher,
        .control = w->control,
        .serving = w->serving,
        .board = &w->board,
        .catalog = w->catalog,
        .on_end = on_end,
        .on_fatal = on_fatal,
        .arg = w,
    });
    publisher_start(w->publisher);
    w->epoch = 0;
}

static void close_world(struct world *w)
{
    publisher_stop(w->publisher);
    trainer_free(w->trainer);
    publisher_free(w->publisher);
    control_free(w->control);
    queue_free(w->queue);
    source_free(&w->source);
    learning_close(&w->learning);
    serving_free(w->serving);
    status_board_release(&w->board);
    catalog_close(w->catalog);
    store_close(w->store);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);

    w->now_ms = START_MS;
    timing_set_fake(&w->now_ms);
    if (util_make_temp(&w->dir) != 0)
        return -1;
    configure(w);
    *state = w;
    return 0;
}

/* The tests that need another configuration change it before this. */
static struct world *begin(void **state)
{
    struct world *w = *state;

    open_world(w);
    trainer_begin(w->trainer);
    publisher_wait(w->publisher);
    return w;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *dir = w->dir;

    close_world(w);
    conf_free(w->conf);
    free(w);
    return util_remove_temp(&dir);
}

/* As a kill and a start: nothing is published between. */
static void restart(struct world *w)
{
    close_world(w);
    open_world(w);
    trainer_begin(w->trainer);
}

/* One turn. An empty queue does not make it wait, and the publisher is idle
 * after it, so that the clock may be changed. */
static void turn(struct world *w)
{
    if (queue_length(w->queue) == 0)
        queue_wake(w->queue);
    w->wait_ms = trainer_turn(w->trainer);
    publisher_wait(w->publisher);
}

static void advance(struct world *w, double seconds)
{
    w->now_ms += (int64_t)(1000 * seconds);
}

static int64_t steps(const struct world *w)
{
    return learner_steps(w->learning.learner);
}

/* Learns two records: one turn gives them to intake, one makes the step. */
static void learn_batch(struct world *w)
{
    int64_t before = steps(w);

    push(w, 2);
    turn(w);
    turn(w);
    assert_int_equal(steps(w), before + 1);
}

/* Publishes what was learned, by an interval that is over. */
static void publish(struct world *w)
{
    push(w, 1); /* the stream does not pause */
    advance(w, w->conf->publish.every_seconds);
    turn(w);
    turn(w);
}

/* --- what the test sees ------------------------------------------------- */

static void assert_state(struct world *w, enum status_state state,
                         const char *reason)
{
    struct status *s = status_copy(&w->board);

    assert_string_equal(status_state_name(s->state), status_state_name(state));
    if (reason)
        assert_non_null(strstr(s->reason, reason));
    else
        assert_string_equal(s->reason, "");
    free(s);
}

static void assert_head(struct world *w, int64_t version)
{
    struct catalog_pointers pointers;

    assert_int_equal(catalog_pointers(w->catalog, &pointers, NULL), 0);
    assert_int_equal(pointers.head, version);
}

/* The value of a series in the metrics; NAN: there is none. */
static double metric(struct world *w, const char *series)
{
    struct buf text = BUF_INIT;
    char *line = xasprintf("\nmneme_%s ", series);
    const char *at;
    double value;

    status_to_metrics(&w->board, &text);
    at = strstr(text.data, line);
    value = at ? strtod(at + strlen(line), NULL) : NAN;
    free(line);
    buf_release(&text);
    return value;
}

static void assert_metric(struct world *w, const char *series, double wanted)
{
    double value = metric(w, series);

    if (!(fabs(value - wanted) <= 1e-6 * fabs(wanted)))
        fail_msg("%s is %g, not %g", series, value, wanted);
}

/* A loss or a norm depends a little on the processor. */
static void assert_metric_near(struct world *w, const char *series,
                               double wanted)
{
    double value = metric(w, series);

    if (!(fabs(value - wanted) <= 0.05 * fabs(wanted)))
        fail_msg("%s is %g, not %g", series, value, wanted);
}

/* Lets the trainer carry an operation out; it is done, or failed with this. */
static void operate_on(struct world *w, enum control_kind kind,
                       int64_t version, const char *reason,
                       const char *failure)
{
    struct control_operation op;
    int64_t id = 0;

    assert_int_equal(
        control_submit(w->control, kind, version, reason, &id, NULL), 0);
    control_start(w->control, id);
    turn(w);
    assert_int_equal(control_wait(w->control, id, 60000, &op, NULL), 0);
    if (failure)
        assert_non_null(strstr(op.err.msg, failure));
    else if (op.state != CONTROL_DONE)
        fail_msg("%s", op.err.msg);
}

static void operate(struct world *w, enum control_kind kind, int64_t version,
                    const char *failure)
{
    operate_on(w, kind, version, "", failure);
}

/* With this rate the weights are not finite after the next step. */
static void break_rate(struct world *w)
{
    learner_set_rate(w->learning.learner, INFINITY);
}

/* Sets the first number of a weight tensor. */
static void set_weight(struct world *w, const char *name, float value)
{
    struct tensor_list weights = TENSOR_LIST_INIT, state = TENSOR_LIST_INIT;
    struct tensor_list anchor = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT;
    int64_t generation = 0;

    learner_export(w->learning.learner, &weights, &state, &anchor, &head,
                   &generation);
    *(float *)tensor_find(&weights, name)->data = value;
    assert_int_equal(learner_import(w->learning.learner, &weights, &state,
                                    &anchor, &head, NULL),
                     0);
    tensor_list_release(&weights);
    tensor_list_release(&state);
    tensor_list_release(&anchor);
    tensor_list_release(&head);
}

/* --- learning ----------------------------------------------------------- */

/* The first version is the model before any step. */
static void test_begin(void **state)
{
    struct world *w = begin(state);

    assert_head(w, 1);
    assert_int_equal(serving_version(w->serving), 1);
    assert_state(w, STATUS_WAITING, NULL);
    turn(w);
    assert_int_equal(w->wait_ms, 0);
    assert_int_equal(steps(w), 0);
}

static void test_step(void **state)
{
    struct world *w = begin(state);

    push(w, 3);
    turn(w);
    assert_int_equal(steps(w), 0);
    assert_int_equal(queue_length(w->queue), 0);
    turn(w);
    assert_int_equal(steps(w), 1);
    assert_state(w, STATUS_LEARNING, NULL);
    assert_int_equal(w->learning.progress.records.learned, 2);
    turn(w); /* the third record waits for a full batch */
    assert_int_equal(steps(w), 1);
    assert_int_equal(w->learning.progress.records.learned, 2);
}

/* A part-filled batch is learned when the stream pauses. */
static void test_flush(void **state)
{
    struct world *w = begin(state);

    push(w, 1);
    turn(w);
    advance(w, 1.9);
    turn(w);
    assert_int_equal(steps(w), 0);
    assert_state(w, STATUS_WAITING, NULL);
    advance(w, 0.1);
    turn(w);
    assert_int_equal(steps(w), 1);
    assert_int_equal(w->learning.progress.flushes, 1);
    turn(w); /* everything is learned: a version is due at once */
    assert_head(w, 2);
}

static void test_no_flush(void **state)
{
    struct world *w = *state;

    w->conf->learner.flush_seconds = 0;
    begin(state);
    push(w, 1);
    turn(w);
    advance(w, 3600);
    turn(w);
    assert_int_equal(steps(w), 0);
}

static void test_version(void **state)
{
    struct world *w = begin(state);
    json_t *status, *next;

    learn_batch(w);
    push(w, 1);
    turn(w);
    turn(w);
    assert_head(w, 1);
    status = status_to_json(&w->board);
    next = json_object_get(json_object_get(status, "publish"),
                           "next_version");
    assert_string_equal(
        json_string_value(json_object_get(next, "waits_for")),
        "publish.every_seconds");
    json_decref(status);
    advance(w, 9.9);
    push(w, 1);
    turn(w);
    assert_head(w, 1);
    advance(w, 0.1);
    turn(w);
    assert_head(w, 2);
    assert_int_equal(serving_version(w->serving), 2);
}

/* The loss is not finite: no update, and the records are quarantined. */
static void test_not_finite(void **state)
{
    struct world *w = begin(state);

    set_weight(w, "model.norm.weight", 3e38f);
    learn_batch(w);
    assert_int_equal(w->learning.progress.records.learned, 0);
    assert_int_equal(w->learning.progress.records.quarantined, 2);
    assert_state(w, STATUS_LEARNING, NULL);
    assert_metric(w, "steps_skipped_total", 1);
    assert_metric(w, "quarantine_reasons_total{reason=\"step_skipped\"}", 2);
    assert_int_equal(w->fatal, 0);
}

/* --- the source --------------------------------------------------------- */

static void test_source_stops(void **state)
{
    struct world *w = begin(state);

    push(w, 2);
    source_set_state(&w->source, SOURCE_STOPPED, "the topic is gone");
    turn(w);
    turn(w); /* what is queued is still learned */
    assert_int_equal(steps(w), 1);
    assert_state(w, STATUS_PAUSED, "the topic is gone");
    advance(w, 2);
    turn(w);
    turn(w);
    assert_head(w, 2);
    assert_state(w, STATUS_PAUSED, "the topic is gone");
    assert_int_equal(w->fatal + w->ended, 0); /* it goes on serving */
    operate(w, CONTROL_ROLLBACK_REWIND, 99, "99");
    assert_state(w, STATUS_PAUSED, "the topic is gone");
    source_set_state(&w->source, SOURCE_RETRYING, "the broker is away");
    turn(w);
    assert_state(w, STATUS_WAITING, "the broker is away");
    source_set_state(&w->source, SOURCE_RUNNING, "%s", "");
    learn_batch(w);
    assert_state(w, STATUS_LEARNING, NULL);
}

/* With at_end: exit, a source that stops is fatal once all is published. */
static void test_source_stops_at_end(void **state)
{
    struct world *w = *state;

    w->conf->source.at_end = CONF_AT_END_EXIT;
    begin(state);
    push(w, 1);
    source_set_state(&w->source, SOURCE_STOPPED, "the file was truncated");
    for (int i = 0; i < 4 && w->wait_ms >= 0; i++)
        turn(w);
    assert_int_equal(w->wait_ms, -1);
    assert_int_equal(w->fatal, 1);
    assert_string_equal(w->fatal_err.msg, "the file was truncated");
    assert_int_equal(w->ended, 0);
    assert_int_equal(steps(w), 1);
    assert_head(w, 2);
    trainer_end(w->trainer);
    assert_head(w, 2);
}

static void test_end(void **state)
{
    struct world *w = *state;

    w->conf->source.at_end = CONF_AT_END_EXIT;
    begin(state);
    push(w, 3);
    push_end(w);
    for (int i = 0; i < 6 && w->wait_ms >= 0; i++)
        turn(w);
    assert_int_equal(w->wait_ms, -1);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->fatal, 0);
    assert_int_equal(w->learning.progress.records.learned, 3);
    assert_int_equal(w->learning.progress.flushes, 0);
    assert_head(w, 2);
    assert_state(w, STATUS_STOPPING, NULL);
}

/* Without it the daemon serves on, and learns what comes later. */
static void test_end_serve(void **state)
{
    struct world *w = begin(state);

    push(w, 1);
    push_end(w);
    for (int i = 0; i < 4; i++)
        turn(w);
    assert_int_equal(w->ended, 0);
    assert_int_equal(steps(w), 1);
    assert_head(w, 2);
    learn_batch(w);
    assert_int_equal(steps(w), 2);
}

/* A stop publishes what was learned, and learns no part-filled batch. */
static void test_stop(void **state)
{
    struct world *w = begin(state);

    learn_batch(w);
    push(w, 1);
    turn(w);
    trainer_end(w->trainer);
    assert_head(w, 2);
    assert_state(w, STATUS_STOPPING, NULL);
    assert_int_equal(trainer_turn(w->trainer), -1);
    assert_int_equal(steps(w), 1);
    restart(w);
    assert_int_equal(steps(w), 1);
    assert_int_equal(w->learning.progress.records.consumed, 2);
}

/* The same on the trainer's own thread. */
static void test_thread(void **state)
{
    struct world *w = *state;

    open_world(w);
    push(w, 2);
    trainer_start(w->trainer);
    while (queue_length(w->queue))
        timing_sleep_ms(1);
    trainer_stop(w->trainer);
    assert_head(w, steps(w) ? 2 : 1);
    trainer_stop(w->trainer);
}

/* --- the guard ---------------------------------------------------------- */

/* Weights that are not finite: an automatic rollback skips the records. */
static void test_guard(void **state)
{
    struct world *w = begin(state);

    learn_batch(w);
    publish(w);
    turn(w);
    assert_head(w, 2);
    break_rate(w);
    push(w, 2);
    turn(w);
    turn(w);
    turn(w);
    assert_head(w, 2);
    assert_int_equal(steps(w), 1); /* the diverged step is undone */
    assert_int_equal(w->epoch, 0); /* nothing is read again */
    assert_metric(w, "automatic_rollbacks_total", 1);
    assert_state(w, STATUS_LEARNING, NULL);
    learner_set_rate(w->learning.learner, 0.001f);
    learn_batch(w);
    assert_state(w, STATUS_LEARNING, NULL);
}

/* The guard's request that the process before left with the head version. */
static void test_guard_request(void **state)
{
    struct world *w = begin(state);
    struct verdict_memory memory;
    char *guard, *sql;

    learn_batch(w);
    publish(w);
    assert_head(w, 2);
    verdict_memory_init(&memory);
    memory.request = (struct guard_request){GUARD_WORSE, 1, "a test"};
    guard = verdict_memory_write(&memory);
    sql = xasprintf("UPDATE versions SET guard = '%s' WHERE version = 2 "
                    "RETURNING 1",
                    guard);
    util_number(w->store, sql);
    free(sql);
    free(guard);
    restart(w);
    publisher_wait(w->publisher);
    turn(w);
    assert_head(w, 1);
    assert_int_equal(steps(w), 0);
    assert_metric(w, "automatic_rollbacks_total", 1);
    assert_state(w, STATUS_LEARNING, NULL);
}

/* Goes back as often as the guard may, and once more. */
static void use_up_rollbacks(struct world *w)
{
    break_rate(w);
    for (int i = 1; i <= 3; i++) {
        push(w, 2);
        turn(w);
        turn(w);
        assert_metric(w, "automatic_rollbacks_total", i);
        advance(w, 60);
    }
    push(w, 2);
    turn(w);
    turn(w);
    assert_metric(w, "automatic_rollbacks_total", 3);
    assert_state(w, STATUS_PAUSED, "three automatic rollbacks");
}

static void test_guard_limit(void **state)
{
    struct world *w = begin(state);
    int64_t before;

    use_up_rollbacks(w);
    before = steps(w);
    push(w, 4);
    turn(w);
    turn(w);
    assert_true(w->wait_ms > 0);
    assert_int_equal(steps(w), before);
    assert_state(w, STATUS_PAUSED, "`mneme rollback`");
    assert_int_equal(w->fatal, 0);
    trainer_end(w->trainer); /* weights that are not finite stay unpublished */
    assert_head(w, 1);
}

/* The limit is by the hour. */
static void test_guard_hour(void **state)
{
    struct world *w = begin(state);

    break_rate(w);
    for (int i = 1; i <= 5; i++) {
        push(w, 2);
        turn(w);
        turn(w);
        assert_metric(w, "automatic_rollbacks_total", i);
        advance(w, 1300);
    }
    assert_state(w, STATUS_LEARNING, NULL);
}

/* A restart does not end the pause; an operator's choice does. */
static void test_guard_resume(void **state)
{
    struct world *w = begin(state);

    use_up_rollbacks(w);
    restart(w);
    assert_state(w, STATUS_PAUSED, "three automatic rollbacks");
    push(w, 2);
    turn(w);
    assert_int_equal(queue_length(w->queue), 2);
    operate(w, CONTROL_PROMOTE_LATEST, 0, NULL);
    turn(w);
    turn(w);
    assert_int_equal(steps(w), 1);
    assert_state(w, STATUS_LEARNING, NULL);
    restart(w);
    assert_state(w, STATUS_WAITING, NULL);
}

static void test_guard_off(void **state)
{
    struct world *w = *state;

    w->conf->publish.auto_rollback = false;
    begin(state);
    break_rate(w);
    push(w, 2);
    turn(w);
    turn(w);
    assert_int_equal(w->fatal, 1);
    turn(w);
    assert_int_equal(w->wait_ms, -1);
    trainer_end(w->trainer);
    assert_head(w, 1);
}

/* --- operators ---------------------------------------------------------- */

/* Records that were read before a rewind are dropped: they come again. */
static void test_rewind(void **state)
{
    struct world *w = begin(state);

    learn_batch(w);
    publish(w);
    learn_batch(w);
    push(w, 1);
    operate(w, CONTROL_ROLLBACK_REWIND, 1, NULL);
    assert_int_equal(w->epoch, 1);
    assert_int_equal(w->next_offset, 0);
    assert_int_equal(steps(w), 0);
    assert_head(w, 1);
    assert_int_equal(w->learning.progress.records.consumed, 0);
    learn_batch(w);
    assert_int_equal(w->learning.progress.records.learned, 2);
}

static void test_skip(void **state)
{
    struct world *w = begin(state);

    learn_batch(w);
    publish(w);
    operate(w, CONTROL_ROLLBACK_SKIP, 1, NULL);
    assert_int_equal(w->epoch, 0);
    assert_int_equal(steps(w), 0);
    assert_int_equal(w->learning.progress.records.skipped, 2);
    assert_metric(w, "gradient_norm", 0);
    assert_metric(w, "learning_rate", 0);
}

/* A pause by the guard stays when a rollback is refused, and ends with one
 * that is done. */
static void test_rollback_resumes(void **state)
{
    struct world *w = begin(state);

    use_up_rollbacks(w);
    operate(w, CONTROL_ROLLBACK_REWIND, 99, "99");
    assert_state(w, STATUS_PAUSED, "three automatic rollbacks");
    operate(w, CONTROL_ROLLBACK_REWIND, 1, NULL);
    assert_state(w, STATUS_LEARNING, NULL);
    learner_set_rate(w->learning.learner, 0.001f);
    push(w, 6); /* the automatic rollbacks have these in quarantine */
    turn(w);
    assert_int_equal(w->learning.progress.records.skipped, 6);
    learn_batch(w);
    assert_int_equal(w->learning.progress.records.learned, 2);
}

/* Released records are learned before those of the source. */
static void test_release(void **state)
{
    struct world *w = begin(state);

    set_weight(w, "model.norm.weight", 3e38f);
    learn_batch(w);
    set_weight(w, "model.norm.weight", 1);
    publish(w);
    assert_int_equal(w->learning.progress.records.quarantined, 2);
    operate(w, CONTROL_RELEASE, 0, NULL);
    turn(w);
    turn(w);
    turn(w);
    assert_true(w->learning.progress.records.learned >= 2);
    advance(w, 3);
    turn(w);
    turn(w);
    assert_int_equal(w->learning.progress.records.learned, 3);
    restart(w);
    turn(w);
    assert_int_equal(w->learning.progress.records.learned, 3);
}

/* A forgotten domain: everything decided before it is in a version. */
static void test_forget(void **state)
{
    struct world *w = begin(state);

    push_value(w, "{\"text\": \"a text that goes\", \"domain\": \"d\"}");
    push(w, 2);
    turn(w);
    turn(w);
    assert_int_equal(steps(w), 1);
    operate_on(w, CONTROL_FORGET_DOMAIN, 0, "e", "e");
    operate_on(w, CONTROL_FORGET_DOMAIN, 0, "d", NULL);
    assert_head(w, 2);
    assert_int_equal(util_number(w->store,
                                 "SELECT count(*) FROM replay_rows"), 1);
    assert_metric(w, "replay_records", 1);
}

struct reload {
    struct world *w;
    const struct conf *next;
};

static void *reload_thread(void *arg)
{
    struct reload *r = arg;

    trainer_reload(r->w->trainer, r->w->conf, r->next);
    return NULL;
}

/* What was learned with the old settings gets a version of its own. */
static void test_reload(void **state)
{
    struct world *w = begin(state);
    struct conf *next = conf_create();
    struct reload r = {w, next};
    pthread_t thread;

    learn_batch(w);
    next->learner.optimizer.lr = 0.5;
    assert_int_equal(pthread_create(&thread, NULL, reload_thread, &r), 0);
    while (w->conf->learner.optimizer.lr != 0.5)
        turn(w);
    pthread_join(thread, NULL);
    assert_head(w, 2);
    conf_free(next);
    learn_batch(w);
    assert_metric(w, "learning_rate", 0.5);
    trainer_end(w->trainer);
    trainer_reload(w->trainer, w->conf, w->conf); /* does not wait */
}

/* --- the store ---------------------------------------------------------- */

static int disk_is_full(const char *operation, const char *path)
{
    (void)path;
    return strcmp(operation, "write") == 0 ? ENOSPC : 0;
}

static void test_full_disk(void **state)
{
    struct world *w = begin(state);

    learn_batch(w);
    fileio_fault = disk_is_full;
    publish(w);
    turn(w);
    assert_head(w, 1);
    assert_state(w, STATUS_PAUSED, "the disk is full");
    assert_true(w->wait_ms > 0);
    push(w, 2);
    turn(w);
    assert_int_equal(steps(w), 1); /* nothing is learned */
    operate_on(w, CONTROL_FORGET_ID, 0, "x", "the disk is full");
    fileio_fault = NULL;
    advance(w, 4.9);
    turn(w);
    turn(w);
    assert_head(w, 1);
    assert_state(w, STATUS_PAUSED, "the disk is full");
    advance(w, 0.1);
    turn(w);
    assert_head(w, 2);
    turn(w);
    assert_state(w, STATUS_LEARNING, NULL);
    assert_int_equal(w->fatal, 0);
}

/* --- the vocabulary ----------------------------------------------------- */

static void test_vocabulary(void **state)
{
    struct world *w = *state;

    w->conf->model.tokenizer = CONF_TOKENIZER_BPE;
    w->conf->model.vocab_size = 300;
    open_world(w);
    assert_null(w->learning.learner);
    push(w, 5);
    push_end(w);
    trainer_begin(w->trainer);
    assert_non_null(w->learning.learner);
    assert_int_equal(tokenizer_vocab_size(w->learning.tokenizer), 300);
    publisher_wait(w->publisher);
    assert_head(w, 1);
    for (int i = 0; i < 4; i++)
        turn(w);
    assert_int_equal(w->learning.progress.records.learned, 5);
    assert_head(w, 2);
}

/* The built-in vocabulary needs no text: version 1 comes before any record. */
static void test_builtin_vocabulary(void **state)
{
    struct world *w = *state;

    w->conf->model.tokenizer = CONF_TOKENIZER_BUILTIN;
    w->conf->model.vocab_size = 300;
    open_world(w);
    assert_non_null(w->learning.learner);
    assert_int_equal(tokenizer_vocab_size(w->learning.tokenizer), 300);
    trainer_begin(w->trainer);
    publisher_wait(w->publisher);
    assert_head(w, 1);
    push(w, 1);
    turn(w);
    advance(w, 2);
    turn(w);
    assert_int_equal(steps(w), 1);
}

/* A stop while text is collected: there is no model to publish. */
static void test_vocabulary_stop(void **state)
{
    struct world *w = *state;

    w->conf->model.tokenizer = CONF_TOKENIZER_BPE;
    open_world(w);
    push(w, 1);
    trainer_start(w->trainer);
    while (queue_length(w->queue))
        timing_sleep_ms(1);
    trainer_stop(w->trainer);
    assert_head(w, 0);
    assert_int_equal(w->fatal, 0);
}

/* --- metrics ------------------------------------------------------------ */

static void push_labelled(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        push_value(w, i % 2 ? "{\"text\": \"a text about the sea\", "
                              "\"label\": \"sea\", \"domain\": \"d\"}"
                            : "{\"text\": \"this one is of hills\", "
                              "\"label\": \"land\", \"domain\": \"d\"}");
}

/* Records and losses. */
static void test_metrics(void **state)
{
    struct world *w = begin(state);

    status_lock(&w->board)->publish.last_stop_seconds = 9;
    status_unlock(&w->board);
    push_labelled(w, 4);
    push_value(w, "{\"text\": 7}");
    for (int i = 0; i < 4; i++)
        turn(w);
    advance(w, 4);
    turn(w);
    turn(w);
    assert_metric(w, "records_consumed_total", 5);
    assert_metric(w, "records_learned_total", 4);
    assert_metric(w, "records_quarantined_total", 1);
    assert_metric(w, "records_skipped_total", 0); /* not 0: test_skip */
    assert_metric(w, "records_holdout_total", 0); /* not 0: test_holdout */
    assert_metric(w, "quarantine_reasons_total{reason=\"bad_field\"}", 1);
    assert_metric(w, "steps_total", 2);
    assert_metric(w, "steps_skipped_total", 0); /* not 0: test_not_finite */
    assert_metric(w, "tokens_learned_total", 84);
    assert_metric(w, "bytes_learned_total", 80);
    assert_metric(w, "flushes_total", 1);
    assert_metric(w, "tokens_per_second", 21);
    assert_metric(w, "records_per_second", 1.25);
    assert_metric_near(w, "prequential_bits_per_byte", 8.0082);
    assert_metric_near(w, "train_bits_per_byte", 8.0079);
    assert_metric_near(w, "accuracy", 0.25075);
    assert_metric_near(w, "gradient_norm", 1.6870);
    assert_metric(w, "learning_rate", 0.001f);
    assert_metric(w, "replay_records", 4);
    assert_metric(w, "replay_capacity", 100000);
    assert_metric(w, "replay_bytes", 208);
    assert_metric(w, "publish_stop_seconds", 0); /* the fake clock stands */
    assert_metric(w, "publish_interval_seconds", 10);
    assert_metric(w, "domains", 1);
    assert_metric_near(w, "domain_prequential_bits_per_byte{domain=\"d\"}",
                       8.0082);
    assert_metric_near(w, "domain_accuracy{domain=\"d\"}", 0.25075);
    assert_metric(w, "domain_records_total{domain=\"d\"}", 4);
}

/* A consolidation takes 128 segments. The next steps show its penalty. */
static void test_ewc_metrics(void **state)
{
    struct world *w = *state;
    const struct ewc *ewc;

    w->conf->learner.ewc.consolidate.kind = CONF_CONSOLIDATE_EVERY;
    w->conf->learner.ewc.consolidate.every_steps = 1;
    w->conf->publish.every_seconds = 3600;
    begin(state);
    ewc = learner_ewc(w->learning.learner);
    for (int i = 0; i < 2000 && ewc->consolidations == 0; i++)
        learn_batch(w);
    learn_batch(w);
    learn_batch(w);
    advance(w, 1);
    turn(w);
    assert_metric(w, "ewc_consolidations_total", 1);
    assert_metric_near(w, "ewc_penalty", 0.0001495);
    assert_metric_near(w, "ewc_share", 0.03534);
}

/* Replay rows that are gone: sampling counts them, and so does a restart. */
static void test_replay_metrics(void **state)
{
    struct world *w = begin(state);

    learn_batch(w);
    publish(w);
    assert_head(w, 2);
    assert_metric(w, "replay_damaged_total", 0);
    util_number(w->store, "DELETE FROM replay_rows RETURNING 1");
    push(w, 1);
    turn(w);
    turn(w);
    advance(w, 1);
    turn(w);
    assert_metric(w, "replay_damaged_total", 2);
    restart(w);
    turn(w);
    assert_metric(w, "replay_missing_total", 2);
}

/* A tenth of the first records is held out. */
static void test_holdout(void **state)
{
    struct world *w = *state;

    w->conf->learner.holdout.fraction = 0.1;
    begin(state);
    push(w, 30);
    for (int i = 0; i < 40; i++)
        turn(w);
    advance(w, 1);
    turn(w);
    assert_metric(w, "records_holdout_total", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_begin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_finite, setup, teardown),
        cmocka_unit_test_setup_teardown(test_source_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_source_stops_at_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_serve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_hour, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rewind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_skip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rollback_resumes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vocabulary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_builtin_vocabulary, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_vocabulary_stop, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ewc_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replay_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holdout, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
