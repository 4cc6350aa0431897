/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_util.h - the test plays the trainer: it makes snapshots by hand, of a
 * tiny model whose weights decide the verdict.
 *
 * Only the publisher's thread moves the clock, so no other thread races.
 */
#ifndef MNEME_TESTS_UTIL_PUBLISH_UTIL_H
#define MNEME_TESTS_UTIL_PUBLISH_UTIL_H

#include "tests/util/train_util.h"

/* Changes of the weights, by which the gate decides (limit: +2 %): */
#define WORSE 0.02f    /* +0.2 %: passes, and the reference stays */
#define TOO_MUCH 0.06f /* a loss of +3.4 % */
#define BAD 0.5f       /* +25 % */

/* cmocka set-up and tear-down of a group. */
int publish_util_set_up(void **state);
int publish_util_tear_down(void **state);

/* Opens everything in an empty directory; the test starts the publisher. A
 * restart starts it, and waits until it is idle. */
void publish_util_begin(struct train_util *u, const char *dir);
void publish_util_restart(struct train_util *u);
void publish_util_end(struct train_util *u);

/* The weights of the next snapshots: those of a newborn model, all of them
 * changed at random by at most `by`. */
void publish_util_set_weights(float by);

/* Holds n records out. */
void publish_util_hold_out(struct train_util *u, int n);

struct snapshot *publish_util_make_snapshot(struct train_util *u);

/* Collects the outcome of a submit: the error's code and the version. */
int publish_util_collect(struct train_util *u, int64_t *version);

/* Publishes a version with n more records held out, and returns its number. */
int64_t publish_util_publish(struct train_util *u, float by, int n);

/* Runs an operation, and returns how it ended. */
struct control_operation publish_util_operate(struct train_util *u,
                                              enum control_kind kind,
                                              int64_t version,
                                              const char *reason);

/* Rolls back with skip, whose reason is "worse". */
int publish_util_roll_back(struct train_util *u, int64_t to, bool keep_serving,
                           bool automatic, struct err *err);

/* Moves the clock, and waits for the tasks that become due. */
void publish_util_pass_time(struct train_util *u, int64_t ms);

/* Every later write of the database finds no room, until fault_vfs_hook is
 * NULL. */
void publish_util_fill_disk(struct train_util *u);

void publish_util_check_metric(struct train_util *u, const char *name,
                               double expected);

/* A member of `publish` in GET /v1/status, printed as JSON. */
void publish_util_check_status(struct train_util *u, const char *key,
                               const char *expected);

/* The same in the store, in serving.h and in the metrics. */
void publish_util_check_pointers(struct train_util *u, int64_t head,
                                 int64_t serving);

void publish_util_check_serving_pinned(struct train_util *u, bool pinned);

int64_t publish_util_records_held_out(struct train_util *u);

#endif
