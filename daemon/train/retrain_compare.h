/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrain_compare.h - compares a version that was learned again with the stored
 * version, bit for bit.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_TRAIN_RETRAIN_COMPARE_H
#define MNEME_DAEMON_TRAIN_RETRAIN_COMPARE_H

#include <jansson.h>

#include "base/err.h"
#include "daemon/train/learning.h"
#include "store/catalog.h"

/* Appends {"what", ...} to differences for each tensor and counter that is not
 * the same in l as in the stored version `was`. Returns an error when `was`
 * cannot be read. */
int retrain_compare(struct learning *l, const struct catalog_version *was,
                    json_t *differences, struct err *err);

#endif
