/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db_private.h - a connection's fields, for db.c, which runs statements on it,
 * and db_open.c, which opens, copies and checks.
 */
#ifndef MNEME_STORE_DB_PRIVATE_H
#define MNEME_STORE_DB_PRIVATE_H

#include <sys/types.h>

#include "store/db.h"

/* The identity of a file, to notice later that its path names another one. */
struct db_file {
    dev_t dev;
    ino_t ino;
};

struct cached {
    const char *sql;
    sqlite3_stmt *stmt;
};

struct db {
    sqlite3 *handle;
    char *path;
    bool writer;
    struct cached *cache;
    size_t n, cap;
    struct err failed;            /* db_fail; ERR_OK: nothing has */
    struct db_file database, log; /* as a writer opened them */
};

/* The error of the last call; `doing` says what it was. When it leaves unknown
 * what the disk holds, a writer fails for good (db_fail). */
int db_last_error(struct db *db, const char *doing, struct err *err);

/* From now on, a long log is copied into the database after a commit, as SQLite
 * does by itself; but a failed sync makes the writer fail. */
void db_watch_log(struct db *db);

int db_file_look(const char *path, struct db_file *f, struct err *err);

#endif
