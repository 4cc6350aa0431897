/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.h - names of versions.
 *
 * A tag names one version; a version may have several tags. Retention keeps a
 * tagged version, as it keeps a pinned one. Every change of a tag is a row of
 * the control log: `tag` with the version, or `untag`; the reason is the name.
 *
 * Owner:   the caller frees lists with tags_free or tags_moves_free
 * Threads: tags_put and tags_remove: publisher; all others: any
 */
#ifndef MNEME_STORE_TAGS_H
#define MNEME_STORE_TAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/catalog.h"

struct store;

#define TAGS_NAME_BYTES 64 /* the longest name */

/* What a name may be, for messages. */
#define TAGS_RULE                                                              \
    "a tag has 1 to 64 letters, digits, '.', '_' or '-', begins with a "       \
    "letter or a digit, and is neither a number, nor latest, nor previous"

/* True for a usable name: TAGS_RULE. */
bool tags_is_name(const char *name);

/*
 * Gives the name to a version, in one transaction. ERR_INVALID; ERR_NOTFOUND:
 * there is no such version.
 *   *previous  the version that had the name; 0: none
 */
int tags_put(struct store *s, const char *name, int64_t version,
             int64_t *previous, struct err *err);

/* Removes the name. ERR_NOTFOUND: no version has it.
 *   *version  the version that had it */
int tags_remove(struct store *s, const char *name, int64_t *version,
                struct err *err);

struct tags_tag {
    char *name;
    int64_t version;
};

/* Reads all tags, by name. */
int tags_list(struct catalog *c, struct tags_tag **tags, size_t *n,
              struct err *err);
void tags_free(struct tags_tag *tags, size_t n);

/* Reads the version of a name; ERR_NOTFOUND. */
int tags_find(struct catalog *c, const char *name, int64_t *version,
              struct err *err);

/*
 * Reads the number of a version that is given by number, tag, `latest` (the
 * head version), `serving` or `previous` (the one that served before).
 *   name    NULL or "": the serving version
 *   *moves  out: another version may have this name later
 * ERR_NOTFOUND: no tag has the name; ERR_STATE: there is no such version yet;
 * ERR_INVALID: it can be no name. A version with a number may be missing.
 */
int tags_resolve(struct catalog *c, const char *name, int64_t *version,
                 bool *moves, struct err *err);

struct tags_move {
    int64_t time_ms;
    char *name;
    int64_t version; /* 0: the tag was removed */
};

/* Reads the changes of tags, newest first, at most limit (0: no limit). */
int tags_moves(struct catalog *c, size_t limit, struct tags_move **moves,
               size_t *n, struct err *err);
void tags_moves_free(struct tags_move *moves, size_t n);

#endif
