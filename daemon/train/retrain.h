/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrain.h - learns a version again and compares it with the stored version.
 * Equality proves that the version follows from its parent and its records.
 *
 *     the parent's state, the settings that the version keeps, and the records
 *     of the version's ledger, read again in the same order and steps
 *         -> weights, optimizer, Fisher and anchor, index of replay and
 *            holdout, class head, counters: equal bit for bit, or a list of
 *            the differences
 *
 * The data directory is only read, even while a daemon uses it. Kafka is read
 * by a new consumer group each time, which the broker removes by itself.
 * Nothing is sent to a dead-letter topic.
 *
 * Threads: main; the source and the learner's workers have their own
 */
#ifndef MNEME_DAEMON_TRAIN_RETRAIN_H
#define MNEME_DAEMON_TRAIN_RETRAIN_H

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "conf/conf.h"

/*
 * Writes the settings that a version was learned with into conf, and makes its
 * source read-only. All other settings stay.
 *   *version  0: the head version, whose number it becomes
 * ERR_NOTFOUND: there is no such version. ERR_STATE: the version keeps no
 * settings, was learned with replay.adaptive (which nothing can repeat) or from
 * an embedded broker that does not run, or its settings contradict conf. After
 * an error conf is good for conf_free only.
 */
int retrain_settings(struct conf *conf, int64_t *version, struct err *err);

/*
 * Learns the version again. conf: as retrain_settings left it.
 *   *report  {"version", "parent", "records", "steps", "same",
 *             "weights_sha256", "differences": [{"what", ...}], "notes": [s]}
 * ERR_STATE: the parent is no longer kept, records of the version have been
 * forgotten, or records cannot be read again (a rotated file, expired offsets,
 * standard input).
 */
int retrain_run(const struct conf *conf, int64_t version, json_t **report,
                struct err *err);

#endif
