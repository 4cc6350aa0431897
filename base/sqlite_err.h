/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sqlite_err.h - what SQLite says of a failure, as one of our errors.
 *
 * The line names the file, what was being done, and the cause, which is the
 * system's where there is one: SQLite's own words are "disk I/O error" for all
 * of it, a full disk included. A damaged file says what to do about it.
 *
 * Threads: any; the connection's
 */
#ifndef MNEME_BASE_SQLITE_ERR_H
#define MNEME_BASE_SQLITE_ERR_H

#include "base/err.h"

struct sqlite3;

/* Of the last call on a connection that has failed. path NULL: as SQLite knows
 * it, absolute. Returns the code, never 0. */
int sqlite_err(struct sqlite3 *db, const char *path, const char *doing,
               struct err *err);

#endif
