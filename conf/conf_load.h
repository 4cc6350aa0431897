/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_load.h - what loading and checking a configuration share; nobody
 * outside conf/ needs it.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_LOAD_H
#define MNEME_CONF_CONF_LOAD_H

#include "conf/conf.h"
#include "conf/conf_map.h"
#include "conf/conf_yaml.h"

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

/* A tree of the one value that a key is given on a command line: texts as they
 * stand unless they begin with a quote, everything else as YAML. ERR_INVALID
 * as conf_tree_parse. */
int conf_tree_of_value(struct conf_tree *t, const struct conf_key *key,
                       const char *value);

/* Sets every key to the default of the table. */
void conf_load_defaults(struct conf *c);

/* Takes http.listen apart. False: it is not an address, and nothing changed. */
bool conf_listen_parse(struct conf_http *http);

/* One setting against another. */
void conf_check(struct conf *c, struct conf_problems *problems);

#endif
