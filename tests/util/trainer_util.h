/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer_util.h - the trainer beside the learner, the publisher and the source
 * of train_util.h. The test makes its turns, and moves the clock between them.
 *
 * The model has one layer and a token for each byte; two records make a batch.
 */
#ifndef MNEME_TESTS_UTIL_TRAINER_UTIL_H
#define MNEME_TESTS_UTIL_TRAINER_UTIL_H

#include "tests/util/train_util.h"

/* cmocka set-up and tear-down of a test: *state is a struct train_util with its
 * configuration, which the test may change before it opens the rest. */
int trainer_util_set_up(void **state);
int trainer_util_tear_down(void **state);

/* Opens everything and starts the publisher. */
void trainer_util_open(struct train_util *u);

/* The same, then the part of the trainer before its first turn. */
struct train_util *trainer_util_begin(void **state);

/* As a kill and a start: nothing is published between. */
void trainer_util_restart(struct train_util *u);

/* One turn. An empty queue does not make it wait, and the publisher is idle
 * after it, so that the clock may be changed. */
void trainer_util_turn(struct train_util *u);

void trainer_util_advance(struct train_util *u, double seconds);

/* n records of 32 bytes each: with the end mark 33 tokens. One record with a
 * given value. The end of the source. */
void trainer_util_push(struct train_util *u, int n);
void trainer_util_push_value(struct train_util *u, const char *value);
void trainer_util_push_end(struct train_util *u);
/* A tombstone for the records of an id before it. */
void trainer_util_push_tombstone(struct train_util *u, const char *id);

/* Learns two records: one turn gives them to intake, one makes the step. */
void trainer_util_learn_batch(struct train_util *u);

/* Publishes what was learned, by an interval that is over. */
void trainer_util_publish(struct train_util *u);

/* Lets the trainer carry an operation out.
 *   failure  NULL: it is done; else a part of its error's message
 */
void trainer_util_operate(struct train_util *u, enum control_kind kind,
                          int64_t version, const char *failure);
void trainer_util_operate_on(struct train_util *u, enum control_kind kind,
                             int64_t version, const char *reason,
                             const char *failure);

/* With this rate the weights are not finite after the next step. */
void trainer_util_break_rate(struct train_util *u);

/* Sets the first number of a weight tensor. */
void trainer_util_set_weight(struct train_util *u, const char *name,
                             float value);

int64_t trainer_util_steps(const struct train_util *u);

/* `reason` is a part of the reason on the board; NULL: there is none. */
void trainer_util_assert_state(struct train_util *u, enum status_state state,
                               const char *reason);

void trainer_util_assert_head(struct train_util *u, int64_t version);

/* Near: a loss or a norm depends a little on the processor. */
void trainer_util_assert_metric(struct train_util *u, const char *name,
                                double expected);
void trainer_util_assert_metric_near(struct train_util *u, const char *name,
                                     double expected);

#endif
