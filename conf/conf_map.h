/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_map.h - the table of keys.
 *
 * One row gives a key its field, default, range and explanation. Parsing and
 * printing (conf_value.h), suggestions for a wrong key (conf_near.h), the
 * commented conf/mneme.yaml and the man page (conf_doc.h) use that row. A check
 * that concerns more than one key is in conf_check.c.
 *
 * Threads: any; the table is constant
 */
#ifndef MNEME_CONF_CONF_MAP_H
#define MNEME_CONF_CONF_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"

#define CONF_MAX_WORD 40 /* letters of a name or of an enum's word */

enum conf_type {
    CONF_SECTION,   /* a mapping of the keys that begin with its name */
    CONF_BOOL,      /* bool */
    CONF_INT,       /* int64_t in [min, max] */
    CONF_REAL,      /* double in [min, max] */
    CONF_ENUM,      /* an enum; words has its names in order */
    CONF_TEXT,      /* char *, never empty */
    CONF_STRINGS,   /* struct conf_strings */
    CONF_PROPERTIES /* struct conf_properties */
};

struct conf_key {
    const char *name; /* dotted path */
    enum conf_type type;
    size_t at;            /* offset of the field in struct conf */
    const char *fallback; /* the default, as YAML */
    double min, max;
    /* CONF_ENUM: "a | b | c:N". A last word with a colon takes a whole number
     * of at least 0, for the int64_t field at number_at. */
    const char *words;
    size_t number_at;
    /* CONF_TEXT: means NULL; NULL: a text is required. CONF_REAL: means
     * CONF_REAL_WORD; NULL: a number is required. */
    const char *null_word;
    bool is_reloadable;    /* SIGHUP changes the value in a running daemon */
    /* Learning depends on the key. Each version keeps its value, and a retrain
     * uses that value. Never set this for a key that names a file, an address
     * or a program: somebody else may have made the version. */
    bool decides_learning;
    const char *doc;       /* sentences for the user */
};

/* In the order of the file, each section before its keys. */
extern const struct conf_key conf_map[];
extern const size_t conf_map_n;

/* Returns the row of a section or a key, or NULL. */
const struct conf_key *conf_map_find(const char *name);

/* Return the last part of a dotted name, and the number of parts before it. */
const char *conf_map_leaf(const char *name);
int conf_map_depth(const char *name);

/* Copies the next word of "a | b | c:N". Returns the rest, or NULL at the end.
 */
const char *conf_map_next_word(const char *words, char word[CONF_MAX_WORD + 1]);

#endif
