/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes the course of the trainer: automatic rollbacks and their limit,
 * and an operator's rollback, release, forgetting and reload. The test makes
 * the turns, on a fake clock.
 */
#include "config.h"

#include "daemon/train/trainer.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "daemon/publish/verdict_memory.h"
#include "tests/util/store_util.h"
#include "tests/util/trainer_util.h"

/* --- the guard ---------------------------------------------------------- */

/* Weights that are not finite: an automatic rollback skips the records. */
static void test_guard(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_learn_batch(u);
    trainer_util_publish(u);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 2);
    trainer_util_break_rate(u);
    trainer_util_push(u, 2);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 2);
    assert_int_equal(trainer_util_steps(u),
                     1);                  /* the diverged step is undone */
    assert_int_equal(u->source.epoch, 0); /* nothing is read again */
    trainer_util_assert_metric(u, "automatic_rollbacks_total", 1);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
    learner_set_rate(u->learning.learner, 0.001f);
    trainer_util_learn_batch(u);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
}

/* The guard's request that the process before left with the head version. */
static void test_guard_request(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    struct verdict_memory memory;
    char *guard, *sql;

    trainer_util_learn_batch(u);
    trainer_util_publish(u);
    trainer_util_assert_head(u, 2);
    verdict_memory_init(&memory);
    memory.request = (struct guard_request){GUARD_WORSE, 1, "a test"};
    guard = verdict_memory_write(&memory);
    sql = xasprintf("UPDATE versions SET guard = '%s' WHERE version = 2 "
                    "RETURNING 1",
                    guard);
    util_number(u->store, sql);
    free(sql);
    free(guard);
    trainer_util_restart(u);
    publisher_wait(u->publisher);
    trainer_util_turn(u);
    trainer_util_assert_head(u, 1);
    assert_int_equal(trainer_util_steps(u), 0);
    trainer_util_assert_metric(u, "automatic_rollbacks_total", 1);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
}

/* Goes back as often as the guard may, and once more. */
static void use_up_rollbacks(struct train_util *u)
{
    trainer_util_break_rate(u);
    for (int i = 1; i <= 3; i++) {
        trainer_util_push(u, 2);
        trainer_util_turn(u);
        trainer_util_turn(u);
        trainer_util_assert_metric(u, "automatic_rollbacks_total", i);
        trainer_util_advance(u, 60);
    }
    trainer_util_push(u, 2);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_assert_metric(u, "automatic_rollbacks_total", 3);
    trainer_util_assert_state(u, STATUS_PAUSED, "three automatic rollbacks");
}

static void test_guard_limit(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    int64_t before;

    use_up_rollbacks(u);
    before = trainer_util_steps(u);
    trainer_util_push(u, 4);
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_true(u->wait_ms > 0);
    assert_int_equal(trainer_util_steps(u), before);
    trainer_util_assert_state(u, STATUS_PAUSED, "`mneme rollback`");
    assert_int_equal(u->n_fatal, 0);
    trainer_end(u->trainer); /* weights that are not finite stay unpublished */
    trainer_util_assert_head(u, 1);
}

/* The limit is by the hour. */
static void test_guard_hour(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_break_rate(u);
    for (int i = 1; i <= 5; i++) {
        trainer_util_push(u, 2);
        trainer_util_turn(u);
        trainer_util_turn(u);
        trainer_util_assert_metric(u, "automatic_rollbacks_total", i);
        trainer_util_advance(u, 1300);
    }
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
}

/* A restart does not end the pause; an operator's choice does. */
static void test_guard_resume(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    use_up_rollbacks(u);
    trainer_util_restart(u);
    trainer_util_assert_state(u, STATUS_PAUSED, "three automatic rollbacks");
    trainer_util_push(u, 8); /* six of them are quarantined */
    trainer_util_turn(u);
    assert_int_equal(queue_length(u->queue), 8);
    trainer_util_operate(u, CONTROL_PROMOTE_LATEST, 0, NULL);
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
    trainer_util_restart(u);
    trainer_util_assert_state(u, STATUS_WAITING, NULL);
}

static void test_guard_off(void **state)
{
    struct train_util *u = *state;

    u->conf->publish.auto_rollback = false;
    trainer_util_begin(state);
    trainer_util_break_rate(u);
    trainer_util_push(u, 8); /* six of them are quarantined */
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_int_equal(u->n_fatal, 1);
    trainer_util_turn(u);
    assert_int_equal(u->wait_ms, -1);
    trainer_end(u->trainer);
    trainer_util_assert_head(u, 1);
}

/* --- operators ---------------------------------------------------------- */

/* Records that were read before a rewind are dropped: they come again. */
static void test_rewind(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_learn_batch(u);
    trainer_util_publish(u);
    trainer_util_learn_batch(u);
    trainer_util_push(u, 1);
    trainer_util_operate(u, CONTROL_ROLLBACK_REWIND, 1, NULL);
    assert_int_equal(u->source.epoch, 1);
    assert_int_equal(u->source.next[0], 0);
    assert_int_equal(trainer_util_steps(u), 0);
    trainer_util_assert_head(u, 1);
    assert_int_equal(u->learning.progress.records.consumed, 0);
    trainer_util_learn_batch(u);
    assert_int_equal(u->learning.progress.records.learned, 2);
}

static void test_skip(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_learn_batch(u);
    trainer_util_publish(u);
    trainer_util_operate(u, CONTROL_ROLLBACK_SKIP, 1, NULL);
    assert_int_equal(u->source.epoch, 0);
    assert_int_equal(trainer_util_steps(u), 0);
    assert_int_equal(u->learning.progress.records.skipped, 2);
    trainer_util_assert_metric(u, "gradient_norm", 0);
    trainer_util_assert_metric(u, "learning_rate", 0);
}

/* A pause by the guard stays when a rollback is refused, and ends with one
 * that is done. */
static void test_rollback_resumes(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    use_up_rollbacks(u);
    trainer_util_operate(u, CONTROL_ROLLBACK_REWIND, 99, "99");
    trainer_util_assert_state(u, STATUS_PAUSED, "three automatic rollbacks");
    trainer_util_operate(u, CONTROL_ROLLBACK_REWIND, 1, NULL);
    trainer_util_assert_state(u, STATUS_LEARNING, NULL);
    learner_set_rate(u->learning.learner, 0.001f);
    trainer_util_push(u,
                      6); /* the automatic rollbacks have these in quarantine */
    trainer_util_turn(u);
    assert_int_equal(u->learning.progress.records.skipped, 6);
    trainer_util_learn_batch(u);
    assert_int_equal(u->learning.progress.records.learned, 2);
}

/* Released records are learned before those of the source. */
static void test_release(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_set_weight(u, "model.norm.weight", 3e38f);
    trainer_util_learn_batch(u);
    trainer_util_set_weight(u, "model.norm.weight", 1);
    trainer_util_publish(u);
    assert_int_equal(u->learning.progress.records.quarantined, 2);
    trainer_util_operate(u, CONTROL_RELEASE, 0, NULL);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_true(u->learning.progress.records.learned >= 2);
    trainer_util_advance(u, 3);
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_int_equal(u->learning.progress.records.learned, 3);
    trainer_util_restart(u);
    trainer_util_turn(u);
    assert_int_equal(u->learning.progress.records.learned, 3);
}

/* A forgotten domain: everything decided before it is in a version. */
static void test_forget(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_push_value(
        u, "{\"text\": \"a text that goes\", \"domain\": \"d\"}");
    trainer_util_push(u, 2);
    trainer_util_turn(u);
    trainer_util_turn(u);
    assert_int_equal(trainer_util_steps(u), 1);
    trainer_util_operate_on(u, CONTROL_FORGET_DOMAIN, 0, "e", "e");
    trainer_util_operate_on(u, CONTROL_FORGET_DOMAIN, 0, "d", NULL);
    trainer_util_assert_head(u, 2);
    assert_int_equal(util_number(u->store, "SELECT count(*) FROM replay_rows"),
                     1);
    trainer_util_assert_metric(u, "replay_records", 1);
}

struct reload {
    struct train_util *u;
    const struct conf *next;
};

static void *reload_thread(void *arg)
{
    struct reload *r = arg;

    trainer_reload(r->u->trainer, r->u->conf, r->next);
    return NULL;
}

/* What was learned with the old settings gets a version of its own. */
static void test_reload(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    struct conf *next = conf_create();
    struct reload r = {u, next};
    pthread_t thread;

    trainer_util_learn_batch(u);
    next->learner.optimizer.lr = 0.5;
    assert_int_equal(pthread_create(&thread, NULL, reload_thread, &r), 0);
    while (u->conf->learner.optimizer.lr != 0.5)
        trainer_util_turn(u);
    pthread_join(thread, NULL);
    trainer_util_assert_head(u, 2);
    conf_free(next);
    trainer_util_learn_batch(u);
    trainer_util_assert_metric(u, "learning_rate", 0.5);
    trainer_end(u->trainer);
    trainer_reload(u->trainer, u->conf, u->conf); /* does not wait */
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, trainer_util_set_up,                    \
                                    trainer_util_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_guard),      T(test_guard_request), T(test_guard_limit),
        T(test_guard_hour), T(test_guard_resume),  T(test_guard_off),
        T(test_rewind),     T(test_skip),          T(test_rollback_resumes),
        T(test_release),    T(test_forget),        T(test_reload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
