/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - an append-only table of names: domains, labels.
 *
 * A name's id is its place, from 0, and never changes. The table is part of a
 * version's state, so that ids mean the same after a restart or a rollback.
 * Names are UTF-8: whoever adds one from outside has checked it.
 *
 * Owner:   the table owns its copies
 * Threads: one at a time for a table; a copy (names_copy) for other threads
 */
#ifndef MNEME_BASE_NAMES_H
#define MNEME_BASE_NAMES_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct names {
    char **items;
    size_t n, cap;
    size_t *slots; /* hash table of id + 1; 0 is empty */
    size_t n_slots;
};

#define NAMES_INIT {NULL, 0, 0, NULL, 0}

/* The id of a name, or -1. */
long names_find(const struct names *t, const char *name);

/* The id of a name, added when new. */
long names_add(struct names *t, const char *name);

/* Replaces what `to` held. */
void names_copy(struct names *to, const struct names *from);
void names_release(struct names *t);

/* A JSON array of strings (appended to out), and back; parsing replaces what t
 * held and refuses duplicates and more than max names (ERR_CORRUPT, t as it
 * was). */
void names_to_json(const struct names *t, struct buf *out);
int names_from_json(struct names *t, const char *json, size_t n_bytes,
                    size_t max, struct err *err);

#endif
