/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db.h - one SQLite connection, its schema, and all that there is to running a
 * statement.
 *
 * The writer is the only connection that writes or checkpoints; a reader is
 * opened read-only, waits rather than fails, and never checkpoints.
 *
 *     sqlite3_stmt *q;
 *     rc = db_prepare(db, "SELECT a FROM t WHERE b = ?1", &q, err);
 *     if (rc == 0) {
 *         db_bind(q, "i", (int64_t)7);
 *         while ((rc = db_step(db, q, err)) == DB_ROW)
 *             ... sqlite3_column_int64(q, 0) ...
 *         db_done(q);
 *     }
 *
 * Statements are prepared once for a connection and found again by their
 * text's address: sql is always a literal. One text is in use once at a time.
 *
 * Every error names the file and SQLite's words: ERR_FULL when the disk is,
 * ERR_CORRUPT when the file is not what it should be, ERR_STATE when another
 * process holds it, else ERR_IO.
 *
 * A writer fails for good when nobody knows what the disk holds: after a failed
 * sync, an I/O error, a damaged page, or when its files were removed or
 * replaced. Every later call then returns that first error and does nothing.
 * ERR_FULL is different: nothing was written, and the caller may try again.
 *
 * Owner:   whoever opened it
 * Threads: one at a time for a connection
 */
#ifndef MNEME_STORE_DB_H
#define MNEME_STORE_DB_H

#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

/* The schema that this program knows: PRAGMA user_version. */
#define DB_SCHEMA 3

#define DB_ROW 1 /* db_step has a row */

struct db;

/*
 * That the database and SQLite's files beside it are files, where they are
 * there. A pipe would keep SQLite waiting for ever, and a link may lead to a
 * file of somebody else. Opening a database asks this first.
 *   returns   ERR_CORRUPT
 */
int db_check_files(const char *path, struct err *err);

/* Makes the file when there is none, and migrates it. ERR_STATE when it is
 * newer than this program. */
int db_open_writer(const char *path, struct db **db, struct err *err);

/* ERR_NOTFOUND when there is no store at path; ERR_STATE when it is newer. */
int db_open_reader(const char *path, struct db **db, struct err *err);

/*
 * Copies what `from` sees in its read transaction into a new file, synced, and
 * opens that for changes, without a log beside it.
 *   progress  called between pieces; may be NULL
 */
int db_copy(struct db *from, const char *path,
            void (*progress)(int64_t done_bytes, int64_t of_bytes, void *arg),
            void *arg, struct db **copy, struct err *err);

/* Reads a store of whatever schema: to see whether a copy is whole. */
int db_open_any(const char *path, struct db **db, struct err *err);

/* SQLite's own integrity check, and foreign keys; ERR_CORRUPT. */
int db_check(struct db *db, struct err *err);

/* A writer checkpoints and truncates the log, unless it has failed. NULL is
 * fine. */
void db_close(struct db *db);

/* Makes a writer fail: from now on every call on this connection returns err.
 */
void db_fail(struct db *db, const struct err *err);

/* Has a writer failed, or have its files been removed or replaced? 0: no. */
int db_check_writer(struct db *db, struct err *err);

sqlite3 *db_handle(struct db *db);

/* Any SQL text without parameters and rows: transactions, DDL. */
int db_exec(struct db *db, const char *sql, struct err *err);

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt,
               struct err *err);

/* One letter an argument, from ?1 on: i int64_t, d double (NaN becomes NULL), t
 * const char * (NULL too), b const void * and size_t (NULL too). What is
 * pointed to stays until the statement is done. */
void db_bind(sqlite3_stmt *stmt, const char *types, ...);
void db_bind_list(sqlite3_stmt *stmt, const char *types, va_list args);

/* DB_ROW, 0 at the end, or an error. */
int db_step(struct db *db, sqlite3_stmt *stmt, struct err *err);

/* Ready for the next use; NULL is fine. */
void db_done(sqlite3_stmt *stmt);

/* The whole way for a statement without rows. *changes of db_changes(). */
int db_run(struct db *db, struct err *err, const char *sql, const char *types,
           ...);
int64_t db_changes(struct db *db);

/* The whole way for one number: the first column of the first row.
 * ERR_NOTFOUND, without a message, when there is none. */
int db_number(struct db *db, struct err *err, int64_t *number, const char *sql,
              const char *types, ...);

/* A value of the table of settings, to be freed; NULL: absent. */
int db_setting(struct db *db, const char *key, char **value, struct err *err);
int db_setting_put(struct db *db, const char *key, const char *value,
                   struct err *err);

/* A transaction; db_end commits when rc is 0 and rolls back otherwise. It
 * returns rc, or what went wrong with the commit. */
int db_begin(struct db *db, struct err *err);
int db_end(struct db *db, int rc, struct err *err);

/* A reader's transaction: one state of the database for several statements. */
int db_begin_read(struct db *db, struct err *err);

/* Copies the log into the database and empties it. */
int db_checkpoint(struct db *db, struct err *err);

/* A text column, copied; NULL stays NULL. */
char *db_text(sqlite3_stmt *stmt, int column);

/*
 * Reads the columns of a row, and checks each value: a store may come from
 * anybody, with all checksums right.
 *
 *     struct db_cells row = {q, err, 0};
 *     x->offset = db_cell(&row, 0, 0, DB_MOST);
 *     x->name = db_cell_text(&row, 1);
 *     return row.rc;
 */
struct db_cells {
    sqlite3_stmt *q;
    struct err *err;
    int rc; /* 0, or ERR_CORRUPT: err names the first wrong column */
};

#define DB_MOST TENSOR_COUNTER_MOST

/* A whole number in [low, high]. Anything else is an error, and gives low. */
int64_t db_cell(struct db_cells *row, int column, int64_t low, int64_t high);

/* The same, where NULL stands for another number. */
int64_t db_cell_or(struct db_cells *row, int column, int64_t low, int64_t high,
                   int64_t null);

/* A text in UTF-8, copied; never NULL. */
char *db_cell_text(struct db_cells *row, int column);

/* The same, where NULL stays NULL. */
char *db_cell_text_or_null(struct db_cells *row, int column);

#endif
