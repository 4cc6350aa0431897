/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "conf/conf_problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"

struct conf_origins *conf_origins_create(void)
{
    struct conf_origins *p = xcalloc(1, sizeof *p + conf_map_n * sizeof *p->at);

    for (size_t i = 0; i < conf_map_n; i++)
        p->at[i].order = CONF_BY_DEFAULT;
    return p;
}

void conf_origins_free(struct conf_origins *p)
{
    if (!p)
        return;
    free(p->file);
    free(p);
}

struct conf_origin *conf_origin_of(struct conf *c, const struct conf_key *key)
{
    return &c->origins->at[key - conf_map];
}

char *conf_origin_text(const struct conf_origins *p,
                       const struct conf_origin *origin)
{
    if (origin->order == CONF_BY_DEFAULT)
        return xstrdup("default");
    if (origin->order > 0)
        return xasprintf("--set:%d:%d", origin->order, origin->column);
    return xasprintf("%s:%d:%d", p->file, origin->line, origin->column);
}

void conf_problem_add_text(struct conf_problems *problems,
                           const struct conf_origin *origin, char *text)
{
    struct conf_problem *x;

    if (problems->n == CONF_MAX_PROBLEMS) {
        problems->n_dropped++;
        free(text);
        return;
    }
    XGROW(problems->items, problems->n, problems->cap);
    x = &problems->items[problems->n++];
    x->order = origin->order;
    x->line = origin->line;
    x->column = origin->column;
    x->text = text;
}

void conf_problem_add(struct conf_problems *problems,
                      const struct conf_origins *origins,
                      const struct conf_origin *origin, const char *key,
                      const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    char *where = conf_origin_text(origins, origin);
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_addf(&line, "%s: %s%s%s", where, key, *key ? ": " : "", text);
    free(where);
    conf_problem_add_text(problems, origin, buf_detach(&line));
}

void conf_problems_release(struct conf_problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->items[i].text);
    free(p->items);
    memset(p, 0, sizeof *p);
}

static int by_origin(const void *a, const void *b)
{
    const struct conf_problem *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    return strcmp(x->text, y->text);
}

void conf_problems_sort(struct conf_problems *p)
{
    if (p->n)
        qsort(p->items, p->n, sizeof *p->items, by_origin);
}
