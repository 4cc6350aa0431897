/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.h - the thread that writes: versions, verdicts, serving, pins,
 * rollbacks, retention. It alone uses the struct store.
 *
 * Work comes as tasks in one queue: publish, verdict, operation, rollback,
 * errand. The functions that wait return the task's error. A publication does
 * not wait: publisher_collect returns its outcome.
 *
 *     trainer  -- publisher_submit ------>  store_publish
 *     trainer  <- publisher_collect -----   the version is durable, or failed
 *                                           gate, store_verdict, retention
 *     trainer  <- publisher_take_request -   the guard requests a rollback
 *
 * Threads: publisher_wake and publisher_choices any; publisher_create,
 *          _start, _stop and _free main; the rest the trainer
 */
#ifndef MNEME_DAEMON_PUBLISH_PUBLISHER_H
#define MNEME_DAEMON_PUBLISH_PUBLISHER_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "daemon/board/control.h"
#include "daemon/board/status.h"
#include "daemon/gate/guard.h"
#include "daemon/publish/serving.h"
#include "daemon/publish/snapshot.h"
#include "daemon/stream/source.h"
#include "store/store.h"

struct publisher; /* fields are in publisher_private.h */

struct publisher_options {
    const struct conf *conf;
    struct store *store; /* only the publisher uses it from the start on */
    struct catalog *catalog;
    struct serving *serving;
    struct control *control;
    struct status_board *board;
    struct source *source; /* gets the positions of each durable version */
    /* Called on a failure that must end the process (a failed sync). */
    void (*on_fatal)(const struct err *err, void *arg);
    void (*wake_trainer)(void *arg);
    void *arg;
};

struct publisher *publisher_create(const struct publisher_options *options);

/* Sets the model's shape and tokenizer before the first snapshot; both NULL
 * with preset linear. Main, or the trainer. */
void publisher_prepare(struct publisher *p, const struct model_shape *shape,
                       const struct tokenizer *tokenizer);

/* Starts the thread. Its first task is the verdict that a crash prevented. */
void publisher_start(struct publisher *p);

/* Runs the tasks that are in the queue, and ends the thread. */
void publisher_stop(struct publisher *p);
void publisher_free(struct publisher *p);

/* An operation waits in control.h. */
void publisher_wake(struct publisher *p);

/* Whether records were released since the last call. */
bool publisher_released(struct publisher *p);

/* Whether a version is being written or judged, or its outcome has not been
 * collected. A verdict that waits for room on the disk does not count. */
bool publisher_busy(struct publisher *p);

/* Writes a snapshot, which is the publisher's until publisher_collect. The
 * outcome of the last one must have been collected. */
void publisher_submit(struct publisher *p, struct snapshot *s);

/*
 * The outcome of the last submit, once the version is durable or has failed.
 * Returns the snapshot, for snapshot_stored or snapshot_not_stored.
 *   returns  false: there is no outcome yet
 *   *version the new number when err->code is 0
 *   err      ERR_FULL: try again later
 */
bool publisher_collect(struct publisher *p, struct snapshot **s,
                       int64_t *version, struct err *err);

/* Takes the guard's request for a rollback, if there is one. Every rollback
 * drops it. */
bool publisher_take_request(struct publisher *p, struct guard_request *request);

/* Undoes serving_choose after its operation has failed. Another waiting
 * operation's choice then serves, or else the version that the store names. */
void publisher_serve_as_stored(struct publisher *p, int64_t operation);

/* How many times an operator has chosen the serving version. */
int64_t publisher_choices(struct publisher *p);

/* Waits until no version is being written or judged (publisher_busy). */
void publisher_wait(struct publisher *p);

/* Runs a function on the publisher's thread as a task, and waits for it. */
int publisher_run(struct publisher *p,
                  int (*run)(struct store *s, void *arg, struct err *err),
                  void *arg, struct err *err);

/* Rolls the store back, and waits for it. With keep_serving the serving version
 * stays; else `to` serves on return.
 *   rows   all members but in_transaction and guard, which the publisher sets
 *   known  every partition, for the ranges of rows
 */
int publisher_rollback(struct publisher *p, const struct store_rollback *rows,
                       const struct store_offset *known, size_t n_known,
                       struct err *err);

#endif
