/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer_private.h - the insides of a trainer, for its files:
 *
 *     trainer.c             the loop: records, steps, versions when they are
 *                           due
 *     trainer_board.c       what it shows of that
 *     trainer_operations.c  going back, asked for or by itself; forgetting;
 *                           when learning holds; other settings while it runs
 *
 * Owner:   trainer_create makes it; all but the mutex's three is the trainer
 *          thread's own once it runs
 * Threads: the functions here the trainer's, between two steps
 */
#ifndef MNEME_DAEMON_TRAIN_TRAINER_PRIVATE_H
#define MNEME_DAEMON_TRAIN_TRAINER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/gate/guard.h"
#include "daemon/train/pace.h"
#include "daemon/train/trainer.h"

#define TRAINER_TAKEN_MAX 64 /* records, with one lock */

struct trainer {
    struct trainer_options options;
    struct learning *l;
    pthread_t thread;
    bool started;
    atomic_bool stopping;
    pthread_mutex_t mutex; /* guards the three below */
    pthread_cond_t reloaded;
    struct conf *now;
    const struct conf *next; /* NULL: nothing to reload */
    int64_t epoch;
    bool ended;           /* the source has no more, for now */
    bool end_untold;      /* the log has no summary of it yet */
    bool end_announced;   /* on_end has been called */
    bool failed;          /* on_fatal has been called */
    bool held;            /* the disk is full */
    bool parked;          /* it cannot go back by itself: learning holds */
    int64_t parked_choices;
    char parked_reason[256]; /* as in the control log */
    int64_t retry_ms;     /* when to try again */
    int64_t last_record_ms;
    struct record *taken[TRAINER_TAKEN_MAX]; /* from the queue, to look at */
    size_t n_taken, next_taken;
    int64_t last_publish_ms, published_tokens, published_step;
    struct pace pace;
    struct pace_wait shown; /* on the board */
    bool without_step; /* the last version had none of its own */
    int64_t show_ms, rate_ms, rate_tokens, rate_records;
    struct record_maker maker; /* of released records */
    int64_t next_release;      /* -1: where the position of releases is */
    bool look_for_releases;
};

/* The process has to end. */
void trainer_fail(struct trainer *t, const struct err *err);

/* Figures for the board, at most five times a second unless now_please. */
void trainer_show(struct trainer *t, bool now_please);

/* Shows what the next version waits for; NULL: it is being made. */
void trainer_show_wait(struct trainer *t, const struct pace_wait *w);

/* After a rollback: clears the figures of the last step, which was undone. */
void trainer_show_no_step(struct trainer *t);

/* After a step, with trainer_show. */
void trainer_show_step(struct trainer *t, const struct learning_step_result *r);

/* learning, waiting, or why not. */
void trainer_show_state(struct trainer *t, bool learning);

/* Waits until nothing is on its way, and takes the outcome. */
void trainer_drain_publisher(struct trainer *t);

/* A version of what there is, when nothing is on its way: submitted. */
void trainer_submit(struct trainer *t);

/* Waits, submits what is in no version yet, and waits for that. */
void trainer_publish_now(struct trainer *t);

/* Where the stream of releases goes on. */
int64_t trainer_next_release(struct trainer *t);

/* Carries out all that wait. */
void trainer_run_operations(struct trainer *t);

/* The settings that trainer_reload has left, if any. */
void trainer_take_reload(struct trainer *t);

/* Did learning hold when the process before ended? Then it still does. */
int trainer_find_hold(struct trainer *t, struct err *err);

/* Somebody has chosen what serves: learning that holds goes on. */
void trainer_look_for_choice(struct trainer *t);

/* Does the guard want to go back? It does, or learning holds. */
bool trainer_heed(struct trainer *t);

/* Weights that are not finite: learning goes back to the newest version, past
 * what did it. */
void trainer_recover(struct trainer *t, const struct err *cause);

#endif
