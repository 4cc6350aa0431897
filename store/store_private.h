/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_private.h - the fields of a store, for store.c, store_publish.c,
 * store_change.c, retention.c, releases.c and tombstones.c.
 *
 * Threads: publisher
 */
#ifndef MNEME_STORE_STORE_PRIVATE_H
#define MNEME_STORE_STORE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "store/db.h"
#include "store/store.h"

struct store {
    char *dir;
    struct db *db;
    int lock_fd; /* -1: none */
    char id[33];
    int versions_fd;             /* the open directory versions/; -1: none */
    bool unswept;                /* a failed commit has left a directory */
    bool has_swept;              /* versions/ may have .swept- directories */
    struct buf swept, strangers; /* names, for store_swept, store_strangers */
    int lost; /* transactions that the damaged log has lost */
    enum fileio_privacy privacy;
};

/* Moves version directories without a row aside. */
int store_sweep(struct store *s, struct err *err);

/* Removes the directories that were moved aside. */
int store_remove_swept(struct store *s, struct err *err);

/* Deletes the runs that a rollback stored for the next version's ledger. */
int store_drop_pending_ledger(struct store *s, struct err *err);

#endif
