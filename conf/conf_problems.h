/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_problems.h - what is wrong with a configuration, and where each setting
 * comes from: what loading and checking share.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_PROBLEMS_H
#define MNEME_CONF_CONF_PROBLEMS_H

#include "conf/conf.h"
#include "conf/conf_map.h"

struct conf_place {
    int order; /* 0: the file; k: the k-th --set; CONF_BY_DEFAULT */
    int line, column;
    bool is_wrong; /* has a problem: say nothing that follows from it */
};

#define CONF_BY_DEFAULT (-1)

struct conf_places {
    char *file;             /* NULL: none */
    struct conf_place at[]; /* conf_map_n, by row */
};

struct conf_places *conf_places_create(void);
void conf_places_free(struct conf_places *p);

/* "file:line:column", to be freed. */
char *conf_place_text(const struct conf_places *p,
                      const struct conf_place *place);

struct conf_place *conf_place_of(struct conf *c, const struct conf_key *key);

/* Adds "place: key: text". */
void conf_problem_add(struct conf_problems *problems,
                      const struct conf_places *places,
                      const struct conf_place *place, const char *key,
                      const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Adds a line as it stands; text is theirs from then on. */
void conf_problem_add_text(struct conf_problems *problems,
                           const struct conf_place *place, char *text);

/* As they are to be read: the file from its beginning, then each --set. */
void conf_problems_sort(struct conf_problems *p);

#endif
