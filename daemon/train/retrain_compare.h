/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrain_compare.h - a version that was learned again against the one that is
 * kept, bit for bit.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_TRAIN_RETRAIN_COMPARE_H
#define MNEME_DAEMON_TRAIN_RETRAIN_COMPARE_H

#include <jansson.h>

#include "base/err.h"
#include "daemon/train/learning.h"
#include "store/catalog.h"

/* Appends {"what", ...} to differences for each tensor and counter of `was`
 * that is another in l, whose snapshot is taken for it, anchor included. An
 * error: `was` could not be read. */
int retrain_compare(struct learning *l, const struct catalog_version *was,
                    json_t *differences, struct err *err);

#endif
