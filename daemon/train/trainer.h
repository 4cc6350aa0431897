/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer.h - the thread that learns.
 *
 * It moves records into intake, makes steps, and submits versions when they are
 * due. Between two steps it carries out operations (rollback, forget), reloads
 * settings, and follows the guard. trainer.c draws its states.
 *
 * Time decides when versions are made and when a part-filled batch is learned.
 * It never decides what is learned from full batches.
 *
 * Threads: main; trainer_begin, trainer_turn and trainer_end run on the
 *          trainer's thread, or in a test that starts none
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
    /* Called when at_end is `exit` and a version holds the last record. */
    void (*on_end)(void *arg);
    /* Called after an error that must end the process. */
    void (*on_fatal)(const struct err *err, void *arg);
    void *arg;
};

struct trainer *trainer_create(const struct trainer_options *options);
void trainer_start(struct trainer *t);

/* Copies the reloadable values of `next` to `now`, the configuration that every
 * part uses. The trainer copies between two steps, while no version is being
 * published. Returns after the copy. The caller keeps both. */
void trainer_reload(struct trainer *t, struct conf *now,
                    const struct conf *next);

/* Finishes the step, publishes a last version, and waits for the thread. */
void trainer_stop(struct trainer *t);
void trainer_free(struct trainer *t);

/* The thread calls trainer_begin once, then trainer_turn until it returns a
 * negative number, then trainer_end. trainer_turn returns the milliseconds to
 * wait before the next turn. A test makes the same calls. */
void trainer_begin(struct trainer *t);
int64_t trainer_turn(struct trainer *t);
void trainer_end(struct trainer *t);

#endif
