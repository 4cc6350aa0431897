/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All live keys of the index are put in order: by turn, then by rng(seed,
 * RNG_GATE, 0, key). Only a row tells its length, so a few more rows are read
 * than are used. This assumes that rows have at least FEWEST_TARGETS targets on
 * average; otherwise the sample is smaller.
 */
#include "config.h"

#include "daemon/publish/holdout_sample.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "replay/tiers.h"
#include "store/store.h"

#define FEWEST_TARGETS 16

/* A live row of the holdout. */
struct row {
    int64_t key;
    int64_t domain;
    int64_t turn; /* rows of its domain and age that come before it */
    uint64_t order;
    uint64_t hash; /* of its text */
    size_t read;   /* its position among the segments that were read */
    struct holdout_sample_role role;
};

static int64_t counter_of(int64_t key)
{
    return key & ((INT64_C(1) << TIERS_COUNTER_BITS) - 1);
}

static int by_order(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_turn(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return by_order(a, b);
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = counter_of(((const struct row *)a)->key);
    int64_t y = counter_of(((const struct row *)b)->key);

    return (x < y) - (x > y);
}

static int by_hash(const void *a, const void *b)
{
    const struct row *x = *(struct row *const *)a;
    const struct row *y = *(struct row *const *)b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

/* The live rows in the order in which they are taken. */
static struct row *order_keys(const struct holdout_sample_options *o,
                              const int64_t *keys, const int64_t *domains,
                              size_t n)
{
    struct row *rows = xcalloc(n + 1, sizeof *rows);
    int64_t *turns, most = 0;

    for (size_t i = 0; i < n; i++) {
        rows[i].key = keys[i];
        rows[i].domain = domains[i];
        rows[i].role.before = counter_of(keys[i]) <= o->reference_rows;
        rows[i].order = rng_u64(o->seed, RNG_GATE, 0, (uint64_t)keys[i]);
        most = domains[i] > most ? domains[i] : most;
    }
    qsort(rows, n, sizeof *rows, by_order);
    turns = xcalloc(2 * (size_t)most + 2, sizeof *turns);
    for (size_t i = 0; i < n; i++)
        rows[i].turn = turns[2 * rows[i].domain + rows[i].role.before]++;
    free(turns);
    qsort(rows, n, sizeof *rows, by_turn);
    return rows;
}

/* Moves the rows that are to be read to the front, newest first: the first
 * `even` of the order, and the newest `recent`. Returns how many. */
static size_t preselect(struct row *r, size_t n, size_t even, size_t recent)
{
    size_t kept = 0;

    even = n < even ? n : even;
    recent = n < recent ? n : recent;
    for (size_t i = 0; i < even; i++)
        r[i].role.even = true;
    qsort(r, n, sizeof *r, newest_first);
    for (size_t i = 0; i < recent; i++)
        r[i].role.recent = true;
    for (size_t i = 0; i < n; i++)
        if (r[i].role.even || r[i].role.recent)
            r[kept++] = r[i];
    return kept;
}

static uint64_t hash_segment(const struct segment *s)
{
    uint64_t salt = (uint64_t)(uint32_t)s->domain << 32 | (uint32_t)s->label;

    return s->n_tokens
               ? checksum_xxh3(s->tokens, (s->n_tokens + 1) * sizeof *s->tokens,
                               salt)
               : checksum_xxh3(s->text, s->text_bytes, salt);
}

/* Reads rows, and leaves out damaged and missing ones; *n becomes the number of
 * the others. */
static int read_rows(struct catalog *catalog, struct row *r, size_t *n,
                     const struct segment_limits *limits,
                     struct replay_segments *rows, struct err *err)
{
    int64_t *keys = xcalloc(*n + 1, sizeof *keys);
    size_t kept = 0, at = 0;
    int rc;

    for (size_t i = 0; i < *n; i++)
        keys[i] = r[i].key;
    rc = replay_db_read(catalog_lock(catalog), REPLAY_HOLDOUT, keys, *n, rows,
                        err);
    catalog_unlock(catalog);
    for (size_t i = 0; rc == 0 && i < *n && at < rows->n; i++) {
        if (r[i].key != keys[at])
            continue;
        if (rows->items[at].domain == r[i].domain &&
            segment_fits(&rows->items[at], limits)) {
            r[kept] = r[i];
            r[kept].read = at;
            r[kept].hash = hash_segment(&rows->items[at]);
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

/* Of rows with the same text only the oldest keeps its roles. */
static void drop_copies(struct row *r, size_t n)
{
    struct row **sorted = xcalloc(n + 1, sizeof(struct row *));

    for (size_t i = 0; i < n; i++)
        sorted[i] = &r[i];
    qsort(sorted, n, sizeof(struct row *), by_hash);
    for (size_t i = 1; i < n; i++)
        if (sorted[i]->hash == sorted[i - 1]->hash)
            sorted[i]->role = (struct holdout_sample_role){0};
    free(sorted);
}

static int64_t n_targets(const struct replay_segments *rows,
                         const struct row *r)
{
    uint32_t n = rows->items[r->read].n_tokens;

    return n ? n : FEWEST_TARGETS;
}

/* Ends each role at its number of targets. The rows are newest first. */
static void limit_targets(struct row *r, size_t n,
                          const struct replay_segments *rows,
                          const struct holdout_sample_options *o)
{
    int64_t tokens = 0;
    int newest = 0;

    for (size_t i = 0; i < n; i++) {
        if (!r[i].role.recent)
            continue;
        r[i].role.recent = tokens < o->max_tokens / 2;
        r[i].role.newest = r[i].role.recent && newest++ < HOLDOUT_SAMPLE_NEWEST;
        tokens += n_targets(rows, &r[i]);
    }
    qsort(r, n, sizeof *r, by_turn);
    tokens = 0;
    for (size_t i = 0; i < n; i++) {
        if (!r[i].role.even)
            continue;
        r[i].role.even = tokens < o->max_tokens;
        tokens += n_targets(rows, &r[i]);
    }
}

/* Moves the segments that have a role to the front. */
static void fill_sample(const struct row *r, size_t n,
                        const struct holdout_sample_options *o,
                        struct holdout_sample *out)
{
    struct segment *items = xcalloc(n + 1, sizeof *items);
    size_t kept = 0;

    out->keys = xcalloc(n + 1, sizeof *out->keys);
    out->roles = xcalloc(n + 1, sizeof *out->roles);
    for (size_t i = 0; i < n; i++) {
        struct holdout_sample_role role = r[i].role;

        if (!role.even && !role.recent)
            continue;
        role.is_new = role.recent && counter_of(r[i].key) > o->compared_rows;
        out->keys[kept] = r[i].key;
        out->roles[kept] = role;
        items[kept++] = out->segments.items[r[i].read];
    }
    /* segments.memory owns everything that was read, not segments.items. */
    memcpy(out->segments.items, items, kept * sizeof *items);
    out->n = kept;
    free(items);
}

static int64_t count_rows(const int64_t *keys, size_t n)
{
    int64_t most = 0;

    for (size_t i = 0; i < n; i++)
        most = counter_of(keys[i]) > most ? counter_of(keys[i]) : most;
    return most;
}

/* The index of a version's holdout; keys and domains point into *index.
 * Versions of older programs have it in the state. */
static int load_index(struct catalog *catalog, int64_t version,
                      struct tensor_list *index, const int64_t **keys,
                      const int64_t **domains, size_t *n, struct err *err)
{
    int rc = store_load(catalog, version, STORE_HOLDOUT, index, err);

    if (rc == 0 && index->n == 0)
        rc = store_load(catalog, version, STORE_STATE, index, err);
    return rc ? rc
              : replay_index_keys(index, REPLAY_HOLDOUT, keys, domains, n, err);
}

int holdout_sample_take(struct catalog *catalog, int64_t version,
                        const struct holdout_sample_options *o,
                        struct holdout_sample *out, struct err *err)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    struct row *r = NULL;
    const int64_t *keys, *domains;
    size_t n, even = (size_t)o->max_tokens / FEWEST_TARGETS + 1;
    int rc;

    memset(out, 0, sizeof *out);
    rc = load_index(catalog, version, &index, &keys, &domains, &n, err);
    if (rc)
        goto out;
    r = order_keys(o, keys, domains, n);
    out->n_rows = count_rows(keys, n);
    n = preselect(r, n, even, even / 2 + 1);
    rc = read_rows(catalog, r, &n, &o->limits, &out->segments, err);
    if (rc)
        goto out;
    if (out->segments.n_damaged)
        log_warn("holdout", "version=%lld damaged_rows=%zu", (long long)version,
                 out->segments.n_damaged);
    drop_copies(r, n);
    limit_targets(r, n, &out->segments, o);
    fill_sample(r, n, o, out);
out:
    free(r);
    tensor_list_release(&index);
    return rc;
}

void holdout_sample_release(struct holdout_sample *s)
{
    replay_segments_free(&s->segments);
    free(s->keys);
    free(s->roles);
    memset(s, 0, sizeof *s);
}

int holdout_sample_count_rows(struct catalog *catalog, int64_t version,
                              int64_t *n_rows, struct err *err)
{
    struct tensor_list index = TENSOR_LIST_INIT;
    const int64_t *keys, *domains;
    size_t n;
    int rc = load_index(catalog, version, &index, &keys, &domains, &n, err);

    if (rc == 0)
        *n_rows = count_rows(keys, n);
    tensor_list_release(&index);
    return rc;
}
