/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrain.h - learns a version again and compares it with the one that is
 * kept: the proof that a version is what its records made of its parent.
 *
 *     parent's state + the records that the version's ledger names, in its
 *     order and in its steps, read again from the source + the settings that
 *     the version keeps
 *         -> weights, optimizer, Fisher information and anchor, replay and
 *            holdout index, class head, counters: equal bit for bit, or what
 *            differs
 *
 * The data directory is only read, through a catalog, also while a daemon uses
 * it. Kafka is read as a consumer group of its own (RETRAIN_GROUP and the
 * store's id), so that the daemon's keeps its partitions.
 *
 * Threads: main; it starts a source's thread and a learner's workers
 */
#ifndef MNEME_DAEMON_RETRAIN_H
#define MNEME_DAEMON_RETRAIN_H

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "conf/conf.h"

#define RETRAIN_GROUP "mneme-retrain-"

/*
 * What has to be overridden in the configuration to learn the version again:
 * texts "key=value" for conf_load.
 * ERR_NOTFOUND: no such version. ERR_STATE: it was made by a mneme that did not
 * keep its settings, or with replay.adaptive, which nothing can repeat.
 */
int retrain_settings(const char *data_dir, int64_t version,
                     struct conf_strings *sets, struct err *err);

/*
 * Learns it again. conf: with the overrides of retrain_settings.
 *   *report  {"version", "parent", "records", "steps", "same",
 *             "weights_sha256", "differences": [{"what", ...}], "notes": [s]}
 * ERR_STATE: it has no parent that is kept, records that it learned from have
 * been forgotten, or they cannot be read again (a file that was rotated,
 * offsets that expired, stdin).
 */
int retrain_run(const struct conf *conf, int64_t version, json_t **report,
                struct err *err);

#endif
