/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array of names in the order of their ids, and an open hash table (linear
 * probing) of id + 1. The number of slots is a power of two, and at least twice
 * the number of names. Names are never removed, so the table needs no marks for
 * removed names.
 */
#include "config.h"

#include "base/names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/xalloc.h"

#define FEWEST_SLOTS 16

/* Returns the slot of the name, or the empty slot for it. n_slots is above
 * 0. */
static size_t *slot_of(const struct names *t, const char *name)
{
    size_t mask = t->n_slots - 1;
    size_t at = checksum_xxh3(name, strlen(name), 0) & mask;

    while (t->slots[at] && strcmp(t->items[t->slots[at] - 1], name) != 0)
        at = (at + 1) & mask;
    return &t->slots[at];
}

static void fill_slots(struct names *t, size_t n_slots)
{
    free(t->slots);
    t->slots = xcalloc(n_slots, sizeof *t->slots);
    t->n_slots = n_slots;
    for (size_t id = 0; id < t->n; id++)
        *slot_of(t, t->items[id]) = id + 1;
}

long names_find(const struct names *t, const char *name)
{
    return t->n_slots ? (long)*slot_of(t, name) - 1 : -1;
}

long names_add(struct names *t, const char *name)
{
    long id = names_find(t, name);

    if (id >= 0)
        return id;
    if (2 * (t->n + 1) > t->n_slots)
        fill_slots(t, t->n_slots ? 2 * t->n_slots : FEWEST_SLOTS);
    XGROW(t->items, t->n, t->cap);
    t->items[t->n++] = xstrdup(name);
    *slot_of(t, name) = t->n;
    return (long)t->n - 1;
}

void names_copy(struct names *to, const struct names *from)
{
    struct names copy = NAMES_INIT;

    for (size_t id = 0; id < from->n; id++)
        names_add(&copy, from->items[id]);
    names_release(to);
    *to = copy;
}

void names_release(struct names *t)
{
    for (size_t id = 0; id < t->n; id++)
        free(t->items[id]);
    free(t->items);
    free(t->slots);
    *t = (struct names)NAMES_INIT;
}

void names_to_json(const struct names *t, struct buf *out)
{
    json_t *array = json_array();
    char *text;

    for (size_t id = 0; id < t->n; id++)
        if (json_array_append_new(array, json_string(t->items[id])))
            BUG("name %zu is not UTF-8", id);
    text = json_dumps(array, JSON_COMPACT);
    if (!text)
        BUG("a table of names cannot be written as JSON");
    buf_adds(out, text);
    free(text);
    json_decref(array);
}

static int add_all(struct names *t, const json_t *array, struct err *err)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));

        if (!name)
            return err_set(err, ERR_CORRUPT, "name %zu is not a string", i);
        if (names_add(t, name) != (long)i)
            return err_set(err, ERR_CORRUPT, "name %zu is a duplicate: %s", i,
                           name);
    }
    return 0;
}

int names_from_json(struct names *t, const char *json, size_t n_bytes,
                    size_t max, struct err *err)
{
    struct names parsed = NAMES_INIT;
    json_error_t why;
    json_t *array;
    int rc;

    array = json_loadb(json, n_bytes, 0, &why);
    if (!array)
        rc = err_set(err, ERR_CORRUPT, "names: %s", why.text);
    else if (!json_is_array(array))
        rc = err_set(err, ERR_CORRUPT, "names: not an array");
    else if (json_array_size(array) > max)
        rc = err_set(err, ERR_CORRUPT, "names: %zu, more than %zu",
                     json_array_size(array), max);
    else
        rc = add_all(&parsed, array, err);
    json_decref(array);
    if (rc) {
        names_release(&parsed);
        return rc;
    }
    names_release(t);
    *t = parsed;
    return 0;
}
