/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_private.h - what store.c, store_publish.c, store_change.c and
 * retention.c share.
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
    int versions_fd;         /* the directory as it was opened; -1: not */
    bool unswept;            /* a directory of a failed commit is there */
    bool has_swept;          /* there may be directories moved aside */
    struct buf swept, strangers; /* their names */
    int lost;                /* transactions of a damaged log */
    enum fileio_privacy privacy;
};

/* Moves directories without a row aside. */
int store_sweep(struct store *s, struct err *err);

/* Removes those that were moved aside. */
int store_remove_swept(struct store *s, struct err *err);

/* Forgets what a rollback left for the next version's ledger. */
int store_drop_pending_ledger(struct store *s, struct err *err);

#endif
