/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index as tensors. A row's slot is not in them: rows go out by ascending
 * key and come in in that order. A state is loaded into an index of its own,
 * which takes the other's place when all of it has been found good.
 */
#include "config.h"

#include "replay/tiers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "replay/tiers_private.h"

#define NAME_MAX_BYTES 64

/* The largest stored counter: it leaves room for all rows that can come. */
#define TIERS_COUNTER_MOST (INT64_C(1) << (TIERS_COUNTER_BITS - 1))

/* --- out ---------------------------------------------------------------- */

struct keyed {
    int64_t key;
    uint32_t slot;
};

static int compare_keys(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

uint32_t *tiers_by_key(const struct tiers *t, size_t *n)
{
    struct keyed *sorted = xmalloc(((size_t)t->n_live + 1) * sizeof *sorted);
    uint32_t *slots = xmalloc(((size_t)t->n_live + 1) * sizeof *slots);

    *n = 0;
    for (uint32_t slot = 0; slot < t->n_slots; slot++) {
        const struct tiers_entry *e = &t->entries[slot];

        if (e->recent || e->place != TIERS_NONE)
            sorted[(*n)++] = (struct keyed){e->key, slot};
    }
    BUG_ON(*n != (size_t)t->n_live);
    qsort(sorted, *n, sizeof *sorted, compare_keys);
    for (size_t i = 0; i < *n; i++)
        slots[i] = sorted[i].slot;
    free(sorted);
    return slots;
}

static void *add(struct tensor_list *out, const char *prefix, const char *what,
                 enum tensor_type type, size_t n)
{
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof name, "%s.%s", prefix, what);
    return tensor_add_copy(out, name, type, 1, &n, NULL);
}

/* The columns of the index, one element a row. */
struct columns {
    int64_t *keys, *domains, *bytes, *last_step, *place;
    uint16_t *tokens;
    float *nats;
    uint8_t *recent;
};

static void columns_add(struct columns *c, struct tensor_list *out,
                        const char *prefix, size_t n)
{
    c->keys = add(out, prefix, "keys", TENSOR_I64, n);
    c->domains = add(out, prefix, "domains", TENSOR_I64, n);
    c->bytes = add(out, prefix, "bytes", TENSOR_I64, n);
    c->last_step = add(out, prefix, "last_step", TENSOR_I64, n);
    c->place = add(out, prefix, "place", TENSOR_I64, n);
    c->tokens = add(out, prefix, "tokens", TENSOR_U16, n);
    c->nats = add(out, prefix, "nats", TENSOR_F32, n);
    c->recent = add(out, prefix, "recent", TENSOR_U8, n);
}

void tiers_export(const struct tiers *t, const char *prefix,
                  struct tensor_list *out)
{
    int64_t *counters = add(out, prefix, "counters", TENSOR_I64, 2);
    int64_t *seen = add(out, prefix, "seen", TENSOR_I64, t->n_domains);
    struct columns c;
    size_t n;
    uint32_t *slots = tiers_by_key(t, &n);

    counters[0] = t->branch;
    counters[1] = t->counter;
    if (t->n_domains > 0)
        memcpy(seen, t->seen, t->n_domains * sizeof *seen);
    columns_add(&c, out, prefix, n);
    for (size_t i = 0; i < n; i++) {
        const struct tiers_entry *e = &t->entries[slots[i]];

        c.keys[i] = e->key;
        c.domains[i] = e->domain;
        c.bytes[i] = e->n_bytes;
        c.last_step[i] = e->last_step;
        c.place[i] = e->place == TIERS_NONE ? -1 : (int64_t)e->place;
        c.tokens[i] = e->n_tokens;
        c.nats[i] = e->nats;
        c.recent[i] = e->recent;
    }
    free(slots);
}

/* --- in, checked -------------------------------------------------------- */

static int find(const struct tensor_list *in, const char *prefix,
                const char *what, enum tensor_type type, size_t n, void *data,
                size_t *found, struct err *err)
{
    char name[NAME_MAX_BYTES];
    const struct tensor *tensor;
    int rc;

    snprintf(name, sizeof name, "%s.%s", prefix, what);
    rc = tensor_expect(in, name, type, n, &tensor, err);
    if (rc)
        return rc;
    if (found)
        *found = tensor_count(tensor);
    memcpy(data, &tensor->data, sizeof tensor->data);
    return 0;
}

static int columns_find(struct columns *c, const struct tensor_list *in,
                        const char *prefix, size_t *n, struct err *err)
{
    const struct {
        const char *what;
        enum tensor_type type;
        void *data;
    } wanted[] = {
        {"domains", TENSOR_I64, &c->domains},
        {"bytes", TENSOR_I64, &c->bytes},
        {"last_step", TENSOR_I64, &c->last_step},
        {"place", TENSOR_I64, &c->place},
        {"tokens", TENSOR_U16, &c->tokens},
        {"nats", TENSOR_F32, &c->nats},
        {"recent", TENSOR_U8, &c->recent},
    };
    int rc = find(in, prefix, "keys", TENSOR_I64, SIZE_MAX, &c->keys, n, err);

    for (size_t i = 0; !rc && i < sizeof wanted / sizeof *wanted; i++)
        rc = find(in, prefix, wanted[i].what, wanted[i].type, *n,
                  wanted[i].data, NULL, err);
    return rc;
}

static int bad(struct err *err, const char *prefix, const char *what, size_t i)
{
    return err_set(err, ERR_CORRUPT, "%s index: row %zu: %s", prefix, i, what);
}

/* What each row says by itself, and against the one before it. */
static int check_row(const struct tiers *t, const struct columns *c, size_t i,
                     const char *prefix, struct err *err)
{
    int64_t counter = c->keys[i] & ((INT64_C(1) << TIERS_COUNTER_BITS) - 1);

    if (c->keys[i] <= 0 || (i > 0 && c->keys[i] <= c->keys[i - 1]))
        return bad(err, prefix, "the keys do not ascend", i);
    if (c->keys[i] >> TIERS_COUNTER_BITS > t->branch || counter > t->counter)
        return bad(err, prefix, "the key is from the future", i);
    if (c->domains[i] < 0 || (size_t)c->domains[i] >= t->n_domains)
        return bad(err, prefix, "no such domain", i);
    if (c->bytes[i] < 0 || c->bytes[i] > UINT32_MAX)
        return bad(err, prefix, "an impossible size", i);
    if (c->last_step[i] < -1 || c->last_step[i] > TENSOR_COUNTER_MOST)
        return bad(err, prefix, "an impossible step", i);
    if (c->recent[i] > 1 || (c->place[i] < 0 && !c->recent[i]))
        return bad(err, prefix, "it is in neither tier", i);
    if (c->place[i] < -1 || c->place[i] >= t->seen[c->domains[i]])
        return bad(err, prefix, "an impossible place", i);
    return 0;
}

/* The places of each domain are 0 to held - 1, each once: counted first, so
 * that the lists can be made, then filled. */
static int load_lists(struct tiers *t, const struct columns *c, size_t n,
                      const char *prefix, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (c->place[i] >= 0)
            t->held[c->domains[i]]++;
    for (size_t d = 0; d < t->n_domains; d++) {
        t->cap_lists[d] = (size_t)t->held[d];
        t->lists[d] = xmalloc((t->cap_lists[d] + 1) * sizeof **t->lists);
        memset(t->lists[d], 0xff, t->cap_lists[d] * sizeof **t->lists);
        t->n_held += t->held[d];
    }
    for (size_t i = 0; i < n; i++) {
        int64_t d = c->domains[i], place = c->place[i];

        if (place < 0)
            continue;
        if (place >= t->held[d] || t->lists[d][place] != TIERS_NONE)
            return bad(err, prefix, "its place is taken or leaves a hole", i);
        t->lists[d][place] = (uint32_t)i;
    }
    return 0;
}

static struct tiers_entry entry_of(const struct columns *c, size_t i)
{
    return (struct tiers_entry){
        .key = c->keys[i],
        .last_step = c->last_step[i],
        .n_bytes = (uint32_t)c->bytes[i],
        .place = c->place[i] < 0 ? TIERS_NONE : (uint32_t)c->place[i],
        .domain = (int32_t)c->domains[i],
        .nats = c->nats[i],
        .n_tokens = c->tokens[i],
    };
}

/* Rows in the order of their keys get slots in that order, which is also the
 * ring's: oldest first. A ring that has become smaller drops the oldest. */
static int load_rows(struct tiers *t, const struct columns *c, size_t n,
                     const char *prefix, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++)
        rc = check_row(t, c, i, prefix, err);
    if (!rc)
        rc = load_lists(t, c, n, prefix, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        struct tiers_entry entry = entry_of(c, i);

        tiers_restore(t, &entry, c->recent[i]);
    }
    return 0;
}

static int load_counters(struct tiers *t, const struct tensor_list *in,
                         const char *prefix, struct err *err)
{
    const int64_t *counters, *seen;
    size_t n;
    int rc = find(in, prefix, "counters", TENSOR_I64, 2, &counters, NULL, err);

    if (!rc)
        rc = find(in, prefix, "seen", TENSOR_I64, SIZE_MAX, &seen, &n, err);
    if (rc)
        return rc;
    if (counters[0] < 0 || counters[0] > TIERS_MAX_BRANCH || counters[1] < 0 ||
        counters[1] >= TIERS_COUNTER_MOST || n > TIERS_MAX_DOMAINS)
        return err_set(err, ERR_CORRUPT, "%s index: impossible counters",
                       prefix);
    t->branch = counters[0];
    t->counter = counters[1];
    tiers_grow_domains(t, n);
    for (size_t d = 0; d < n; d++) {
        if (seen[d] < 0 || seen[d] > t->counter)
            return err_set(err, ERR_CORRUPT,
                           "%s index: domain %zu: impossible count", prefix, d);
        t->seen[d] = seen[d];
    }
    return 0;
}

static int check_branch(const struct tiers *t, int64_t branch,
                        const char *prefix, struct err *err)
{
    if (branch == 0)
        return 0;
    if (branch > TIERS_MAX_BRANCH)
        return err_set(err, ERR_LIMIT, "%s index: no branch above %lld", prefix,
                       (long long)TIERS_MAX_BRANCH);
    if (branch <= t->branch)
        return err_set(err, ERR_INVALID,
                       "%s index: branch %lld is not above its own, %lld",
                       prefix, (long long)branch, (long long)t->branch);
    return 0;
}

int tiers_import(struct tiers *t, const char *prefix,
                 const struct tensor_list *in, int64_t branch, struct err *err)
{
    struct tiers *loaded = tiers_create(&t->options);
    struct tiers old;
    struct columns c;
    size_t n;
    int rc = load_counters(loaded, in, prefix, err);

    if (!rc)
        rc = check_branch(loaded, branch, prefix, err);
    if (!rc)
        rc = columns_find(&c, in, prefix, &n, err);
    if (!rc && n > (size_t)TIERS_MAX_CAPACITY)
        rc = bad(err, prefix, "more rows than can be", n);
    if (!rc)
        rc = load_rows(loaded, &c, n, prefix, err);
    if (rc)
        goto out;
    tiers_fit(loaded);
    if (branch)
        loaded->branch = branch;
    old = *t;
    *t = *loaded;
    *loaded = old;
out:
    tiers_free(loaded);
    return rc;
}

int tiers_index_keys(const struct tensor_list *in, const char *prefix,
                     const int64_t **keys, const int64_t **domains, size_t *n,
                     struct err *err)
{
    int rc = find(in, prefix, "keys", TENSOR_I64, SIZE_MAX, keys, n, err);

    if (rc == 0)
        rc = find(in, prefix, "domains", TENSOR_I64, *n, domains, NULL, err);
    for (size_t i = 0; rc == 0 && i < *n; i++)
        if ((*keys)[i] <= 0 || (*domains)[i] < 0 ||
            (*domains)[i] >= TIERS_MAX_DOMAINS)
            rc = bad(err, prefix, "an impossible key or domain", i);
    return rc;
}

int tiers_index_branch(const struct tensor_list *in, const char *prefix,
                       int64_t *branch, struct err *err)
{
    const int64_t *counters;
    int rc = find(in, prefix, "counters", TENSOR_I64, 2, &counters, NULL, err);

    if (!rc && (counters[0] < 0 || counters[0] > TIERS_MAX_BRANCH))
        rc = err_set(err, ERR_CORRUPT, "%s index: impossible counters",
                     prefix);
    if (!rc)
        *branch = counters[0];
    return rc;
}
