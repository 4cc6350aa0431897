/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer.h - the thread that learns.
 *
 *     COLLECTING  first text, until there is a vocabulary (bpe only)
 *     LEARNING    records -> intake -> steps; a version when it is due
 *     HELD        the disk is full: nothing is learned until a version can be
 *                 written again
 *     PARKED      the guard would go back once too often, or cannot: until an
 *                 operator rolls back or promotes, restarts notwithstanding
 *     STOPPING    the step is finished, a last version is published
 *
 * Between two steps it looks at what users ask (rollbacks), collects the
 * publisher's outcome, and decides whether a version is due. Time decides only
 * when versions are made and when a part-filled batch is flushed, never what
 * is learned from full ones.
 *
 * Threads: trainer_create to trainer_start and trainer_stop main
 */
#ifndef MNEME_DAEMON_TRAIN_TRAINER_H
#define MNEME_DAEMON_TRAIN_TRAINER_H

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/board/control.h"
#include "daemon/train/learning.h"
#include "daemon/publish/publisher.h"
#include "daemon/stream/queue.h"
#include "daemon/stream/source.h"
#include "daemon/board/status.h"

struct trainer;

struct trainer_options {
    const struct conf *conf;
    struct learning *learning;
    struct queue *queue;
    struct source *source;
    struct publisher *publisher;
    struct control *control;
    struct serving *serving;
    struct status_board *board;
    struct catalog *catalog;
    /* The last line of a source with at_end: exit is in a version. */
    void (*on_end)(void *arg);
    /* Something that only ending the process can mend. */
    void (*on_fatal)(const struct err *err, void *arg);
    void *arg;
};

struct trainer *trainer_create(const struct trainer_options *options);
void trainer_start(struct trainer *t);

/* Gives `now` (the configuration that every part has) the reloadable values of
 * `next`, between two steps and with no publish on its way; returns when that
 * is done. Both stay the caller's. */
void trainer_reload(struct trainer *t, struct conf *now,
                    const struct conf *next);

/* Finishes the step, publishes what was learned, ends the thread. Returns when
 * it has. */
void trainer_stop(struct trainer *t);
void trainer_free(struct trainer *t);

#endif
