/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements and transactions of one connection. db_open.c opens it.
 */
#include "config.h"

#include "store/db.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/sqlite_err.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "store/db_private.h"

int db_last_error(struct db *db, const char *doing, struct err *err)
{
    return sqlite_err(db->handle, db->path, doing, err);
}

/* --- statements --------------------------------------------------------- */

sqlite3 *db_handle(struct db *db)
{
    return db->handle;
}

int db_exec(struct db *db, const char *sql, struct err *err)
{
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return db_last_error(db, "running a statement", err);
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt,
               struct err *err)
{
    struct cached *c;

    for (size_t i = 0; i < db->n; i++) {
        c = &db->cache[i];
        if (c->sql != sql)
            continue;
        if (sqlite3_stmt_busy(c->stmt))
            BUG("in use already: %s", sql);
        *stmt = c->stmt;
        return 0;
    }
    if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt,
                           NULL) != SQLITE_OK)
        return db_last_error(db, "preparing a statement", err);
    XGROW(db->cache, db->n, db->cap);
    db->cache[db->n++] = (struct cached){sql, *stmt};
    return 0;
}

void db_bind_list(sqlite3_stmt *stmt, const char *types, va_list args)
{
    const void *p;

    for (int i = 1; types[i - 1]; i++) {
        switch (types[i - 1]) {
        case 'i':
            sqlite3_bind_int64(stmt, i, va_arg(args, int64_t));
            break;
        case 'd':
            sqlite3_bind_double(stmt, i, va_arg(args, double));
            break;
        case 't':
            sqlite3_bind_text(stmt, i, va_arg(args, const char *), -1,
                              SQLITE_STATIC);
            break;
        case 'b':
            p = va_arg(args, const void *);
            sqlite3_bind_blob64(stmt, i, p, va_arg(args, size_t),
                                SQLITE_STATIC);
            break;
        default:
            BUG("no such type: %s", types);
        }
    }
}

void db_bind(sqlite3_stmt *stmt, const char *types, ...)
{
    va_list args;

    va_start(args, types);
    db_bind_list(stmt, types, args);
    va_end(args);
}

int db_step(struct db *db, sqlite3_stmt *stmt, struct err *err)
{
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return DB_ROW;
    case SQLITE_DONE:
        return 0;
    default:
        return db_last_error(db, "running a statement", err);
    }
}

void db_done(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

int db_run(struct db *db, struct err *err, const char *sql, const char *types,
           ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    int rc = db_prepare(db, sql, &stmt, err);

    if (rc)
        return rc;
    va_start(args, types);
    db_bind_list(stmt, types, args);
    va_end(args);
    rc = db_step(db, stmt, err);
    BUG_ON(rc == DB_ROW);
    db_done(stmt);
    return rc;
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes64(db->handle);
}

int db_number(struct db *db, struct err *err, int64_t *number, const char *sql,
              const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    int rc = db_prepare(db, sql, &stmt, err);

    if (rc)
        return rc;
    va_start(args, types);
    db_bind_list(stmt, types, args);
    va_end(args);
    rc = db_step(db, stmt, err);
    if (rc == DB_ROW) {
        *number = sqlite3_column_int64(stmt, 0);
        rc = 0;
    } else if (rc == 0) {
        rc = ERR_NOTFOUND;
    }
    db_done(stmt);
    return rc;
}

char *db_text(sqlite3_stmt *stmt, int column)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    return text ? xstrdup((const char *)text) : NULL;
}

/* --- columns, checked --------------------------------------------------- */

static void refuse(struct db_cells *row, int column, const char *what)
{
    const char *name = sqlite3_column_name(row->q, column);

    if (row->rc == 0)
        row->rc = err_set(row->err, ERR_CORRUPT, "mneme.db: %s is %s",
                          name ? name : "a column", what);
}

int64_t db_cell(struct db_cells *row, int column, int64_t low, int64_t high)
{
    int64_t value = sqlite3_column_int64(row->q, column);

    if (sqlite3_column_type(row->q, column) != SQLITE_INTEGER) {
        refuse(row, column, "not a whole number");
        return low;
    }
    if (value < low || value > high) {
        refuse(row, column, "out of range");
        return low;
    }
    return value;
}

int64_t db_cell_or(struct db_cells *row, int column, int64_t low, int64_t high,
                   int64_t null)
{
    if (sqlite3_column_type(row->q, column) == SQLITE_NULL)
        return null;
    return db_cell(row, column, low, high);
}

char *db_cell_text(struct db_cells *row, int column)
{
    if (sqlite3_column_type(row->q, column) == SQLITE_NULL)
        refuse(row, column, "missing");
    else
        return db_cell_text_or_null(row, column);
    return xstrdup("");
}

char *db_cell_text_or_null(struct db_cells *row, int column)
{
    char *text = db_text(row->q, column);

    if (!text && sqlite3_column_type(row->q, column) != SQLITE_NULL) {
        row->rc = err_set(row->err, ERR_NOMEM, "no memory for a text");
        return xstrdup("");
    }
    if (!text || utf8_valid(text, strlen(text)))
        return text;
    refuse(row, column, "not UTF-8");
    free(text);
    return xstrdup("");
}

/* --- transactions ------------------------------------------------------- */

int db_begin(struct db *db, struct err *err)
{
    return db_exec(db, "BEGIN IMMEDIATE", err);
}

int db_begin_read(struct db *db, struct err *err)
{
    return db_exec(db, "BEGIN", err);
}

int db_end(struct db *db, int rc, struct err *err)
{
    if (rc == 0)
        rc = db_exec(db, "COMMIT", err);
    /* A full disk has ended the transaction already. */
    if (rc && !sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int db_checkpoint(struct db *db, struct err *err)
{
    if (sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                  NULL, NULL) == SQLITE_OK)
        return 0;
    return db_last_error(db, "emptying the log", err);
}

/* --- the rest ----------------------------------------------------------- */

void db_close(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->n; i++)
        sqlite3_finalize(db->cache[i].stmt);
    /* Not done is not lost: the next start reads the log. */
    if (db->writer && db->handle)
        sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                  NULL, NULL);
    if (sqlite3_close(db->handle) != SQLITE_OK)
        BUG("%s: closed with a statement in use", db->path);
    free(db->cache);
    free(db->path);
    free(db);
}

int db_setting(struct db *d, const char *key, char **value, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(d, "SELECT value FROM settings WHERE key = ?1", &q,
                        err);

    *value = NULL;
    if (rc)
        return rc;
    db_bind(q, "t", key);
    rc = db_step(d, q, err);
    if (rc == DB_ROW) {
        *value = db_text(q, 0);
        rc = 0;
    }
    db_done(q);
    return rc;
}

int db_setting_put(struct db *d, const char *key, const char *value,
                   struct err *err)
{
    return db_run(d, err, "REPLACE INTO settings VALUES (?1, ?2)", "tt", key,
                  value);
}
