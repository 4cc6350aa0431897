/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog_private.h - what the catalog's files share: the connection, and the
 * one loop that makes a list of a statement's rows.
 *
 *     static const struct catalog_row_type type = {sizeof(struct x), read_x,
 *                                                  release_x};
 *     catalog_lock(c);
 *     rc = catalog_rows_read(c, &type, &rows, err, "SELECT ...", "i", n);
 *     catalog_unlock(c);
 *
 * Threads: any
 */
#ifndef MNEME_STORE_CATALOG_PRIVATE_H
#define MNEME_STORE_CATALOG_PRIVATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/catalog.h"
#include "store/db.h"

struct catalog {
    pthread_mutex_t mutex; /* one statement, or transaction, at a time */
    struct db *db;
    char *dir;
};

/* Locks, and begins a read transaction: one state of the store for several
 * statements. On an error nothing is locked. */
int catalog_enter(struct catalog *c, struct err *err);
/* Ends it and unlocks; rc, or what went wrong with the end. */
int catalog_leave(struct catalog *c, int rc, struct err *err);

/* What the elements of a list are. */
struct catalog_row_type {
    size_t size;
    /* Fills an element, which is zeroed, from the statement's present row. */
    int (*read)(sqlite3_stmt *q, void *row, struct err *err);
    void (*release)(void *row); /* NULL: it owns nothing */
};

struct catalog_rows {
    void *items; /* NULL: none */
    size_t n;
};

/* All rows of a statement; types and what follows are as for db_bind. None,
 * without anything to free, after an error. Locks: needs the catalog's */
int catalog_rows_read(struct catalog *c, const struct catalog_row_type *type,
                      struct catalog_rows *rows, struct err *err,
                      const char *sql, const char *types, ...);
void catalog_rows_free(const struct catalog_row_type *type, void *items,
                       size_t n);

/* partition_id, topic, partition, next_offset, tokens_done, last_learned,
 * last_hash: a struct catalog_offset. */
extern const struct catalog_row_type catalog_offset_rows;

/* Locks: needs the catalog's */
int catalog_read_pointers(struct catalog *c, struct catalog_pointers *p,
                          struct err *err);

/* ERR_NOTFOUND, in words. */
int catalog_no_version(int64_t version, struct err *err);

/* For LIMIT: 0 is all. */
static inline int64_t catalog_limit(size_t limit)
{
    return limit && limit < INT64_MAX ? (int64_t)limit : (int64_t)-1;
}

#endif
