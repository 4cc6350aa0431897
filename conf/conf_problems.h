/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_problems.h - problems of a configuration, and the origin of each value:
 * shared by conf_load.c and conf_check.c.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_PROBLEMS_H
#define MNEME_CONF_CONF_PROBLEMS_H

#include "conf/conf.h"
#include "conf/conf_map.h"

struct conf_origin {
    int order; /* 0: the file; k: the k-th --set; CONF_BY_DEFAULT */
    int line, column;
    bool is_wrong; /* has a problem: report no consequences */
};

#define CONF_BY_DEFAULT (-1)

struct conf_origins {
    char *file;             /* NULL: none */
    struct conf_origin at[]; /* [conf_map_n], by row of the table */
};

struct conf_origins *conf_origins_create(void);
void conf_origins_free(struct conf_origins *p);

/* Returns "file:line:column", which the caller frees. */
char *conf_origin_text(const struct conf_origins *p,
                       const struct conf_origin *origin);

struct conf_origin *conf_origin_of(struct conf *c, const struct conf_key *key);

/* Adds "origin: key: text". */
void conf_problem_add(struct conf_problems *problems,
                      const struct conf_origins *origins,
                      const struct conf_origin *origin, const char *key,
                      const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Adds a line unchanged. Takes text over. */
void conf_problem_add_text(struct conf_problems *problems,
                           const struct conf_origin *origin, char *text);

/* Sorts by origin: the file from its beginning, then each --set. */
void conf_problems_sort(struct conf_problems *p);

#endif
