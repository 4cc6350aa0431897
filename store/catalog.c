/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection, the loop that makes lists, and what is asked of the store as
 * a whole: its pointers, its integrity, its ledger. Versions are in
 * catalog_version.c, other lists in catalog_lists.c.
 *
 * What takes several statements runs in one read transaction, so that a
 * version, its offsets and the pointers are of the same moment.
 */
#include "config.h"

#include "store/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/catalog_private.h"

/* --- opening ------------------------------------------------------------ */

int catalog_open(const char *dir, struct catalog **catalog, struct err *err)
{
    char *path = fileio_join(dir, "mneme.db");
    struct db *db = NULL;
    int rc = db_open_reader(path, &db, err);

    free(path);
    if (rc)
        return rc;
    *catalog = xcalloc(1, sizeof **catalog);
    (*catalog)->db = db;
    (*catalog)->dir = xstrdup(dir);
    pthread_mutex_init(&(*catalog)->mutex, NULL);
    return 0;
}

void catalog_close(struct catalog *c)
{
    if (!c)
        return;
    db_close(c->db);
    pthread_mutex_destroy(&c->mutex);
    free(c->dir);
    free(c);
}

const char *catalog_dir(const struct catalog *c)
{
    return c->dir;
}

struct sqlite3 *catalog_lock(struct catalog *c)
{
    pthread_mutex_lock(&c->mutex);
    return db_handle(c->db);
}

void catalog_unlock(struct catalog *c)
{
    pthread_mutex_unlock(&c->mutex);
}

int catalog_enter(struct catalog *c, struct err *err)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = db_begin_read(c->db, err);
    if (rc)
        pthread_mutex_unlock(&c->mutex);
    return rc;
}

int catalog_leave(struct catalog *c, int rc, struct err *err)
{
    rc = db_end(c->db, rc, err);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

int catalog_no_version(int64_t version, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "there is no version %lld",
                   (long long)version);
}

/* --- lists -------------------------------------------------------------- */

void catalog_rows_free(const struct catalog_row_type *type, void *items,
                       size_t n)
{
    for (size_t i = 0; i < n && type->release; i++)
        type->release((char *)items + i * type->size);
    free(items);
}

/* An element counts before it is read, so that a failure releases it too. */
static void *add_row(const struct catalog_row_type *type,
                     struct catalog_rows *rows, size_t *cap)
{
    void *row;

    if (rows->n == *cap) {
        *cap = *cap ? 2 * *cap : 16;
        rows->items = xreallocarray(rows->items, *cap, type->size);
    }
    row = (char *)rows->items + rows->n++ * type->size;
    return memset(row, 0, type->size);
}

int catalog_rows_read(struct catalog *c, const struct catalog_row_type *type,
                      struct catalog_rows *rows, struct err *err,
                      const char *sql, const char *types, ...)
{
    sqlite3_stmt *q;
    va_list args;
    size_t cap = 0;
    int rc;

    *rows = (struct catalog_rows){NULL, 0};
    rc = db_prepare(c->db, sql, &q, err);
    if (rc)
        return rc;
    va_start(args, types);
    db_bind_list(q, types, args);
    va_end(args);
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        rc = type->read(q, add_row(type, rows, &cap), err);
        if (rc)
            break;
    }
    db_done(q);
    if (rc == 0)
        return 0;
    catalog_rows_free(type, rows->items, rows->n);
    *rows = (struct catalog_rows){NULL, 0};
    return rc;
}

/* --- the pointers ------------------------------------------------------- */

int catalog_read_pointers(struct catalog *c, struct catalog_pointers *p,
                          struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(c->db,
                        "SELECT head, serving, newest, serving_pinned"
                        " FROM pointers",
                        &q, err);

    if (rc)
        return rc;
    rc = db_step(c->db, q, err);
    if (rc == DB_ROW) {
        struct db_cells row = {q, err, 0};

        p->newest = db_cell(&row, 2, 0, DB_MOST);
        p->head = db_cell(&row, 0, 0, p->newest);
        p->serving = db_cell(&row, 1, 0, p->newest);
        p->serving_pinned = db_cell(&row, 3, 0, 1) != 0;
        rc = row.rc;
    } else if (rc == 0) {
        rc = err_set(err, ERR_CORRUPT, "the row of pointers is missing");
    }
    db_done(q);
    return rc;
}

int catalog_pointers(struct catalog *c, struct catalog_pointers *p,
                     struct err *err)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = catalog_read_pointers(c, p, err);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

/* --- checks ------------------------------------------------------------- */

int catalog_check(struct catalog *c, struct err *err)
{
    int rc = catalog_enter(c, err);

    if (rc)
        return rc;
    return catalog_leave(c, db_check(c->db, err), err);
}

int catalog_setting(struct catalog *c, const char *key, char **value,
                    struct err *err)
{
    int rc;

    catalog_lock(c);
    rc = db_setting(c->db, key, value, err);
    catalog_unlock(c);
    return rc;
}

/* --- the ledger --------------------------------------------------------- */

static void add_total(struct catalog_totals *t, const char *kind, int64_t count)
{
    switch (kind ? kind[0] : '\0') {
    case 'l':
        t->learned += count;
        break;
    case 'h':
        t->holdout += count;
        break;
    case 'q':
        t->quarantined += count;
        break;
    case 's':
        t->skipped += count;
        break;
    default: /* events without records */
        break;
    }
}

int catalog_totals(struct catalog *c, int64_t version, struct catalog_totals *t,
                   struct err *err)
{
    struct catalog_totals totals = {0};
    sqlite3_stmt *q;
    int64_t there = 0;
    int rc = catalog_enter(c, err);

    if (rc)
        return rc;
    rc = db_number(c->db, err, &there,
                   "SELECT count(*) FROM versions WHERE version = ?1", "i",
                   version);
    if (rc == 0 && there == 0)
        rc = catalog_no_version(version, err);
    if (rc == 0)
        rc = db_prepare(c->db,
                        "WITH RECURSIVE branch (version) AS (SELECT ?1 UNION"
                        " SELECT base FROM versions JOIN branch USING (version)"
                        " WHERE base > 0)"
                        " SELECT kind, sum(count) FROM"
                        " (SELECT version, kind, count FROM ledger UNION ALL"
                        "  SELECT version, kind, count FROM ledger_merged)"
                        " JOIN branch USING (version) GROUP BY kind",
                        &q, err);
    if (rc == 0) {
        db_bind(q, "i", version);
        while ((rc = db_step(c->db, q, err)) == DB_ROW)
            add_total(&totals, (const char *)sqlite3_column_text(q, 0),
                      sqlite3_column_int64(q, 1));
        db_done(q);
    }
    rc = catalog_leave(c, rc, err);
    if (rc == 0)
        *t = totals;
    return rc;
}
