/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog_private.h - the connection of a catalog, and reading a statement's
 * rows into an array. For catalog.c, catalog_lists.c, releases.c, tombstones.c
 * and store_load.c.
 *
 *     static const struct catalog_row_type type = {sizeof(struct x), read_x,
 *                                                  release_x};
 *     struct x *items;
 *     size_t n;
 *
 *     rc = catalog_rows_list(c, &type, &items, &n, err, "SELECT ...", "i", id);
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

/* Locks, and begins a read transaction: several statements see one state of
 * the store. After an error, the catalog is not locked. */
int catalog_enter(struct catalog *c, struct err *err);
/* Ends the transaction and unlocks. Returns rc, or the error of the end. */
int catalog_leave(struct catalog *c, int rc, struct err *err);

struct catalog_row_type {
    size_t size;
    /* Fills a zeroed element from the current row of the statement. */
    int (*read)(sqlite3_stmt *q, void *row, struct err *err);
    void (*release)(void *row); /* NULL: an element owns nothing */
};

struct catalog_rows {
    void *items; /* NULL when n is 0 */
    size_t n;
};

/* Reads all rows of a statement. `types` and the arguments after it are as for
 * db_bind. After an error, *rows is empty. Locks: needs the catalog's lock. */
int catalog_rows_read(struct catalog *c, const struct catalog_row_type *type,
                      struct catalog_rows *rows, struct err *err,
                      const char *sql, const char *types, ...);

/* As catalog_rows_read, with the lock taken inside.
 *   items  the address of a pointer to the element type */
int catalog_rows_list(struct catalog *c, const struct catalog_row_type *type,
                      void *items, size_t *n, struct err *err, const char *sql,
                      const char *types, ...);
void catalog_rows_free(const struct catalog_row_type *type, void *items,
                       size_t n);

/* Makes a struct catalog_offset of the columns partition_id, topic, partition,
 * next_offset, tokens_done, last_learned, last_hash. */
extern const struct catalog_row_type catalog_offset_rows;

/* Locks: needs the catalog's lock. */
int catalog_read_pointers(struct catalog *c, struct catalog_pointers *p,
                          struct err *err);

/* Sets the error "there is no version N" and returns ERR_NOTFOUND. */
int catalog_no_version(int64_t version, struct err *err);

/* The value for LIMIT; 0 means all rows. */
static inline int64_t catalog_limit(size_t limit)
{
    return limit && limit < INT64_MAX ? (int64_t)limit : (int64_t)-1;
}

#endif
