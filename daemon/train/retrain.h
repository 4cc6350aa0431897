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
 * it. Kafka is read as a consumer group of its own, another each time, which
 * the broker forgets by itself; nothing is sent to a dead-letter topic.
 *
 * Threads: main; it starts a source's thread and a learner's workers
 */
#ifndef MNEME_DAEMON_TRAIN_RETRAIN_H
#define MNEME_DAEMON_TRAIN_RETRAIN_H

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "conf/conf.h"

/*
 * What has to be overridden in a configuration to learn a version of its data
 * directory again: texts "key=value" for conf_load.
 *   *version  0: the newest, whose number it becomes
 * ERR_NOTFOUND: no such version. ERR_STATE: it does not say with which settings
 * it was learned, or it was learned with replay.adaptive, which nothing can
 * repeat, or from an embedded broker that does not run.
 */
int retrain_settings(const struct conf *conf, int64_t *version,
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
