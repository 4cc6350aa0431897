/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - the tables of the store: what migration i makes of schema i - 1.
 *
 * A migration that a release has shipped never changes; the next change is a
 * new one, and DB_SCHEMA their number.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_SCHEMA_H
#define MNEME_STORE_SCHEMA_H

#include "base/err.h"

/* "mnem": marks the file as ours. */
#define SCHEMA_APPLICATION_ID 0x6d6e656d

extern const char *const schema_migrations[]; /* [DB_SCHEMA] */

struct db;

/* Checks that the tables, indices and triggers are those that the migrations
 * make, and that there are no views and no other triggers: a store may come
 * from anybody. ERR_CORRUPT: they are not. */
int schema_check(struct db *db, struct err *err);

#endif
