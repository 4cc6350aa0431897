/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewind_util.h - a learner with a real store and publisher, and a source that
 * the test controls: for rollbacks, forgetting and the start.
 *
 * The model is smaller than preset nano: a step takes less than a millisecond.
 * The text of a record follows from its partition and offset, so that a record
 * that is read again is the same record.
 */
#ifndef MNEME_TESTS_UTIL_REWIND_UTIL_H
#define MNEME_TESTS_UTIL_REWIND_UTIL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/board/control.h"
#include "daemon/board/status.h"
#include "daemon/publish/publisher.h"
#include "daemon/publish/serving.h"
#include "daemon/stream/source_private.h"
#include "daemon/train/learning.h"
#include "store/store.h"

#define REWIND_UTIL_PARTITIONS 4

/*
 * A source without a thread: rewind_util_learn reads its records. Its topic is
 * source.path, as that of a file. The fake
 * needs struct source_ops, which is private, because the public face only makes
 * the kinds that a configuration can name.
 */
struct rewind_source {
    struct source base;
    int64_t next[REWIND_UTIL_PARTITIONS]; /* offset that is read next */
    int64_t end;       /* known end of partition 0; 0: not known */
    int64_t epoch;     /* of the last seek that was allowed */
    int n_seeks;       /* that were allowed */
    int refuse_after;  /* seeks that are allowed before one fails; -1: all */
};

struct rewind_util {
    const char *dir;
    struct conf *conf;
    struct store *store;
    struct catalog *catalog;
    struct status_board board;
    struct serving *serving;
    struct control *control;
    struct learning learning;
    struct rewind_source source;
    struct publisher *publisher;
    struct record_maker maker;
    int64_t epoch;
    int64_t now_ms;   /* what both clocks say */
    struct err fatal; /* the publisher's */
};

/*
 * Opens the data directory dir as the daemon does. Fails the test on an error.
 * In a new directory the model at birth is version 1.
 *   sets  "key=value", n_sets of them, after those that keep the model small.
 *         No record is held out and none is filtered, unless they say so
 */
void rewind_util_open(struct rewind_util *u, const char *dir,
                      const char *const *sets, size_t n_sets);
void rewind_util_close(struct rewind_util *u);

/* The configuration of rewind_util_open, to be freed. */
struct conf *rewind_util_conf(const char *dir, const char *const *sets,
                              size_t n_sets);

/* Adds one record. value NULL: an object with a text of its own, and id and
 * domain when they are not NULL. */
void rewind_util_add(struct rewind_util *u, int32_t partition,
                     const char *value, const char *id, const char *domain);

/* Steps until no record waits. */
void rewind_util_flush(struct rewind_util *u);

/* Reads n records of partition 0 and learns them all. */
void rewind_util_learn(struct rewind_util *u, int n);

/* A version of all that was learned, with a verdict. Returns its number; on an
 * error, which *err (may be NULL) then holds, 0. */
int64_t rewind_util_publish(struct rewind_util *u, struct err *err);

/* rewind_util_learn, then rewind_util_publish. */
int64_t rewind_util_version(struct rewind_util *u, int n);

/* Releases a row of the quarantine. Learns all released records that come after
 * the position in their stream. */
void rewind_util_release(struct rewind_util *u, int64_t row);
void rewind_util_learn_released(struct rewind_util *u);

/* Rolls back to a version by rewind_run, which the test relies on. */
void rewind_util_roll_back(struct rewind_util *u, int64_t version, bool skip);

/* SQL of the publisher's thread: a change, or the first number of a query. */
int64_t rewind_util_sql(struct rewind_util *u, const char *sql);

/* The value of a metric, with labels in braces when it has some. */
double rewind_util_metric(struct rewind_util *u, const char *name);

/* Changes a byte in a file of a version. */
void rewind_util_damage(const char *dir, int64_t version, const char *name);

void rewind_util_pointers(struct rewind_util *u, int64_t head,
                          int64_t serving);

#endif
