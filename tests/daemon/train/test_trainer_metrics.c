/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The value of each metric of learning, on a fake clock.
 */
#include "config.h"

#include "daemon/train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/util/store_util.h"
#include "tests/util/trainer_util.h"

/* --- metrics ------------------------------------------------------------ */

static void push_labelled(struct train_util *u, int n)
{
    for (int i = 0; i < n; i++)
        trainer_util_push_value(
            u, i % 2 ? "{\"text\": \"a text about the sea\", "
                       "\"label\": \"sea\", \"domain\": \"d\"}"
                     : "{\"text\": \"this one is of hills\", "
                       "\"label\": \"land\", \"domain\": \"d\"}");
}

/* Records and losses. */
static void test_metrics(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    status_lock(&u->board)->publish.last_stop_seconds = 9;
    status_unlock(&u->board);
    push_labelled(u, 4);
    trainer_util_push_value(u, "{\"text\": 7}");
    for (int i = 0; i < 4; i++)
        trainer_util_turn(u);
    trainer_util_advance(u, 4);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_assert_metric(u, "records_consumed_total", 5);
    trainer_util_assert_metric(u, "records_learned_total", 4);
    trainer_util_assert_metric(u, "records_quarantined_total", 1);
    trainer_util_assert_metric(u, "records_skipped_total",
                               0); /* not 0: test_skip */
    trainer_util_assert_metric(u, "records_holdout_total",
                               0); /* not 0: test_holdout */
    trainer_util_assert_metric(
        u, "quarantine_reasons_total{reason=\"bad_field\"}", 1);
    trainer_util_assert_metric(u, "steps_total", 2);
    trainer_util_assert_metric(u, "steps_skipped_total",
                               0); /* not 0: test_not_finite */
    trainer_util_assert_metric(u, "tokens_learned_total", 84);
    trainer_util_assert_metric(u, "bytes_learned_total", 80);
    trainer_util_assert_metric(u, "flushes_total", 1);
    trainer_util_assert_metric(u, "tokens_per_second", 21);
    trainer_util_assert_metric(u, "records_per_second", 1.25);
    /* The n-gram memory knows the third record from the first; the Transformer
     * alone does not. */
    trainer_util_assert_metric_near(u, "prequential_loss_bpb", 3.5808);
    trainer_util_assert_metric_near(u, "train_loss_bpb", 8.0079);
    trainer_util_assert_metric_near(u, "accuracy", 0.25075);
    trainer_util_assert_metric_near(u, "gradient_norm", 0.94347);
    trainer_util_assert_metric(u, "learning_rate", 0.001f);
    trainer_util_assert_metric(u, "replay_records", 4);
    trainer_util_assert_metric(u, "replay_capacity", 100000);
    trainer_util_assert_metric(u, "replay_bytes", 208);
    trainer_util_assert_metric(u, "publish_stop_seconds",
                               0); /* the fake clock stands */
    trainer_util_assert_metric(u, "publish_interval_seconds", 10);
    trainer_util_assert_metric(u, "domains", 1);
    trainer_util_assert_metric_near(
        u, "domain_prequential_loss_bpb{domain=\"d\"}", 3.5808);
    trainer_util_assert_metric_near(u, "domain_accuracy{domain=\"d\"}",
                                    0.25075);
    trainer_util_assert_metric(u, "domain_records_total{domain=\"d\"}", 4);
}

/* The consolidation comes before step 31. That step and the next show its
 * penalty. */
static void test_ewc_metrics(void **state)
{
    struct train_util *u = *state;

    u->conf->learner.ewc.lambda = 10;
    u->conf->learner.ewc.consolidate.kind = CONF_CONSOLIDATE_EVERY;
    u->conf->learner.ewc.consolidate.every_steps = 30;
    u->conf->publish.every_seconds = 3600;
    trainer_util_begin(state);
    for (int i = 0; i < 30; i++)
        trainer_util_learn_batch(u);
    assert_int_equal(learner_ewc(u->learning.learner)->consolidations, 0);
    trainer_util_learn_batch(u);
    trainer_util_learn_batch(u);
    trainer_util_advance(u, 1);
    trainer_util_turn(u);
    trainer_util_assert_metric(u, "ewc_consolidations_total", 1);
    trainer_util_assert_metric_near(u, "ewc_penalty", 0.0071825);
    trainer_util_assert_metric_near(u, "ewc_share", 0.07163);
}

/* The average scores one segment in sixteen, before it is learned. */
static void test_average_metric(void **state)
{
    struct train_util *u = trainer_util_begin(state);
    const struct progress *p = &u->learning.progress;
    double average, live;

    assert_true(isnan(
        train_util_metric(u, "average_prequential_loss_bpb")));
    for (int i = 0; i < 100; i++)
        trainer_util_learn_batch(u);
    trainer_util_advance(u, 1);
    trainer_util_turn(u);
    assert_in_range(p->average_loss.bytes, p->loss.bytes / 32,
                    p->loss.bytes / 8);
    average = train_util_metric(u, "average_prequential_loss_bpb");
    live = train_util_metric(u, "prequential_loss_bpb");
    /* The average follows the live weights in so few steps. */
    assert_true(average > live / 2 && average < 8.1);
}

/* Replay rows that are gone: sampling counts them, and so does a restart. */
static void test_replay_metrics(void **state)
{
    struct train_util *u = trainer_util_begin(state);

    trainer_util_learn_batch(u);
    trainer_util_publish(u);
    trainer_util_assert_head(u, 2);
    trainer_util_assert_metric(u, "replay_damaged_total", 0);
    util_number(u->store, "DELETE FROM replay_rows RETURNING 1");
    trainer_util_push(u, 1);
    trainer_util_turn(u);
    trainer_util_turn(u);
    trainer_util_advance(u, 1);
    trainer_util_turn(u);
    trainer_util_assert_metric(u, "replay_damaged_total", 2);
    trainer_util_restart(u);
    trainer_util_turn(u);
    trainer_util_assert_metric(u, "replay_missing_total", 2);
}

/* A tenth of the first records is held out. */
static void test_holdout(void **state)
{
    struct train_util *u = *state;

    u->conf->learner.holdout.fraction = 0.1;
    trainer_util_begin(state);
    trainer_util_push(u, 30);
    for (int i = 0; i < 40; i++)
        trainer_util_turn(u);
    trainer_util_advance(u, 1);
    trainer_util_turn(u);
    trainer_util_assert_metric(u, "records_holdout_total", 4);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, trainer_util_set_up,                    \
                                    trainer_util_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_metrics),
        T(test_ewc_metrics),
        T(test_average_metric),
        T(test_replay_metrics),
        T(test_holdout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
