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

/* "mnem": marks the file as ours. */
#define SCHEMA_APPLICATION_ID 0x6d6e656d

extern const char *const schema_migrations[]; /* [DB_SCHEMA] */

#endif
