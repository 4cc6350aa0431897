/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_util.h - the parts of a daemon around its publisher: a real store, a
 * source that the test controls, and a clock that only the test moves.
 *
 * publish_util.h adds a trainer that the test plays, rewind_util.h a learner,
 * and trainer_util.h the trainer itself. All use struct train_util.
 *
 * The fake source needs struct source_ops, which is private, because the public
 * face only makes the kinds that a configuration can name.
 */
#ifndef MNEME_TESTS_UTIL_TRAIN_UTIL_H
#define MNEME_TESTS_UTIL_TRAIN_UTIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/board/control.h"
#include "daemon/board/status.h"
#include "daemon/publish/publisher.h"
#include "daemon/publish/serving.h"
#include "daemon/stream/source_private.h"
#include "daemon/train/learning.h"
#include "daemon/train/trainer.h"
#include "store/store.h"

#define TRAIN_UTIL_PARTITIONS 4
#define TRAIN_UTIL_TOPIC "text" /* source.path; no such file is opened */
#define TRAIN_UTIL_START_MS INT64_C(1700000000000) /* of the clock */

/* A source without a thread. The test hands its records over. */
struct train_source {
    struct source base;
    int64_t next[TRAIN_UTIL_PARTITIONS]; /* offset that is read next */
    int64_t end;       /* known end of partition 0; 0: not known */
    int64_t epoch;     /* of the last begin or seek that was allowed */
    int n_seeks;       /* begins and seeks that were allowed */
    int refuse_after;  /* how many are allowed before one fails; -1: all */
    int n_published;   /* calls of source_published, and the position of */
    int64_t published; /* partition 0 in the last one */
};

struct train_util {
    const char *dir;
    struct conf *conf;
    _Atomic int64_t now_ms; /* what both clocks say */
    struct store *store;
    struct catalog *catalog;
    struct status_board board;
    struct queue *queue;
    struct train_source source;
    struct serving *serving;
    struct control *control;
    struct publisher *publisher;
    atomic_int n_fatal; /* errors that would end the process */
    struct err fatal;   /* the first of them */
    int n_wakes;        /* how often the publisher woke the trainer */
    /* Each is called once, on the publisher's thread: while a version is being
     * published; and when it is durable, before its verdict is queued. */
    void (*when_published)(struct train_util *u);
    void (*when_durable)(struct train_util *u);

    struct learning learning; /* empty unless a test opens it */
    struct record_maker maker;
    int64_t step;  /* of publish_util.h */
    int64_t epoch; /* of rewind_util.h */

    struct trainer *trainer; /* NULL except in trainer_util.h */
    int64_t wait_ms;         /* what its last turn returned */
    int n_ended;             /* calls of its on_end */
};

/* The configuration of a small model that holds nothing out, filters nothing
 * and has no gate, then n_sets of "key=value"; to be freed. */
struct conf *train_util_conf(const char *dir, const char *const *sets,
                             size_t n_sets);

/* Zeroes *u, sets the clock, and sets the configuration as above. */
void train_util_init(struct train_util *u, const char *dir,
                     const char *const *sets, size_t n_sets);

/* Opens everything but the learner and the trainer. The publisher is neither
 * prepared nor started. Closing it and opening it again is a restart. */
void train_util_open(struct train_util *u);
void train_util_close(struct train_util *u);
void train_util_release(struct train_util *u);

/* Hands a snapshot to the publisher and waits. Returns the new version's
 * number; on an error, which *err (may be NULL) then holds, 0. */
int64_t train_util_publish(struct train_util *u, struct snapshot *s,
                           struct err *err);

/* The outcome of a publisher_submit: the error's code and the version. */
int train_util_collect(struct train_util *u, int64_t *version,
                       struct err *err);

/* The value of a metric without its `mneme_`, with labels in braces when it has
 * some. NAN: there is no such metric. */
double train_util_metric(struct train_util *u, const char *name);

/* Fails the test unless the metric is at most `by` from `expected`. */
void train_util_check_metric(struct train_util *u, const char *name,
                             double expected, double by);

void train_util_check_pointers(struct train_util *u, int64_t head,
                               int64_t serving);

#endif
