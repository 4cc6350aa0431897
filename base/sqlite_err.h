/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sqlite_err.h - converts an error of SQLite to a struct err.
 *
 * The message names the file, the failed action and the cause. The cause is the
 * system's error if there is one, since SQLite reports all of them, even a full
 * disk, as "disk I/O error". For a damaged file the message says what to do.
 *
 * Threads: any that may use the connection
 */
#ifndef MNEME_BASE_SQLITE_ERR_H
#define MNEME_BASE_SQLITE_ERR_H

#include "base/err.h"

struct sqlite3;

/*
 * Sets err from the last call on db, which has failed.
 *   path     NULL: the absolute path that SQLite knows
 *   doing    the failed action, for the message
 *   returns  the code, never 0
 */
int sqlite_err(struct sqlite3 *db, const char *path, const char *doing,
               struct err *err);

#endif
