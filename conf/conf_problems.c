/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "conf/conf_problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"

struct conf_places *conf_places_create(void)
{
    struct conf_places *p = xcalloc(1, sizeof *p + conf_map_n * sizeof *p->at);

    for (size_t i = 0; i < conf_map_n; i++)
        p->at[i].order = CONF_BY_DEFAULT;
    return p;
}

void conf_places_free(struct conf_places *p)
{
    if (!p)
        return;
    free(p->file);
    free(p);
}

struct conf_place *conf_place_of(struct conf *c, const struct conf_key *key)
{
    return &c->places->at[key - conf_map];
}

char *conf_place_text(const struct conf_places *p,
                      const struct conf_place *place)
{
    if (place->order == CONF_BY_DEFAULT)
        return xstrdup("default");
    if (place->order > 0)
        return xasprintf("--set:%d:%d", place->order, place->column);
    return xasprintf("%s:%d:%d", p->file, place->line, place->column);
}

void conf_problem_add_text(struct conf_problems *problems,
                           const struct conf_place *place, char *text)
{
    struct conf_problem *x;

    if (problems->n == CONF_MAX_PROBLEMS) {
        problems->n_dropped++;
        free(text);
        return;
    }
    XGROW(problems->items, problems->n, problems->cap);
    x = &problems->items[problems->n++];
    x->order = place->order;
    x->line = place->line;
    x->column = place->column;
    x->text = text;
}

void conf_problem_add(struct conf_problems *problems,
                      const struct conf_places *places,
                      const struct conf_place *place, const char *key,
                      const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    char *where = conf_place_text(places, place);
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_addf(&line, "%s: %s%s%s", where, key, *key ? ": " : "", text);
    free(where);
    conf_problem_add_text(problems, place, buf_detach(&line));
}

void conf_problems_release(struct conf_problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->items[i].text);
    free(p->items);
    memset(p, 0, sizeof *p);
}

static int by_place(const void *a, const void *b)
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
        qsort(p->items, p->n, sizeof *p->items, by_place);
}
