/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_map.h - the one table of keys, and what can be done with a key.
 *
 * Parsing, defaults, printing, the nearest key to a wrong one and the
 * documents all come from this table, so that none of them can say something
 * else than the others.
 *
 * Threads: any; the table is constant
 */
#ifndef MNEME_CONF_CONF_MAP_H
#define MNEME_CONF_CONF_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "conf/conf_yaml.h"

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
    const char *doc;       /* sentences for the user */
};

/* In the order of the file, each section before its keys. */
extern const struct conf_key conf_map[];
extern const size_t conf_map_n;

/* The row of that name, a section or a key, or NULL. */
const struct conf_key *conf_map_find(const char *name);

/* The row whose name is nearest to a wrong one, in the same section if
 * anything there is near; NULL when nothing is. */
const struct conf_key *conf_map_nearest(const char *name);

/* The nearest of "a | b | c:N" to a wrong word, into out; false: none. */
bool conf_map_nearest_word(const char *words, const char *word,
                           struct buf *out);

/* The last part of a dotted name, and how many parts come before it. */
const char *conf_map_leaf(const char *name);
int conf_map_depth(const char *name);

/* "a whole number from 0 to 256" and so on. */
void conf_map_describe(const struct conf_key *key, struct buf *out);

/*
 * Gives the field of a key the value of a node. Not for sections and
 * properties.
 *   why      what is wrong with the value, appended, when it is refused
 *   returns  0 or ERR_INVALID with the field as it was
 */
int conf_map_set(const struct conf_key *key, struct conf *c,
                 const struct conf_node *value, struct buf *why);

/* Appends the value of a key as YAML on one line. Not for sections and
 * properties. */
void conf_map_print(const struct conf_key *key, const struct conf *c,
                    struct buf *out);

/* Appends a text (UTF-8) as a YAML scalar, in quotes where it needs them. */
void conf_map_print_text(const char *text, struct buf *out);

/* Appends a text from the user for a message: short, without control
 * characters, in quotes. */
void conf_map_quote(const char *text, struct buf *out);

/* Frees what the fields of a key own. */
void conf_map_release(const struct conf_key *key, struct conf *c);

#endif
