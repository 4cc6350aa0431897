/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore.h - from the data directory to the state in memory, at start.
 *
 * The head version is loaded; one whose files are damaged is marked so, and
 * the newest whole one before it becomes the head, by a rollback that reads
 * again what came after it. Likewise for the version that serves.
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

/* As many as the processors that a data directory can have been made on. */
#define RESTORE_MAX_SHARDS 1024

/* The stored setting learner.shards. ERR_CORRUPT: not 1 to
 * RESTORE_MAX_SHARDS. */
int restore_parse_shards(const char *stored, int *shards, struct err *err);

/*
 * What was decided when the directory was made and cannot change: preset and
 * shape, tokenizer, seed, shards. A new directory remembers them; an old one is
 * compared: ERR_STATE names the key, what it was, and what to do.
 *   *shards  the directory's
 */
int restore_settings(struct store *store, const struct conf *conf,
                     int threads, int *shards, struct err *err);

/*
 * Prepares and loads the state. With no version yet, and a vocabulary that
 * needs no text from the stream (or model.init), the state is the model at
 * birth; else learning is left unprepared for the trainer to collect text.
 */
int restore_state(struct store *store, const struct conf *conf,
                  struct learning *learning, struct err *err);

/* Loads the version that serves into serving, if there is one. */
int restore_serving(struct store *store, struct catalog *catalog,
                    struct serving *serving, struct err *err);

#endif
