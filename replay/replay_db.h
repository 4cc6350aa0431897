/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_db.h - rows in SQLite, and the changes that a publication writes.
 *
 * The tables replay_rows and holdout_rows have the same columns. A row is live
 * in version v when born <= v and (died is null or v < died). After a rollback
 * a row may count as live in versions that no longer had it, but never the
 * reverse. Each row has the XXH3 of its content.
 *
 * Threads: the thread of the connection
 */
#ifndef MNEME_REPLAY_REPLAY_DB_H
#define MNEME_REPLAY_REPLAY_DB_H

#include "replay/replay.h"
#include "replay/row.h"

struct sqlite3;
struct sqlite3_stmt;

struct replay_changes {
    enum replay_kind kind;
    struct row **born; /* [n_born] ascending keys; owned */
    uint32_t *slots;   /* [n_born] their slots */
    size_t n_born;
    int64_t *dead; /* [n_dead] keys of stored rows that died */
    size_t n_dead;
    bool reconcile; /* first write after an import: compare the table with the
                       index */
    int64_t *live; /* [n_live] ascending: every live key; only with reconcile */
    size_t n_live;
    int64_t n_bytes; /* size of the born rows */
};

/* Returns "replay" or "holdout", the prefix of tensors and, with "_rows", of
 * tables. */
const char *replay_db_prefix(enum replay_kind kind);

/* Prepares the statement for replay_db_fetch; the caller finalises it. */
int replay_db_prepare_fetch(struct sqlite3 *db, enum replay_kind kind,
                            struct sqlite3_stmt **fetch, struct err *err);

/* Reads the row of a key; the caller calls free(). *row is NULL when the row is
 * missing or damaged. A failure to read, such as a page with a wrong checksum,
 * is an error. */
int replay_db_fetch(struct sqlite3_stmt *fetch, int64_t key, struct row **row,
                    struct err *err);

/* The two statements of replay_db_sweep, with %s for the prefix. Tests check
 * their query plans. */
extern const char *const replay_db_sweep_sql[2];

/* Sets exists[n] for those of the ascending keys[n] that the table has. One
 * pass over an index, which reads no row. */
int replay_db_find(struct sqlite3 *db, enum replay_kind kind,
                   const int64_t *keys, size_t n, bool *exists,
                   struct err *err);

#endif
