/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys are sorted by rng(seed, RNG_GATE, 0, key) and taken in that order, a
 * domain at a time in turn; the newest are taken from the end. Only a row knows
 * its length, so a few more rows are read than are used: rows average at least
 * 16 targets, or there are few of them.
 */
#include "config.h"

#include "daemon/publish/draw.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "replay/tiers.h"
#include "store/store.h"

#define FEWEST_TARGETS 16

struct ticket {
    int64_t key;
    int64_t domain;
    int64_t turn; /* how many of its domain come before it */
    uint64_t order;
    uint64_t hash; /* of what it says */
    size_t row;    /* in what was read */
    struct draw_role role;
};

static int64_t counter_of(int64_t key)
{
    return key & ((INT64_C(1) << TIERS_COUNTER_BITS) - 1);
}

static int by_order(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_turn(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;

    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return by_order(a, b);
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = counter_of(((const struct ticket *)a)->key);
    int64_t y = counter_of(((const struct ticket *)b)->key);

    return (x < y) - (x > y);
}

static int by_hash(const void *a, const void *b)
{
    const struct ticket *x = *(struct ticket *const *)a;
    const struct ticket *y = *(struct ticket *const *)b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

/* All live holdout keys in the order in which they are taken: domains in turn,
 * and of each what was there before and what came since. */
static struct ticket *order_keys(const struct draw_options *o,
                                 const int64_t *keys, const int64_t *domains,
                                 size_t n)
{
    struct ticket *tickets = xcalloc(n + 1, sizeof *tickets);
    int64_t *turns, most = 0;

    for (size_t i = 0; i < n; i++) {
        tickets[i].key = keys[i];
        tickets[i].domain = domains[i];
        tickets[i].role.before = counter_of(keys[i]) <= o->mark;
        tickets[i].order = rng_u64(o->seed, RNG_GATE, 0, (uint64_t)keys[i]);
        most = domains[i] > most ? domains[i] : most;
    }
    qsort(tickets, n, sizeof *tickets, by_order);
    turns = xcalloc(2 * (size_t)most + 2, sizeof *turns);
    for (size_t i = 0; i < n; i++)
        tickets[i].turn =
            turns[2 * tickets[i].domain + tickets[i].role.before]++;
    free(turns);
    qsort(tickets, n, sizeof *tickets, by_turn);
    return tickets;
}

/* Moves what is to be read to the front: the first `even` of the order, and the
 * newest `recent`. Returns how many. */
static size_t preselect(struct ticket *t, size_t n, size_t even, size_t recent)
{
    size_t kept = 0;

    even = n < even ? n : even;
    recent = n < recent ? n : recent;
    for (size_t i = 0; i < even; i++)
        t[i].role.even = true;
    qsort(t, n, sizeof *t, newest_first);
    for (size_t i = 0; i < recent; i++)
        t[i].role.recent = true;
    for (size_t i = 0; i < n; i++)
        if (t[i].role.even || t[i].role.recent)
            t[kept++] = t[i];
    return kept;
}

static uint64_t hash_segment(const struct segment *s)
{
    uint64_t salt = (uint64_t)(uint32_t)s->domain << 32 | (uint32_t)s->label;

    return s->n_tokens
               ? checksum_xxh3(s->tokens,
                               (s->n_tokens + 1) * sizeof *s->tokens, salt)
               : checksum_xxh3(s->text, s->text_bytes, salt);
}

/* Is it the row that the index names, and within the version's limits? */
static bool is_good(const struct ticket *t, const struct segment *s,
                    const struct segment_limits *limits)
{
    return s->domain == t->domain && segment_fits(s, limits);
}

/* Rows that are damaged or gone play no part: *n becomes how many are there. */
static int read_rows(struct catalog *catalog, struct ticket *t, size_t *n,
                     const struct segment_limits *limits,
                     struct replay_segments *rows, struct err *err)
{
    int64_t *keys = xcalloc(*n + 1, sizeof *keys);
    size_t kept = 0, at = 0;
    int rc;

    for (size_t i = 0; i < *n; i++)
        keys[i] = t[i].key;
    rc = replay_db_read(catalog_lock(catalog), REPLAY_HOLDOUT, keys, *n, rows,
                        err);
    catalog_unlock(catalog);
    for (size_t i = 0; rc == 0 && i < *n && at < rows->n; i++) {
        if (t[i].key != keys[at])
            continue;
        if (is_good(&t[i], &rows->items[at], limits)) {
            t[kept] = t[i];
            t[kept].row = at;
            t[kept].hash = hash_segment(&rows->items[at]);
            kept++;
        } else {
            rows->n_damaged++;
        }
        at++;
    }
    *n = kept;
    free(keys);
    return rc;
}

/* One of each text plays a part: the oldest. */
static void drop_copies(struct ticket *t, size_t n)
{
    struct ticket **sorted = xcalloc(n + 1, sizeof(struct ticket *));

    for (size_t i = 0; i < n; i++)
        sorted[i] = &t[i];
    qsort(sorted, n, sizeof(struct ticket *), by_hash);
    for (size_t i = 1; i < n; i++)
        if (sorted[i]->hash == sorted[i - 1]->hash)
            sorted[i]->role = (struct draw_role){0};
    free(sorted);
}

static int64_t targets(const struct replay_segments *rows,
                       const struct ticket *t)
{
    uint32_t n = rows->items[t->row].n_tokens;

    return n ? n : FEWEST_TARGETS;
}

/* Ends each part at its number of targets; tickets are newest first. */
static void bound(struct ticket *t, size_t n,
                  const struct replay_segments *rows,
                  const struct draw_options *o)
{
    int64_t tokens = 0;
    int newest = 0;

    for (size_t i = 0; i < n; i++) {
        if (!t[i].role.recent)
            continue;
        t[i].role.recent = tokens < o->max_tokens / 2;
        t[i].role.newest = t[i].role.recent && newest++ < DRAW_NEWEST;
        tokens += targets(rows, &t[i]);
    }
    qsort(t, n, sizeof *t, by_turn);
    tokens = 0;
    for (size_t i = 0; i < n; i++) {
        if (!t[i].role.even)
            continue;
        t[i].role.even = tokens < o->max_tokens;
        tokens += targets(rows, &t[i]);
    }
}

/* The segments that play a part, and which. */
static void hand_out(const struct ticket *t, size_t n,
                     const struct draw_options *o, struct draw *out)
{
    struct segment *items = xcalloc(n + 1, sizeof *items);
    size_t kept = 0;

    out->keys = xcalloc(n + 1, sizeof *out->keys);
    out->roles = xcalloc(n + 1, sizeof *out->roles);
    for (size_t i = 0; i < n; i++) {
        struct draw_role role = t[i].role;

        if (!role.even && !role.recent)
            continue;
        role.arrived = role.recent && counter_of(t[i].key) > o->seen;
        out->keys[kept] = t[i].key;
        out->roles[kept] = role;
        items[kept++] = out->segments.items[t[i].row];
    }
    /* What was read is freed by segments.memory, whatever items says. */
    memcpy(out->segments.items, items, kept * sizeof *items);
    out->n = kept;
    free(items);
}

static int64_t most_counted(const int64_t *keys, size_t n)
{
    int64_t most = 0;

    for (size_t i = 0; i < n; i++)
        most = counter_of(keys[i]) > most ? counter_of(keys[i]) : most;
    return most;
}

/* The index of a version's holdout; keys and domains point into *index. Older
 * versions have it in the state. */
static int load_index(struct catalog *catalog, int64_t version,
                      struct tensor_list *index, const int64_t **keys,
                      const int64_t **domains, size_t *n, struct err *err)
{
    int rc = store_load(catalog, version, STORE_HOLDOUT, index, err);

    if (rc == 0 && index->n == 0)
        rc = store_load(catalog, version, STORE_STATE, index, err);
    return rc ? rc
              : replay_index_keys(index, REPLAY_HOLDOUT, keys, domains, n,
                                  err);
}

int draw_segments(struct catalog *catalog, int64_t version,
                  const struct draw_options *o, struct draw *out,
                  struct err *err)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct ticket *t = NULL;
    const int64_t *keys, *domains;
    size_t n, even = (size_t)o->max_tokens / FEWEST_TARGETS + 1;
    int rc;

    memset(out, 0, sizeof *out);
    rc = load_index(catalog, version, &index, &keys, &domains, &n, err);
    if (rc)
        goto out;
    t = order_keys(o, keys, domains, n);
    out->counted = most_counted(keys, n);
    n = preselect(t, n, even, even / 2 + 1);
    rc = read_rows(catalog, t, &n, &o->limits, &out->segments, err);
    if (rc)
        goto out;
    if (out->segments.n_damaged)
        log_warn("holdout", "version=%lld damaged_rows=%zu",
                 (long long)version, out->segments.n_damaged);
    drop_copies(t, n);
    bound(t, n, &out->segments, o);
    hand_out(t, n, o, out);
out:
    free(t);
    tensor_list_release(&index);
    return rc;
}

void draw_release(struct draw *d)
{
    replay_segments_free(&d->segments);
    free(d->keys);
    free(d->roles);
    memset(d, 0, sizeof *d);
}

int draw_mark(struct catalog *catalog, int64_t version, int64_t *mark,
              struct err *err)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    const int64_t *keys, *domains;
    size_t n;
    int rc = load_index(catalog, version, &index, &keys, &domains, &n, err);

    if (rc == 0)
        *mark = most_counted(keys, n);
    tensor_list_release(&index);
    return rc;
}
