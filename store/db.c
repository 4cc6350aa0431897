/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements and transactions of one connection. db_open.c opens it.
 */
#include "config.h"

#include "store/db.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "base/sqlite_err.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "store/db_private.h"

#define LOG_PAGES 1000 /* a longer log is copied into the database */

/* --- a writer that has failed ------------------------------------------- */

void db_fail(struct db *db, const struct err *err)
{
    if (db->failed.code == ERR_OK)
        db->failed = *err;
}

static int failed(const struct db *db, struct err *err)
{
    if (db->failed.code == ERR_OK)
        return 0;
    return err_set(err, db->failed.code, "%s", db->failed.msg);
}

/* Is it unknown, after the last error, what the disk holds? A full disk is
 * found before anything is written, unless a sync reports it. */
static bool is_in_doubt(struct db *db, enum err_code code)
{
    switch (sqlite3_extended_errcode(db->handle)) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
    case SQLITE_IOERR_TRUNCATE:
        return true;
    default:
        break;
    }
    switch (sqlite3_errcode(db->handle) & 0xff) {
    case SQLITE_IOERR:
        return code != ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return true;
    default:
        return false;
    }
}

int db_last_error(struct db *db, const char *doing, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = sqlite_err(db->handle, db->path, doing, &why);

    if (db->writer && is_in_doubt(db, why.code)) {
        if (rc == ERR_FULL)
            why.code = ERR_IO;
        db_fail(db, &why);
    }
    if (err)
        *err = why;
    return why.code;
}

int db_file_look(const char *path, struct db_file *f, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot look at it", path);
    *f = (struct db_file){st.st_dev, st.st_ino};
    return 0;
}

static bool is_file(const char *path, const struct db_file *f)
{
    struct db_file now = {0};

    return db_file_look(path, &now, NULL) == 0 && now.dev == f->dev &&
           now.ino == f->ino;
}

/* `cp` and `>` write into the file that is there. A database in use has at
 * least one page. */
static bool is_empty(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_size == 0;
}

int db_check_writer(struct db *db, struct err *err)
{
    char *log = xasprintf("%s-wal", db->path);
    struct err why = ERR_INIT;

    if (db->failed.code == ERR_OK &&
        (!is_file(db->path, &db->database) || !is_file(log, &db->log) ||
         is_empty(db->path))) {
        err_set(&why, ERR_IO,
                "%s: it or its -wal was removed, replaced or emptied while it "
                "was in use; nothing more is written: put the data directory "
                "back, or restore a backup (mneme restore), then start again",
                db->path);
        db_fail(db, &why);
    }
    free(log);
    return failed(db, err);
}

/* --- statements --------------------------------------------------------- */

sqlite3 *db_handle(struct db *db)
{
    return db->handle;
}

int db_exec(struct db *db, const char *sql, struct err *err)
{
    if (failed(db, err))
        return db->failed.code;
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return db_last_error(db, "running a statement", err);
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt,
               struct err *err)
{
    struct cached *c;

    if (failed(db, err))
        return db->failed.code;
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
    int rc = db->writer ? db_check_writer(db, err) : 0;

    return rc ? rc : db_exec(db, "BEGIN IMMEDIATE", err);
}

int db_begin_read(struct db *db, struct err *err)
{
    return db_exec(db, "BEGIN", err);
}

/* After a failed COMMIT, may the transaction be on the disk? Not when SQLite
 * refused it before it wrote the last frame. */
static bool commit_is_in_doubt(struct db *db)
{
    switch (sqlite3_errcode(db->handle) & 0xff) {
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CONSTRAINT:
        return false;
    default:
        return true;
    }
}

static int commit(struct db *db, struct err *err)
{
    struct err why = ERR_INIT;
    bool in_doubt;

    if (failed(db, err))
        return db->failed.code;
    if (sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    in_doubt = db->writer && commit_is_in_doubt(db);
    db_last_error(db, "committing", &why);
    if (in_doubt) {
        if (why.code == ERR_FULL)
            why.code = ERR_IO;
        db_fail(db, &why);
    }
    if (err)
        *err = why;
    return why.code;
}

int db_end(struct db *db, int rc, struct err *err)
{
    struct err why = ERR_INIT;

    if (rc == 0) {
        rc = commit(db, err);
    } else if (db->writer && (rc == ERR_IO || rc == ERR_CORRUPT)) {
        err_set(&why, (enum err_code)rc, "%s: a transaction failed", db->path);
        db_fail(db, err && err->code == why.code ? err : &why);
    }
    /* A full disk has ended the transaction already. */
    if (rc && !sqlite3_get_autocommit(db->handle) &&
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        db_last_error(db, "rolling back", NULL);
    return rc;
}

/* Copies a long log into the database, by the same rule as SQLite itself. But
 * SQLite does not report a failed sync there; this does. */
static int on_commit(void *arg, sqlite3 *handle, const char *name, int n_pages)
{
    if (n_pages >= LOG_PAGES &&
        sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                  NULL) != SQLITE_OK)
        db_last_error(arg, "emptying the log", NULL);
    return SQLITE_OK;
}

void db_watch_log(struct db *db)
{
    sqlite3_wal_hook(db->handle, on_commit, db);
}

int db_checkpoint(struct db *db, struct err *err)
{
    if (failed(db, err))
        return db->failed.code;
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
    if (db->failed.code != ERR_OK)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                          NULL);
    else if (db->writer && db->handle)
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
