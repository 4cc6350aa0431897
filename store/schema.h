/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - the tables of the store, as migrations: number i changes schema i
 * into schema i + 1.
 *
 * A migration of a published program version never changes. A change of the
 * tables is a new migration; SCHEMA_NEWEST is the number of migrations.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_SCHEMA_H
#define MNEME_STORE_SCHEMA_H

#include "base/err.h"

/* "mnem": identifies a database of mneme. */
#define SCHEMA_APPLICATION_ID 0x6d6e656d

/* The newest schema that this program knows: PRAGMA user_version. */
#define SCHEMA_NEWEST 4

extern const char *const schema_migrations[]; /* [SCHEMA_NEWEST] */

struct sqlite3;

/* Checks that the tables, indices and triggers are those of the migrations, and
 * that there are no views and no other triggers, since a store may come from
 * anybody. ERR_CORRUPT: they differ. */
int schema_check(struct sqlite3 *db, struct err *err);

#endif
