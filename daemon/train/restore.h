/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore.h - loads the state from the data directory at start.
 *
 * Learning loads the head version. When its files are damaged, the version is
 * marked, and the newest whole version before it becomes the head by a rollback
 * that reads the later records again. A damaged serving version is replaced by
 * the newest whole version that has passed.
 *
 * A request of the guard that the last process left open is the publisher's
 * task (publisher_start).
 *
 * Threads: main, before any other thread uses the store
 */
#ifndef MNEME_DAEMON_TRAIN_RESTORE_H
#define MNEME_DAEMON_TRAIN_RESTORE_H

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/train/learning.h"
#include "daemon/publish/serving.h"
#include "store/store.h"

/* No data directory can have been made on a machine with more processors. */
#define RESTORE_MAX_SHARDS 1024

/* The stored setting learner.shards. ERR_CORRUPT: it is not a number from 1 to
 * RESTORE_MAX_SHARDS. */
int restore_parse_shards(const char *stored, int *shards, struct err *err);

/*
 * Settings that cannot change after the directory was made: preset and shape,
 * tokenizer, seed, shards. A new directory stores them. Another directory is
 * compared: ERR_STATE names the key, both values, and the remedy. A tokenizer
 * or vocab_size that `conf` does not set becomes the directory's. model.context
 * is compared only with preset custom.
 *   threads  the number of shards of a new directory without learner.shards
 *   *shards  the directory's number of shards
 */
int restore_settings(struct store *store, struct conf *conf, int threads,
                     int *shards, struct err *err);

/*
 * Prepares learning and loads its state. In a directory without a version the
 * state is an untrained model or that of model.init. When the
 * vocabulary has to be learned from the stream, learning stays unprepared, and
 * the trainer collects text first.
 * ERR_CORRUPT: no version is whole.
 */
int restore_state(struct store *store, const struct conf *conf,
                  struct learning *learning, struct err *err);

/* Prepares learning with the state of a directory without a version, as
 * restore_state does. With model.init, messages begin with its path. */
int restore_new(const struct conf *conf, struct learning *learning,
                struct err *err);

/*
 * Finds the shape that restore_state will give the model, before memory is
 * taken for it: that of the head version, of model.init, or of the
 * configuration. Not for preset linear.
 */
int restore_shape(struct catalog *catalog, const struct conf *conf,
                  struct model_shape *shape, struct err *err);

/* Loads the serving version into serving, if there is one. */
int restore_serving(struct store *store, struct catalog *catalog,
                    struct serving *serving, struct err *err);

#endif
