/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learning.h - the live state: learner, replay, holdout, progress and intake,
 * and one step over all of them.
 *
 * Everything that a version is, in memory. The tokenizer comes first
 * (learning_prepare); then the state is new (learning_begin) or a version's
 * (learning_load).
 *
 * Owner:   the trainer
 * Threads: trainer; before it starts, main
 */
#ifndef MNEME_DAEMON_TRAIN_LEARNING_H
#define MNEME_DAEMON_TRAIN_LEARNING_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "daemon/intake/intake.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/snapshot.h"
#include "learner/learner.h"
#include "replay/replay.h"
#include "store/catalog.h"

struct learning {
    const struct conf *conf;
    struct catalog *catalog; /* its own, for rows and versions */
    int threads, shards;
    bool has_model; /* false: preset linear */
    struct model_shape shape;
    struct tokenizer *tokenizer; /* NULL until prepared, or linear */
    struct learner *learner;     /* NULL until prepared */
    struct replay *replay, *holdout;
    struct progress progress;
    struct filter *filter;
    struct intake *intake;
    struct refusals refusals; /* logs only in the trainer's learning */
    double replay_ratio;     /* replayed tokens for each new one, now */
    int64_t anchor_generation; /* of the head version's file; 0: write it */
    struct segment_limits limits; /* of stored rows, at this step */
    bool mixed_settings; /* they changed between two versions: the next one
                            cannot say what it was learned with */
    /* Working room of a step: */
    struct segment *replayed, *fisher;
    size_t cap_replayed, cap_fisher;
    uint16_t *fisher_tokens;
    size_t cap_fisher_tokens;
    double *nats, *text_nats;
    size_t cap_nats;
    uint8_t *right;
    float *logits;
    size_t cap_right;
};

/* Opens a catalog of its own on data_dir. */
int learning_open(struct learning *l, const struct conf *conf, int threads,
                  int shards, struct err *err);
void learning_close(struct learning *l);

/* The tokenizer is known (taken over; NULL for preset linear): makes the
 * model and all that hangs on it, with weights at birth. */
int learning_prepare(struct learning *l, struct tokenizer *tokenizer,
                     struct err *err);

/* The same with a shape from elsewhere: a version's, or another model's. */
int learning_prepare_shape(struct learning *l, struct tokenizer *tokenizer,
                           const struct model_shape *shape, struct err *err);

/* The same with vocabulary and shape of a stored version, whose weights are not
 * loaded. ERR_CORRUPT, ERR_NOTFOUND. */
int learning_prepare_version(struct learning *l, int64_t version,
                             struct err *err);

/* Becomes a version. branch 0: a restart, which goes on where it was;
 * else the number of a new branch of row keys. Positions are the version's.
 * On an error the state may be half of each: load another one. */
int learning_load(struct learning *l, int64_t version, int64_t branch,
                  struct err *err);

/* What the control log says by now, for intake: what is skipped for good and
 * what is forgotten. */
int learning_load_skipped(struct learning *l, struct err *err);

/* What a step did, for the board. */
struct learning_step_result {
    struct learner_step_output step;
    size_t fresh_tokens, replayed_tokens;
};

/*
 * One step over the next batch: samples replay, scores, learns, counts, offers
 * what was new to replay. ERR_DIVERGED: a weight is not finite, go back to a
 * version: the batch counts as quarantined, so that a skip passes over it. A
 * replay row that is damaged is left out (replay_next_damaged).
 */
int learning_step(struct learning *l, struct learning_step_result *result,
                  struct err *err);

/*
 * How far behind the stream we are, 0 (idle) to 1 (the queue is full): with
 * replay.adaptive the ratio goes from 4 over the configured one, at half full,
 * to a quarter; with when_behind: sample fewer records are learned from half
 * full on, at least one in twenty.
 */
void learning_set_pressure(struct learning *l, double fill);

/* Is there a whole batch to learn from, or a step due without? */
bool learning_ready(const struct learning *l);

struct snapshot *learning_snapshot(struct learning *l);

#endif
