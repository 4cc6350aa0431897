/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/util/trainer_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "tests/util/rewind_util.h"
#include "tests/util/store_util.h"

/* --- opening and closing ------------------------------------------------ */

int trainer_util_set_up(void **state)
{
    static const char *const sets[] = {
        "model.dim=8",
        "model.ffn_dim=8",
        "model.heads=1",
        "model.context=64",
        "model.max_labels=4",
        "learner.batch_tokens=66",
        "learner.flush_seconds=2",
        "learner.optimizer.lr=0.001",
        "learner.optimizer.warmup_steps=0",
        "learner.replay.adaptive=false",
        "publish.every_seconds=10",
        "publish.every_tokens=0",
    };
    struct train_util *u = xmalloc(sizeof *u);
    void *dir;

    if (util_make_temp(&dir) != 0)
        return -1;
    train_util_init(u, dir, sets, sizeof sets / sizeof *sets);
    *state = u;
    return 0;
}

static void on_end(void *arg)
{
    ((struct train_util *)arg)->n_ended++;
}

static void on_fatal(const struct err *err, void *arg)
{
    struct train_util *u = arg;

    u->fatal = *err;
    u->n_fatal++;
}

void trainer_util_open(struct train_util *u)
{
    train_util_open(u);
    rewind_util_open_learner(u);
    u->trainer = trainer_create(&(struct trainer_options){
        .conf = u->conf,
        .learning = &u->learning,
        .queue = u->queue,
        .source = &u->source.base,
        .publisher = u->publisher,
        .control = u->control,
        .serving = u->serving,
        .board = &u->board,
        .catalog = u->catalog,
        .on_end = on_end,
        .on_fatal = on_fatal,
        .arg = u,
    });
    publisher_start(u->publisher);
}

static void close_all(struct train_util *u)
{
    publisher_stop(u->publisher);
    trainer_free(u->trainer);
    train_util_close(u);
    learning_close(&u->learning);
}

int trainer_util_tear_down(void **state)
{
    struct train_util *u = *state;
    void *dir = (void *)u->dir;

    close_all(u);
    train_util_release(u);
    free(u);
    return util_remove_temp(&dir);
}

struct train_util *trainer_util_begin(void **state)
{
    struct train_util *u = *state;

    trainer_util_open(u);
    trainer_begin(u->trainer);
    publisher_wait(u->publisher);
    return u;
}

void trainer_util_restart(struct train_util *u)
{
    close_all(u);
    trainer_util_open(u);
    trainer_begin(u->trainer);
}

/* One turn. An empty queue does not make it wait, and the publisher is idle
 * after it, so that the clock may be changed. */
void trainer_util_turn(struct train_util *u)
{
    if (queue_length(u->queue) == 0)
        queue_wake(u->queue);
    u->wait_ms = trainer_turn(u->trainer);
    publisher_wait(u->publisher);
}

void trainer_util_advance(struct train_util *u, double seconds)
{
    u->now_ms += (int64_t)(1000 * seconds);
}

int64_t trainer_util_steps(const struct train_util *u)
{
    return learner_steps(u->learning.learner);
}

/* Learns two records: one turn gives them to intake, one makes the step. */
void trainer_util_learn_batch(struct train_util *u)
{
    int64_t before = trainer_util_steps(u);

    trainer_util_push(u, 2);
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), before + 1);
}

/* Publishes what was learned, by an interval that is over. */
void trainer_util_publish(struct train_util *u)
{
    trainer_util_push(u, 1); /* the stream does not pause */
    trainer_util_advance(u, u->conf->publish.every_seconds);
    trainer_util_turn(u);
    trainer_util_turn(u);
}

/* --- records ------------------------------------------------------------ */

static void push_data(struct train_util *u, const char *value, bool is_id)
{
    struct record *rec =
        record_create_data(&u->source.base.maker, value, strlen(value));

    if (is_id) { /* as source_kafka.c does */
        rec->forgets = rec->value;
        rec->value = NULL;
        rec->n_bytes = 0;
    }
    rec->epoch = u->source.epoch;
    rec->topic = TRAIN_UTIL_TOPIC;
    rec->offset = u->source.next[0]++;
    rec->time_ms = u->now_ms;
    rec->value_hash = (uint64_t)rec->offset + 1000;
    source_parse(&u->source.base, rec, NULL);
    assert_true(queue_try_push(u->queue, rec));
}

void trainer_util_push_value(struct train_util *u, const char *value)
{
    push_data(u, value, false);
}

void trainer_util_push_tombstone(struct train_util *u, const char *id)
{
    push_data(u, id, true);
}

/* n records of 32 bytes each: with the end mark 33 tokens. */
void trainer_util_push(struct train_util *u, int n)
{
    for (int i = 0; i < n; i++) {
        char *text = xasprintf("record %04d tells something new.",
                               (int)u->source.next[0]);

        trainer_util_push_value(u, text);
        free(text);
    }
}

void trainer_util_push_end(struct train_util *u)
{
    struct record *rec = record_create(RECORD_END);

    rec->epoch = u->source.epoch;
    rec->topic = TRAIN_UTIL_TOPIC;
    assert_true(queue_try_push(u->queue, rec));
}

/* --- what the test sees ------------------------------------------------- */

void trainer_util_assert_state(struct train_util *u, enum status_state state,
                               const char *reason)
{
    struct status *s = status_copy(&u->board);

    assert_string_equal(status_state_name(s->state), status_state_name(state));
    if (reason)
        assert_non_null(strstr(s->reason, reason));
    else
        assert_string_equal(s->reason, "");
    free(s);
}

void trainer_util_assert_head(struct train_util *u, int64_t version)
{
    struct catalog_pointers pointers;

    assert_int_equal(catalog_pointers(u->catalog, &pointers, NULL), 0);
    assert_int_equal(pointers.head, version);
}

void trainer_util_assert_metric(struct train_util *u, const char *series,
                                double wanted)
{
    double value = train_util_metric(u, series);

    if (!(fabs(value - wanted) <= 1e-6 * fabs(wanted)))
        fail_msg("%s is %g, not %g", series, value, wanted);
}

/* A loss or a norm depends a little on the processor. */
void trainer_util_assert_metric_near(struct train_util *u, const char *series,
                                     double wanted)
{
    double value = train_util_metric(u, series);

    if (!(fabs(value - wanted) <= 0.05 * fabs(wanted)))
        fail_msg("%s is %g, not %g", series, value, wanted);
}

/* Lets the trainer carry an operation out; it is done, or failed with this. */
void trainer_util_operate_on(struct train_util *u, enum control_kind kind,
                             int64_t version, const char *reason,
                             const char *failure)
{
    struct control_operation op;
    int64_t id = 0;

    assert_int_equal(
        control_submit(u->control, kind, version, reason, &id, NULL), 0);
    control_start(u->control, id);
    trainer_util_turn(u);
    assert_int_equal(control_wait(u->control, id, 60000, &op, NULL), 0);
    if (failure)
        assert_non_null(strstr(op.err.msg, failure));
    else if (op.state != CONTROL_DONE)
        fail_msg("%s", op.err.msg);
}

void trainer_util_operate(struct train_util *u, enum control_kind kind,
                          int64_t version, const char *failure)
{
    trainer_util_operate_on(u, kind, version, "", failure);
}

/* With this rate the weights are not finite after the next step. */
void trainer_util_break_rate(struct train_util *u)
{
    learner_set_rate(u->learning.learner, INFINITY);
}

/* Sets the first number of a weight tensor. The state gets no live weights:
 * then those of the tensors are live. */
void trainer_util_set_weight(struct train_util *u, const char *name,
                             float value)
{
    struct tensor_list weights = TENSOR_LIST_INIT, state = TENSOR_LIST_INIT;
    struct tensor_list anchor = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT;
    int64_t generation = 0;

    learner_export(u->learning.learner, &weights, &state, &anchor, &head,
                   &generation);
    *(float *)tensor_find(&weights, name)->data = value;
    tensor_find(&state, "live.weights")->name[0] = 'x';
    assert_int_equal(learner_import(u->learning.learner, &weights, &state,
                                    &anchor, &head, NULL),
                     0);
    tensor_list_release(&weights);
    tensor_list_release(&state);
    tensor_list_release(&anchor);
    tensor_list_release(&head);
}
