/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db.h - one SQLite connection: opening, migrating, running statements.
 *
 * The writer is the only connection that writes or checkpoints. A reader is
 * opened read-only, waits for locks, and never checkpoints.
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
 * A connection prepares each statement once and finds it again by the address
 * of its text. So `sql` is always a literal, and a second use of the same
 * literal begins after db_done.
 *
 * Every error names the file and has SQLite's message: ERR_FULL when the disk
 * is full, ERR_CORRUPT when the file is damaged, ERR_STATE when another process
 * has locked it, else ERR_IO.
 *
 * A writer fails for good when it cannot know what the disk holds: after a
 * failed sync, an I/O error, a damaged page, or when its files were removed or
 * replaced. Every later call returns that first error and does nothing.
 * ERR_FULL is different: nothing was written, and the caller may try again.
 *
 * Owner:   the caller that opened it
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

#define DB_ROW 1 /* db_step has a row */

struct db; /* fields are in db.c */

/*
 * Checks that the database and SQLite's files beside it, if they exist, are
 * plain files. SQLite would wait for ever on a pipe, and a link may lead to a
 * file of another user. Every db_open_ function calls this first.
 *   returns   0 or ERR_CORRUPT
 */
int db_check_files(const char *path, struct err *err);

/* Opens or creates the database, and migrates it. ERR_STATE when its schema is
 * newer than this program. */
int db_open_writer(const char *path, struct db **db, struct err *err);

/* ERR_NOTFOUND when there is no store at path; ERR_STATE when its schema is
 * older or newer than this program's. */
int db_open_reader(const char *path, struct db **db, struct err *err);

/*
 * Copies the database into a new file and opens the copy for changes, without
 * a log. The copy has the state that the read transaction of `from` sees.
 *   progress  called between pieces; may be NULL
 */
int db_copy(struct db *from, const char *path,
            void (*progress)(int64_t done_bytes, int64_t of_bytes, void *arg),
            void *arg, struct db **copy, struct err *err);

/* Opens a store of any schema read-only, to check whether it is complete. */
int db_open_any(const char *path, struct db **db, struct err *err);

/* Runs SQLite's integrity check and its check of foreign keys; ERR_CORRUPT. */
int db_check(struct db *db, struct err *err);

/* A writer checkpoints and truncates the log, unless it has failed. NULL is
 * fine. */
void db_close(struct db *db);

/* Makes a writer fail: every later call on this connection returns err. */
void db_fail(struct db *db, const struct err *err);

/* Returns the error with which a writer has failed, or 0. Removed or replaced
 * files make it fail. */
int db_check_writer(struct db *db, struct err *err);

sqlite3 *db_handle(struct db *db);

/* Runs SQL without parameters and rows: pragmas, DDL. */
int db_exec(struct db *db, const char *sql, struct err *err);

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt,
               struct err *err);

/* Binds ?1, ?2 and so on. `types` has one letter for each: i int64_t, d double
 * (NaN becomes NULL), t const char *, b const void * and size_t. A NULL pointer
 * becomes NULL. Texts and blobs are not copied; they must live until
 * db_done. */
void db_bind(sqlite3_stmt *stmt, const char *types, ...);
void db_bind_list(sqlite3_stmt *stmt, const char *types, va_list args);

/* Returns DB_ROW, 0 at the end, or an error. */
int db_step(struct db *db, sqlite3_stmt *stmt, struct err *err);

/* Ends the use of a statement; NULL is fine. */
void db_done(sqlite3_stmt *stmt);

/* Runs a statement without rows. db_changes() then returns the number of rows
 * that it changed. */
int db_run(struct db *db, struct err *err, const char *sql, const char *types,
           ...);
int64_t db_changes(struct db *db);

/* Runs a query and returns the first column of its first row. ERR_NOTFOUND,
 * without a message, when it has no row. */
int db_number(struct db *db, struct err *err, int64_t *number, const char *sql,
              const char *types, ...);

/* Reads a value from the table of settings, to be freed; NULL: absent. */
int db_setting(struct db *db, const char *key, char **value, struct err *err);
int db_setting_put(struct db *db, const char *key, const char *value,
                   struct err *err);

/* Begin and end a transaction. db_end commits when rc is 0 and rolls back
 * otherwise. It returns rc, or the error of the commit. */
int db_begin(struct db *db, struct err *err);
int db_end(struct db *db, int rc, struct err *err);

/* Begins a read transaction: several statements see one state. */
int db_begin_read(struct db *db, struct err *err);

/* Copies the log into the database and empties it. */
int db_checkpoint(struct db *db, struct err *err);

/* Copies a text column; NULL stays NULL. */
char *db_text(sqlite3_stmt *stmt, int column);

/*
 * Reads the columns of a row and checks each value, since a store with valid
 * checksums may come from anybody.
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

/* Reads a whole number in [low, high]. Any other value sets row->rc and returns
 * low. */
int64_t db_cell(struct db_cells *row, int column, int64_t low, int64_t high);

/* As db_cell; for NULL returns `null`. */
int64_t db_cell_or(struct db_cells *row, int column, int64_t low, int64_t high,
                   int64_t null);

/* Copies a UTF-8 text. Never returns NULL: NULL or other bytes set row->rc. */
char *db_cell_text(struct db_cells *row, int column);

/* As db_cell_text; NULL stays NULL. */
char *db_cell_text_or_null(struct db_cells *row, int column);

#endif
