/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retention.h - which versions stay: a pure function; and a row that goes.
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
    bool kept;    /* out */
};

/*
 * Marks what is kept of versions[n], newest first: what is protected,
 * keep->also, the `newest` largest numbers, and of each of the last `hourly`
 * hours and `daily` days (UTC, up to now_ms) the newest that is not undone.
 *   returns  how many are not kept
 */
size_t retention_choose(const struct store_keep *keep, int64_t now_ms,
                        struct retention_version *versions, size_t n);

struct db;

/* In a transaction: the row of a version goes, with what hangs on it; those
 * that have it as base take over its base and its share of the ledger. */
int retention_remove_row(struct db *db, int64_t version, struct err *err);

#endif
