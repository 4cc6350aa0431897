/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree is a trie of blocks: a path from its root is the beginning of a
 * window. Only the last block of a path may be part-filled. Windows that differ
 * within a block have a block each there:
 *
 *     root -- "You are a helpfu" -- "l assistant. Wha" -- "t is"
 *                               \-- "l assistant. How" -- " do I"
 *
 * A find follows the child that agrees with most of the next ids. It may use
 * the beginning of a block only, and ends there.
 *
 * All blocks of all trees are in one list, the newest first. Invariants, while
 * the mutex is not held:
 *
 * 1. A block is older than its parent. So the oldest block has no children, and
 *    can be dropped.
 * 2. The sum of all blocks' bytes is `used`, at most `limit`.
 *
 * The mutex is held while blocks are copied. A copy takes far less time than
 * computing the same tokens.
 */
#include "config.h"

#include "learner/infer/prefix_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define CHECK_MS 50 /* how often a wait looks whether it is cancelled */

struct block {
    struct block *parent, *child, *sibling; /* child: the first of them */
    struct block *newer, *older;
    struct prefix_tree *tree;
    size_t n; /* tokens, at most FROZEN_BLOCK */
    token_id ids[FROZEN_BLOCK];
    float losses[FROZEN_BLOCK];
    float states[]; /* [frozen_block_floats]; a root has none */
};

struct prefix_cache {
    size_t limit;
    struct infer_figures *figures;
    pthread_mutex_t mutex; /* guards all below, and all trees */
    struct block *newest, *oldest;
    size_t used;
};

struct prefix_tree {
    struct prefix_cache *cache;
    const struct frozen *f;
    struct block *root;
    size_t bytes; /* of a block */
    struct prefix_reading *readings;
    uint64_t n_readings; /* ever */
    pthread_cond_t ended; /* a reading */
};

struct prefix_cache *prefix_cache_create(size_t limit_bytes,
                                         struct infer_figures *figures)
{
    struct prefix_cache *c = xcalloc(1, sizeof *c);

    c->limit = limit_bytes;
    c->figures = figures;
    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

void prefix_cache_free(struct prefix_cache *c)
{
    if (!c)
        return;
    BUG_ON(c->newest != NULL);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

struct prefix_tree *prefix_tree_create(struct prefix_cache *c,
                                       const struct frozen *f)
{
    struct prefix_tree *t;

    if (!c)
        return NULL;
    t = xcalloc(1, sizeof *t);
    t->cache = c;
    t->f = f;
    t->bytes =
        sizeof(struct block) + frozen_block_floats(f) * sizeof(float);
    t->root = xcalloc(1, sizeof *t->root);
    t->root->n = FROZEN_BLOCK;
    pthread_cond_init(&t->ended, NULL);
    return t;
}

/* --- the list ----------------------------------------------------------- */

/* Puts b behind `newer`; NULL: at the front. */
static void list_insert(struct prefix_cache *c, struct block *b,
                        struct block *newer)
{
    b->newer = newer;
    b->older = newer ? newer->older : c->newest;
    *(newer ? &newer->older : &c->newest) = b;
    *(b->older ? &b->older->newer : &c->oldest) = b;
}

static void list_remove(struct prefix_cache *c, struct block *b)
{
    *(b->newer ? &b->newer->older : &c->newest) = b->older;
    *(b->older ? &b->older->newer : &c->oldest) = b->newer;
}

/* Makes a path the newest, its first block before the others. */
static void touch(struct prefix_tree *t, struct block *last)
{
    for (struct block *b = last; b != t->root; b = b->parent) {
        list_remove(t->cache, b);
        list_insert(t->cache, b, NULL);
    }
}

/* --- blocks ------------------------------------------------------------- */

static void count_bytes(struct prefix_cache *c)
{
    if (c->figures)
        atomic_store(&c->figures->prefix_bytes, (long long)c->used);
}

/* Drops a block without children, of any tree. */
static void drop(struct prefix_cache *c, struct block *b)
{
    struct block **at = &b->parent->child;

    while (*at != b)
        at = &(*at)->sibling;
    *at = b->sibling;
    list_remove(c, b);
    c->used -= b->tree->bytes;
    free(b);
}

/* Adds a child without tokens to a block of the newest path. Returns NULL when
 * the path alone fills the cache. */
static struct block *add_child(struct prefix_tree *t, struct block *parent)
{
    struct prefix_cache *c = t->cache;
    struct block *last = parent == t->root ? NULL : parent, *b;

    if (t->bytes > c->limit) /* dropping others makes no room */
        return NULL;
    while (c->oldest && c->oldest != last && c->used + t->bytes > c->limit)
        drop(c, c->oldest);
    if (c->used + t->bytes > c->limit)
        return NULL;
    b = xcalloc(1, t->bytes);
    b->tree = t;
    b->parent = parent;
    b->sibling = parent->child;
    parent->child = b;
    list_insert(c, b, last);
    c->used += t->bytes;
    return b;
}

static size_t agree(const token_id *a, const token_id *b, size_t n)
{
    size_t i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Returns the child that agrees with most of the n next ids; *agreed is their
 * number. NULL: none agrees. */
static struct block *find_child(const struct block *parent, const token_id *ids,
                                size_t n, size_t *agreed)
{
    struct block *best = NULL;

    *agreed = 0;
    for (struct block *b = parent->child; b; b = b->sibling) {
        size_t i = agree(b->ids, ids, b->n < n ? b->n : n);

        if (i > *agreed) {
            *agreed = i;
            best = b;
        }
    }
    return best;
}

void prefix_tree_free(struct prefix_tree *t)
{
    struct block *b;

    if (!t)
        return;
    pthread_mutex_lock(&t->cache->mutex);
    for (b = t->root; b != t->root || b->child;) {
        struct block *parent = b->parent;

        if (b->child) {
            b = b->child;
        } else {
            drop(t->cache, b);
            b = parent;
        }
    }
    count_bytes(t->cache);
    pthread_mutex_unlock(&t->cache->mutex);
    BUG_ON(t->readings != NULL);
    pthread_cond_destroy(&t->ended);
    free(t->root);
    free(t);
}

/* --- finding and keeping ------------------------------------------------ */

/* Locks: needs the mutex, as all up to prefix_tree_find */
static size_t copy_known(struct prefix_tree *t, const token_id *ids, size_t n,
                         float *cache, float *losses)
{
    struct block *at = t->root, *child;
    size_t found = 0, agreed;

    while (at->n == FROZEN_BLOCK && found % FROZEN_BLOCK == 0 &&
           (child = find_child(at, ids + found, n - found, &agreed))) {
        frozen_block_load(t->f, child->states, found / FROZEN_BLOCK, cache);
        if (losses)
            memcpy(losses + found, child->losses, agreed * sizeof *losses);
        found += agreed;
        at = child;
    }
    touch(t, at);
    return found;
}

/* Returns the number of the reading that shares most with r: at least `least`
 * tokens, and half of its own, so that the wait is worth it. 0: none does. */
static uint64_t find_reading(const struct prefix_tree *t,
                             const struct prefix_reading *r, size_t least)
{
    uint64_t found = 0;

    for (const struct prefix_reading *x = t->readings; x; x = x->next) {
        size_t n = agree(x->ids, r->ids, x->n < r->n ? x->n : r->n);

        if (n >= least && 2 * n >= x->n) {
            least = n + 1;
            found = x->number;
        }
    }
    return found;
}

static bool is_reading(const struct prefix_tree *t, uint64_t number)
{
    const struct prefix_reading *x = t->readings;

    while (x && x->number != number)
        x = x->next;
    return x != NULL;
}

static void wait_for(struct prefix_tree *t, uint64_t number,
                     const struct cancel *cancel)
{
    bool cancelled = false;

    while (!cancelled && is_reading(t, number)) {
        struct timespec at = timing_deadline(CHECK_MS);

        timing_wait(&t->ended, &t->cache->mutex, &at);
        pthread_mutex_unlock(&t->cache->mutex);
        cancelled = cancel_check(cancel, NULL) != 0;
        pthread_mutex_lock(&t->cache->mutex);
    }
}

size_t prefix_tree_find(struct prefix_tree *t, struct prefix_reading *r,
                        float *cache, float *losses,
                        const struct cancel *cancel)
{
    size_t found;
    uint64_t other;

    if (!t)
        return 0;
    pthread_mutex_lock(&t->cache->mutex);
    found = copy_known(t, r->ids, r->n, cache, losses);
    other = find_reading(t, r, found + FROZEN_BLOCK);
    if (other) {
        wait_for(t, other, cancel);
        found = copy_known(t, r->ids, r->n, cache, losses);
    }
    r->number = ++t->n_readings;
    r->next = t->readings;
    t->readings = r;
    pthread_mutex_unlock(&t->cache->mutex);
    return found;
}

void prefix_tree_end(struct prefix_tree *t, struct prefix_reading *r)
{
    struct prefix_reading **at;

    if (!t || r->number == 0)
        return;
    pthread_mutex_lock(&t->cache->mutex);
    at = &t->readings;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->number = 0;
    pthread_cond_broadcast(&t->ended);
    pthread_mutex_unlock(&t->cache->mutex);
}

static void fill(struct prefix_tree *t, struct block *b, const token_id *ids,
                 size_t n, const float *cache, size_t i, const float *losses)
{
    b->n = n;
    memcpy(b->ids, ids, n * sizeof *ids);
    if (losses)
        memcpy(b->losses, losses, n * sizeof *losses);
    frozen_block_save(t->f, cache, i, b->states);
}

void prefix_tree_keep(struct prefix_tree *t, const token_id *ids, size_t n,
                      const float *cache, const float *losses)
{
    struct block *at;

    if (!t)
        return;
    pthread_mutex_lock(&t->cache->mutex);
    at = t->root;
    for (size_t i = 0; i < n; i += FROZEN_BLOCK) {
        size_t some = n - i < FROZEN_BLOCK ? n - i : FROZEN_BLOCK, agreed;
        struct block *child = find_child(at, ids + i, some, &agreed);

        if (agreed < some) {
            touch(t, at);
            if (!child || agreed < child->n) /* it has other tokens */
                child = add_child(t, at);
            if (!child)
                break;
            fill(t, child, ids + i, some, cache, i / FROZEN_BLOCK,
                 losses ? losses + i : NULL);
        }
        at = child;
    }
    touch(t, at);
    count_bytes(t->cache);
    pthread_mutex_unlock(&t->cache->mutex);
}
