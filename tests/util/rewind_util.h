/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewind_util.h - a learner beside the store, the publisher and the source of
 * train_util.h: for rollbacks, forgetting and the start.
 *
 * The model is smaller than preset nano: a step takes less than a millisecond.
 * The text of a record follows from its partition and offset, so that a record
 * that is read again is the same record.
 */
#ifndef MNEME_TESTS_UTIL_REWIND_UTIL_H
#define MNEME_TESTS_UTIL_REWIND_UTIL_H

#include "tests/util/train_util.h"

/*
 * Opens the data directory dir as the daemon does. Fails the test on an error.
 * In a new directory the model at birth is version 1.
 *   sets  "key=value", n_sets of them, after those that keep the model small.
 *         No record is held out and none is filtered, unless they say so
 */
void rewind_util_open(struct train_util *u, const char *dir,
                      const char *const *sets, size_t n_sets);
void rewind_util_close(struct train_util *u);

/* Opens the learner as the daemon does at start, in an open train_util. */
void rewind_util_open_learner(struct train_util *u);

/* Adds one record. value NULL: an object with a text of its own, and id and
 * domain when they are not NULL. */
void rewind_util_add(struct train_util *u, int32_t partition,
                     const char *value, const char *id, const char *domain);

/* Steps until no record waits. */
void rewind_util_flush(struct train_util *u);

/* Reads n records of partition 0 and learns them all. */
void rewind_util_learn(struct train_util *u, int n);

/* A version of all that was learned, with a verdict. Returns its number; on an
 * error, which *err (may be NULL) then holds, 0. */
int64_t rewind_util_publish(struct train_util *u, struct err *err);

/* rewind_util_learn, then rewind_util_publish. */
int64_t rewind_util_version(struct train_util *u, int n);

/* Releases a row of the quarantine. Learns all released records that come after
 * the position in their stream. */
void rewind_util_release(struct train_util *u, int64_t row);
void rewind_util_learn_released(struct train_util *u);

/* Rolls back to a version by rewind_run, which the test relies on. */
void rewind_util_roll_back(struct train_util *u, int64_t version, bool skip);

/* SQL of the publisher's thread: a change, or the first number of a query. */
int64_t rewind_util_sql(struct train_util *u, const char *sql);

/* train_util_metric, after the counters of learning are shown on the board. */
double rewind_util_metric(struct train_util *u, const char *name);

/* Changes a byte in a file of a version. */
void rewind_util_damage(const char *dir, int64_t version, const char *name);

#endif
