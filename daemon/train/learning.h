/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learning.h - the live version in memory, and one step of learning.
 *
 * Use: learning_open, then a learning_prepare function, which creates the model
 * with its initial weights. learning_load then replaces the state by that of a
 * stored version.
 *
 * Owner:   the trainer
 * Threads: trainer; main, before the trainer starts
 */
#ifndef MNEME_DAEMON_TRAIN_LEARNING_H
#define MNEME_DAEMON_TRAIN_LEARNING_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "daemon/intake/intake.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/snapshot.h"
#include "learner/infer/infer.h"
#include "learner/learner.h"
#include "replay/replay.h"
#include "store/catalog.h"

struct learning {
    const struct conf *conf;
    struct catalog *catalog; /* no other thread uses it */
    int threads, shards;
    bool has_model; /* false: preset linear */
    struct model_shape shape;
    struct tokenizer *tokenizer; /* NULL: not prepared, or preset linear */
    struct learner *learner;     /* NULL: not prepared */
    struct replay *replay, *holdout;
    struct progress progress;
    struct filter *filter;
    struct intake *intake;
    struct refusals refusals;
    double replay_ratio; /* replayed tokens for each new token, at present */
    int64_t anchor_generation; /* of the head version's anchor file. 0: the
                                  next version writes the file anew */
    struct segment_limits limits; /* stored rows beyond them are damaged */
    int32_t *drifted; /* [n_drifted] the domains in which the last step raised a
                         drift alarm */
    size_t n_drifted, cap_drifted;
    bool mixed_settings; /* settings changed between two versions: the next one
                            cannot name the settings of all its steps */
    /* Working memory of a step: */
    struct segment *replayed;
    size_t cap_replayed;
    double *nats, *text_nats;
    size_t cap_nats;
    uint8_t *right;
    double *mixed_nats, *average_nats;
    float *logits;
    size_t cap_right;
};

/* Opens the catalog of conf->data_dir. Without a data_dir (NULL), nothing is
 * stored: the replay rows stay in memory, and no function that takes a version
 * may be called. */
int learning_open(struct learning *l, const struct conf *conf, int threads,
                  int shards, struct err *err);
void learning_close(struct learning *l);

/* Creates the learner with initial weights, replay, holdout and intake. Takes
 * the tokenizer over; NULL: preset linear. */
int learning_prepare(struct learning *l, struct tokenizer *tokenizer,
                     struct err *err);

/* The same, with a given shape instead of the configured one. */
int learning_prepare_shape(struct learning *l, struct tokenizer *tokenizer,
                           const struct model_shape *shape, struct err *err);

/* The same, with vocabulary and shape of a stored version. Its weights are not
 * loaded. ERR_CORRUPT, ERR_NOTFOUND. */
int learning_prepare_version(struct learning *l, int64_t version,
                             struct err *err);

/*
 * Loads a stored version: its whole state and its positions.
 *   branch  0 after a restart; else the number of a new branch of row keys
 * After an error the state is a mixture of both versions: load another one.
 */
int learning_load(struct learning *l, int64_t version, int64_t branch,
                  struct err *err);

/* Gives intake the skipped ranges and the tombstones, read from the store. */
int learning_load_skipped(struct learning *l, struct err *err);

/*
 * One step over the next batch: samples replay, scores, learns, counts, and
 * offers the new segments to replay. Damaged replay rows are left out
 * (replay_next_damaged).
 *   out  its arrays are valid until the next step
 * ERR_DIVERGED: a weight is not finite, and the caller must roll back. The
 * batch then counts as quarantined, so that a rollback with skip leaves it out.
 */
int learning_step(struct learning *l, struct learner_step_output *out,
                  struct err *err);

/*
 * Adapts to the backlog: fill is 0 for an empty queue, 1 for a full one. With
 * replay.adaptive the replay ratio is 4 at fill 0, the configured ratio at 0.5,
 * and 0.25 at 1. With when_behind: sample, fewer records are learned from 0.5
 * on, and one in twenty at 1.
 */
void learning_set_pressure(struct learning *l, double fill);

/* The part of the past that replay carries, 0 to 1 (ewc_covered). */
double learning_covered(const struct learning *l);

/* NULL with preset linear. */
const struct model_shape *learning_shape(const struct learning *l);

/* True when a step is due: a full batch waits, or intake_is_long. */
bool learning_ready(const struct learning *l);

struct snapshot *learning_snapshot(struct learning *l);

/* Creates the model that would answer if the live version were published and
 * served now; with `live`, a model of the live weights instead of their moving
 * average. The caller frees *infer before the learning. */
int learning_infer(const struct learning *l, bool live, struct infer **infer,
                   struct err *err);

#endif
