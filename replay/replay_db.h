/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_db.h - rows in SQLite, and what a publish takes there.
 *
 * Two tables of the same columns, replay_rows and holdout_rows. A row is live
 * in version v when born <= v and (died is null or v < died); after a rollback
 * that may include versions which no longer had it, never the reverse. Each
 * row carries the XXH3 of its content.
 *
 * Threads: each connection's own
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
    uint32_t *slots;   /* [n_born] where replay.c has them */
    size_t n_born;
    int64_t *dead; /* [n_dead] keys of stored rows that died */
    size_t n_dead;
    bool settle;   /* the first write after an import */
    int64_t *live; /* [n_live] ascending: every live key; only to settle */
    size_t n_live;
    int64_t n_bytes; /* of born */
};

/* "replay" or "holdout": of tensors, and of tables with "_rows". */
const char *replay_db_prefix(enum replay_kind kind);

/* The statement for replay_db_fetch, to be finalised by the caller. */
int replay_db_prepare_fetch(struct sqlite3 *db, enum replay_kind kind,
                            struct sqlite3_stmt **fetch, struct err *err);

/* The row of a key, to be released with free(). *row is NULL when it is missing
 * or not what was written: that is one row's loss. What cannot be read, a page
 * of the database with another checksum among it, is an error. */
int replay_db_fetch(struct sqlite3_stmt *fetch, int64_t key, struct row **row,
                    struct err *err);

/* The two statements of replay_db_sweep, with %s for the prefix: tests look at
 * their plans. */
extern const char *const replay_db_sweep_sql[2];

/* Which of the ascending keys[n] the table has: there[n], by one pass over the
 * index of lives, which touches no row. */
int replay_db_find(struct sqlite3 *db, enum replay_kind kind,
                   const int64_t *keys, size_t n, bool *there,
                   struct err *err);

#endif
