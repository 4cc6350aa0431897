/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - the tables of the store, as migrations: number i changes schema i
 * into schema i + 1.
 *
 * A migration of a published program version never changes. A change of the
 * tables is a new migration; DB_SCHEMA is the number of migrations.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_SCHEMA_H
#define MNEME_STORE_SCHEMA_H

#include "base/err.h"

/* "mnem": identifies a database of mneme. */
#define SCHEMA_APPLICATION_ID 0x6d6e656d

extern const char *const schema_migrations[]; /* [DB_SCHEMA] */

struct db;

/* Checks that the tables, indices and triggers are those of the migrations, and
 * that there are no views and no other triggers, since a store may come from
 * anybody. ERR_CORRUPT: they differ. */
int schema_check(struct db *db, struct err *err);

#endif
