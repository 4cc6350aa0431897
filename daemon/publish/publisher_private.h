/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher_private.h - the insides of a publisher, for its files:
 *
 *     publisher.c             the thread, and what the trainer asks of it:
 *                             snapshots become versions, retention
 *     publisher_verdict.c     the gate's word about a version, and what follows
 *     publisher_board.c       what the board says of versions
 *     publisher_operations.c  what users ask for; the store's side of a
 *                             rollback
 *
 * Owner:   publisher_create makes it; the members above the mutex are the
 *          publisher thread's own once it runs, but for the atomic
 * Threads: the functions here the publisher's, with the mutex not held
 */
#ifndef MNEME_DAEMON_PUBLISH_PUBLISHER_PRIVATE_H
#define MNEME_DAEMON_PUBLISH_PUBLISHER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "daemon/publish/verdict.h"
#include "daemon/publish/probe.h"
#include "daemon/publish/publisher.h"

struct rollback_request {
    struct store_rollback rows;
    const struct store_offset *known;
    size_t n_known;
    struct err *err;
    int rc;
};

struct errand {
    int (*run)(struct store *s, void *arg, struct err *err);
    void *arg;
    struct err *err;
    int rc;
};

struct publisher {
    struct publisher_options options;
    const struct model_shape *shape;
    const struct tokenizer *tokenizer;
    struct buf tokenizer_json;
    struct holdout_scoring *scoring;
    struct probe probe;     /* of the snapshot that was written last */
    int64_t probed_version; /* which became this version; 0: none */
    bool failing; /* the last publish failed, and that has been said */
    bool dead;    /* something cannot be mended: nothing is written any more */
    int64_t retry_ms; /* when the head is judged again; 0: it has a verdict */
    int64_t scrub_ms; /* when erasing bytes is tried again; 0: not due */
    atomic_bool released; /* records, and the trainer has not looked */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t work;   /* for the publisher */
    pthread_cond_t done;   /* for the trainer */
    bool stopping, woken;
    bool starting; /* until a version that a crash left pending is judged */
    bool busy;
    bool judging; /* a version whose verdict is tried again */
    struct snapshot *submitted;
    struct rollback_request *rollback;
    struct errand *errand;
    bool have_outcome;
    struct snapshot *outcome_snapshot;
    int64_t outcome_version;
    struct err outcome_err;
    bool have_wish;
    struct guard_request wish;
    int64_t choices;
};

/* What cannot be mended ends the process; the rest is tried again. */
void publisher_fail(struct publisher *p, const char *what,
                    const struct err *err, bool again);

/*
 * Shows versions on the board, from the store alone: the pointers, the serving
 * version, and the figures of the judged version (status.h). Called whenever
 * one of these may have changed.
 *   serving  the serving version; 0: none
 *   spoken   a verdict that was just written, to be counted, or NULL
 */
void publisher_show_versions(struct catalog *c, int64_t serving,
                             const struct verdict *spoken,
                             struct status_board *board);
void publisher_show(struct publisher *p, const struct verdict *spoken);

/* Adds `best` to the gate's JSON of a version: the lowest holdout loss of each
 * domain on its branch. Kept with the version, because versions before it
 * are pruned. */
void publisher_note_best(struct catalog *c, int64_t version,
                         struct verdict *j);

/* A version has just been written: asks the gate, writes the verdict,
 * switches. Without room on the disk it stays pending, and retry_ms says when
 * publisher_judge_pending is to be called. */
void publisher_judge(struct publisher *p, int64_t version);

/* The head, when a crash or a full disk cut its verdict off; older ones stay
 * undecided. When it has one, and the process ended before the guard had its
 * wish, it wishes again. */
void publisher_judge_pending(struct publisher *p);

/* After what serves was switched: an operator's choice that waits answers
 * first, but for that of operation `but`. */
void publisher_keep_choice(struct publisher *p, int64_t but);

/* Writes a rollback, and switches what serves with it. */
int publisher_write_rollback(struct publisher *p,
                             const struct rollback_request *r);

/* Carries out all that wait. */
void publisher_run_operations(struct publisher *p);

#endif
