/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_map.h - the one table of keys.
 *
 * Defaults, parsing and printing (conf_value.h), the nearest key to a wrong one
 * (conf_near.h) and the documents (conf_doc.h) all come from this table, so
 * that none of them can say something else than the others.
 *
 * Threads: any; the table is constant
 */
#ifndef MNEME_CONF_CONF_MAP_H
#define MNEME_CONF_CONF_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"

#define CONF_MAX_WORD 40 /* letters of a name or an enum's word */

enum conf_type {
    CONF_SECTION,   /* a mapping of the keys whose names it begins */
    CONF_BOOL,      /* bool */
    CONF_INT,       /* int64_t in [min, max] */
    CONF_REAL,      /* double in [min, max] */
    CONF_ENUM,      /* an enum; words are its names in order */
    CONF_TEXT,      /* char *, never empty */
    CONF_STRINGS,   /* struct conf_strings */
    CONF_PROPERTIES /* struct conf_properties; values are taken one by one */
};

struct conf_key {
    const char *name; /* dotted path */
    enum conf_type type;
    size_t at;            /* of the field in struct conf */
    const char *fallback; /* the default, as YAML */
    double min, max;
    /* CONF_ENUM: "a | b | c:N"; a last word with a colon takes a whole number
     * of at least 0, for the int64_t field at number_at. */
    const char *words;
    size_t number_at;
    const char *null_word; /* CONF_TEXT: stands for NULL; NULL: must be given */
    bool is_reloadable;    /* a running daemon takes a new value */
    /* What is learned depends on it: each version keeps its value, and
     * learning a version again applies it. Never a key that names a file, an
     * address or a program: stored values may come from somebody else. */
    bool decides_learning;
    const char *doc;       /* sentences for the user */
};

/* In the order of the file, each section before its keys. */
extern const struct conf_key conf_map[];
extern const size_t conf_map_n;

/* The row of that name, a section or a key, or NULL. */
const struct conf_key *conf_map_find(const char *name);

/* The last part of a dotted name, and how many parts come before it. */
const char *conf_map_leaf(const char *name);
int conf_map_depth(const char *name);

/* Steps through "a | b | c:N": the next word into word, and what comes after
 * it, or NULL at the end. */
const char *conf_map_next_word(const char *words, char word[CONF_MAX_WORD + 1]);

#endif
