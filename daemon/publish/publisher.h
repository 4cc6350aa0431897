/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.h - the thread that writes: versions, verdicts, serving, pins,
 * rollbacks, retention. It alone uses the struct store.
 *
 *     trainer  -- publisher_submit(snapshot) -->  store_publish   (PENDING)
 *     trainer  <- publisher_collect ------------  durable, or failed
 *                                                 load, gate, store_verdict,
 *                                                 serving_switch, prune
 *     trainer  <- publisher_take_wish ----------  the guard: go back
 *
 * Threads: publisher_submit, publisher_collect, publisher_rollback the
 *          trainer; publisher_wake any; the rest main
 */
#ifndef MNEME_DAEMON_PUBLISH_PUBLISHER_H
#define MNEME_DAEMON_PUBLISH_PUBLISHER_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "daemon/board/control.h"
#include "daemon/gate/guard.h"
#include "daemon/publish/serving.h"
#include "daemon/publish/snapshot.h"
#include "daemon/stream/source.h"
#include "daemon/board/status.h"
#include "store/store.h"

struct publisher;

struct publisher_options {
    const struct conf *conf;
    struct store *store; /* the publisher's alone from publisher_start on */
    struct catalog *catalog;
    struct serving *serving;
    struct control *control;
    struct status_board *board;
    struct source *source; /* told of what is durable */
    /* Called on a failure that must end the process (a failed sync). */
    void (*on_fatal)(const struct err *err, void *arg);
    void (*wake_trainer)(void *arg);
    void *arg;
};

struct publisher *publisher_create(const struct publisher_options *options);

/* The model's form, before the first snapshot; NULL shape: preset linear. */
void publisher_prepare(struct publisher *p, const struct model_shape *shape,
                       const struct tokenizer *tokenizer);
void publisher_start(struct publisher *p);

/* Finishes what it has and ends the thread. */
void publisher_stop(struct publisher *p);
void publisher_free(struct publisher *p);

void publisher_wake(struct publisher *p);

/* Have records been released since this was asked last? Trainer. */
bool publisher_released(struct publisher *p);

/* Is a publish under way, or its result not yet collected? */
bool publisher_busy(struct publisher *p);

/* Takes the snapshot over; only when not busy. */
void publisher_submit(struct publisher *p, struct snapshot *s);

/*
 * The outcome of the last submit once the files and the row are durable, or
 * have failed. Gives the snapshot back to be let go with snapshot_stored or
 * snapshot_not_stored.
 *   returns  false: nothing to collect
 *   *version the new number when err->code is 0
 *   err      ERR_FULL: try again later
 */
bool publisher_collect(struct publisher *p, struct snapshot **s,
                       int64_t *version, struct err *err);

/* Takes the guard's wish that the learner go back, if there is one. A rollback
 * by anybody drops it. */
bool publisher_take_wish(struct publisher *p, struct guard_request *wish);

/* That operation chose what serves (serving_choose) and has failed: what the
 * store says serves again, or what another one that waits has chosen. Threads:
 * trainer */
void publisher_serve_as_stored(struct publisher *p, int64_t operation);

/* How many times an operator has chosen what serves. */
int64_t publisher_choices(struct publisher *p);

/* Waits until it is not working on a snapshot any more. */
void publisher_wait(struct publisher *p);

/* Runs a function on the publisher's thread, between two of its tasks, and
 * waits for it. Trainer. */
int publisher_run(struct publisher *p,
                  int (*run)(struct store *s, void *arg, struct err *err),
                  void *arg, struct err *err);

/* Rolls the store back, on the publisher's thread, and waits for it; unless
 * keep_serving the version serves when it returns.
 *   rows   all but in_transaction, which is the publisher's
 *   known  every partition, for the ranges of rows
 */
int publisher_rollback(struct publisher *p, const struct store_rollback *rows,
                       const struct store_offset *known, size_t n_known,
                       struct err *err);

#endif
