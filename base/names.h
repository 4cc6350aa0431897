/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - a table of names (domains, labels) to which names are only added.
 *
 * A name's id is its index, from 0, and never changes. The table is part of a
 * version's state, so ids mean the same after a restart or a rollback. Names
 * are UTF-8; the caller checks names from outside before it adds them.
 *
 * Owner:   the table copies the names
 * Threads: one at a time for a table; other threads use a names_copy
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

/* Returns the id of a name, or -1. */
long names_find(const struct names *t, const char *name);

/* Returns the id of a name; adds a new name. */
long names_add(struct names *t, const char *name);

/* Replaces the names of `to`. */
void names_copy(struct names *to, const struct names *from);
void names_release(struct names *t);

/* Appends a JSON array of the names to out. */
void names_to_json(const struct names *t, struct buf *out);

/* Replaces the names of t by those of a JSON array. ERR_CORRUPT, with t
 * unchanged, for duplicates and for more than `max` names. */
int names_from_json(struct names *t, const char *json, size_t n_bytes,
                    size_t max, struct err *err);

#endif
