/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher_private.h - struct publisher and its tasks. Calls go one way:
 *
 *     publisher.c                  the thread and its queue
 *       |
 *       +-- publisher_publish.c    writes a version; retention
 *       +-- publisher_operations.c carries out operations and rollbacks
 *       |     |
 *       +-----+-- publisher_verdict.c  asks the gate, switches serving
 *                   |
 *                 publisher_board.c    shows versions on the board
 *
 * Threads: the functions here the publisher's, without the mutex
 */
#ifndef MNEME_DAEMON_PUBLISH_PUBLISHER_PRIVATE_H
#define MNEME_DAEMON_PUBLISH_PUBLISHER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "daemon/publish/verdict.h"
#include "daemon/publish/probe.h"
#include "daemon/publish/publisher.h"

/* Members without the name of a kind are used by all kinds. */
struct publisher_task {
    enum {
        TASK_PUBLISH,     /* write a snapshot as a version */
        TASK_VERDICT,     /* give the head version its verdict */
        TASK_OPERATION,   /* carry out the operations that wait in control.h */
        TASK_UNDO_CHOICE, /* an operation of the trainer has failed */
        TASK_ROLLBACK,    /* write a rollback */
        TASK_ERRAND       /* run a function of the trainer */
    } kind;
    enum { TASK_IDLE, TASK_QUEUED, TASK_RUNNING, TASK_DONE } state;
    struct publisher_task *next; /* in the queue */
    int64_t due_ms; /* VERDICT: runs no earlier; 0: at once */
    int rc;
    struct err *err;
    /* PUBLISH: */
    struct snapshot *snapshot;
    int64_t version;
    struct err outcome;
    int64_t operation; /* UNDO_CHOICE: the one that failed */
    /* ROLLBACK: */
    const struct store_rollback *rollback;
    const struct store_offset *known;
    size_t n_known;
    /* ERRAND: */
    int (*run)(struct store *s, void *arg, struct err *err);
    void *arg;
};

struct publisher {
    struct publisher_options options;
    const struct model_shape *shape;
    const struct tokenizer *tokenizer;
    struct buf tokenizer_json;
    struct holdout_scoring *scoring;
    struct probe probe;     /* of the snapshot that was written last */
    int64_t probed_version; /* the version made of that snapshot; 0: none */
    atomic_bool released;   /* records were, since publisher_released */
    _Atomic int64_t choices; /* as publisher_choices */

    /* publisher.c alone, on the thread: */
    bool failing; /* the last task failed and may succeed later */
    bool dead;    /* nothing is written any more */
    int64_t started_ns, started_cpu_ns; /* of the last publication; 0: its
                                           verdict is written */
    int64_t scrub_ms; /* when erasing bytes is tried again; 0: not due */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t work;   /* for the publisher */
    pthread_cond_t done;   /* for the trainer */
    bool stopping;
    struct publisher_task *first; /* the queue */
    struct publisher_task publish, verdict, operation;
    struct guard_request request; /* with GUARD_NO_CAUSE: none */
};

/* Writes a snapshot as the new head version, tells the source its positions,
 * and shows it on the board. *version out. Errors as store_publish. */
int publisher_publish(struct publisher *p, const struct snapshot *s,
                      int64_t *version, struct err *err);

/* Removes the versions that retention does not keep. */
int publisher_prune(struct publisher *p, struct err *err);

/*
 * Gives a pending head version its verdict, and makes it serve if it passed.
 *   request  out: the rollback that the guard requests, also for a head version
 *            that an earlier process judged
 *   again    out, with an error: whether a later call may succeed
 */
int publisher_verdict(struct publisher *p, struct guard_request *request,
                      bool *again, struct err *err);

/* Makes a loaded version serve, after the store names it. The version that a
 * waiting operation has chosen (control_choice) serves instead. */
void publisher_switch(struct publisher *p, int64_t version,
                      struct infer *infer);

/* Writes a rollback to the store, and switches serving with it. Arguments as
 * publisher_rollback. */
int publisher_write_rollback(struct publisher *p,
                             const struct store_rollback *rollback,
                             const struct store_offset *known, size_t n_known,
                             struct err *err);

/* Carries out every operation that waits for the publisher. */
void publisher_run_operations(struct publisher *p);

/* After the failure of an operation that chose the serving version: serves the
 * choice of another waiting operation, or else the version in the store. */
void publisher_undo_choice(struct publisher *p, int64_t operation);

/*
 * Shows versions on the board, from the store alone: the pointers, the serving
 * version, and the figures of the judged version (status.h). Called whenever
 * one of these may have changed.
 *   serving  the serving version; 0: none
 *   verdict  a verdict that was just written, to be counted, or NULL
 */
void publisher_show_versions(struct catalog *c, int64_t serving,
                             const struct verdict *verdict,
                             struct status_board *board);
void publisher_show(struct publisher *p, const struct verdict *verdict);

/* Adds `best` to the gate's JSON of a version: the lowest holdout loss of each
 * domain on its branch. It is kept with the version, because the versions
 * before it are pruned. */
void publisher_note_best(struct catalog *c, int64_t version,
                         struct verdict *j);

#endif
