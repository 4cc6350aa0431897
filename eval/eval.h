/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval.h - measures learning and forgetting on files, or on a data directory.
 *
 * eval_files plays files as a stream, with the daemon's own intake, replay and
 * learner, but without a daemon and without a store. Each run has an arm, which
 * says what protects earlier text, and a seed. A run is a process of its own
 * with one thread. So the figures do not depend on the number of processes; the
 * seconds and the memory do, and so does a run at equal seconds, whose length
 * is measured in processor time.
 *
 * The stream has one part for each domain: in sequence, the part is the domain.
 * Otherwise the parts have as much text as the domains. After each part the
 * held-out records of all domains are scored with the model that would answer.
 *
 * eval_versions reads the same from the versions of a data directory.
 *
 * A report is a JSON object; docs/LEARNING.md and mneme(1) describe it.
 *
 * Owner:   the caller owns reports
 * Threads: one; no other thread may run, since eval_files forks
 */
#ifndef MNEME_EVAL_EVAL_H
#define MNEME_EVAL_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

enum eval_arm {
    EVAL_NONE, /* neither replay nor EWC */
    EVAL_EWC,
    EVAL_REPLAY,
    EVAL_BOTH,
    EVAL_JOINT,   /* replay, and all records shuffled */
    EVAL_SCRATCH, /* at the end of each part, a new model learns the records so
                     far, shuffled, with replay */
    EVAL_ARMS
};

extern const char *const eval_arm_names[EVAL_ARMS];

enum eval_order {
    EVAL_SEQUENCE,    /* one domain after another */
    EVAL_GRADUAL,     /* each domain fades into the next */
    EVAL_INTERLEAVED, /* all records shuffled */
    EVAL_TIME,        /* by their time stamps */
    EVAL_ORDERS
};

extern const char *const eval_order_names[EVAL_ORDERS];

/* The domain of a record: its file, its member `domain`, or its label. */
enum eval_by { EVAL_BY_FILE, EVAL_BY_DOMAIN, EVAL_BY_LABEL, EVAL_BYS };

extern const char *const eval_by_names[EVAL_BYS];

struct eval_options {
    const struct conf *conf; /* learner.replay.enabled, learner.ewc.enabled,
                                learner.seed, learner.holdout and the source
                                are set by each run */
    const char *const *files;
    size_t n_files;
    const char *const *heldout; /* by file: as many as files, or none */
    size_t n_heldout;
    enum eval_by by;
    enum eval_order order;
    bool arms[EVAL_ARMS];
    uint64_t seed; /* the first */
    size_t n_seeds;
    size_t jobs;          /* processes at a time */
    size_t bytes;         /* text of a domain that is learned; 0: all */
    size_t heldout_bytes; /* text of a domain that is scored; 0: all */
    size_t points;        /* measurements in a part of the stream, for the
                             chart; 0: 4, or 1 with more than 8 domains */
    bool equal_seconds;   /* also run with equal processor seconds; not with
                             the arm scratch, which is slower by design */
    /* Called often: share 0 to 1 of the whole work. May be NULL. */
    void (*progress)(void *arg, double share, size_t done, size_t all);
    void *arg;
};

/*
 * Plays the files. Prints nothing.
 *   report   out; json_decref
 *   returns  ERR_INVALID: a file has no good record, or too few to hold some
 *            out; ERR_IO, ERR_CORRUPT; ERR_DIVERGED and others name the run
 */
int eval_files(const struct eval_options *o, json_t **report, struct err *err);

/* Reads the holdout results of all kept versions, and from the history how far
 * serving lagged. Works beside a running daemon. */
int eval_versions(const char *data_dir, json_t **report, struct err *err);

/* Appends a report as a drawing: one column for each arm, with the losses over
 * the stream and the matrix. */
void eval_chart(const json_t *report, struct buf *svg);

#endif
