/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retention.h - chooses the versions to keep, and deletes the row of a version.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_RETENTION_H
#define MNEME_STORE_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

struct retention_version {
    int64_t version, created_ms;
    bool protect; /* head, serving, pinned, pending */
    bool undone;  /* rolled back, failed, damaged: only `newest` keeps it */
    bool kept;    /* output */
};

/*
 * Sets `kept` of each of versions[n], which are ordered from the newest. Keeps
 * the protected versions, keep->also, the `newest` largest numbers, and the
 * newest version that is not undone in each of the last `hourly` hours and
 * `daily` days (UTC, up to now_ms).
 *   returns  the number of versions that are not kept
 */
size_t retention_choose(const struct store_keep *keep, int64_t now_ms,
                        struct retention_version *versions, size_t n);

struct db;

/* Deletes the row of a version and the rows that refer to it, within the open
 * transaction. Versions whose base it is take over its base and its ledger. */
int retention_remove_row(struct db *db, int64_t version, struct err *err);

#endif
