/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few entries in an array under one mutex. An entry is freed when it has no
 * references and is not wanted. An entry is wanted until it is retired,
 * replaced or surplus: n_kept unused entries were used later, and it is not
 * current. A call removes such entries from the array, and frees their objects
 * after it has unlocked the mutex.
 *
 * Invariants, when the mutex is unlocked:
 *  1. At most one wanted entry has a given version.
 *  2. An entry that is not wanted has references.
 */
#include "config.h"

#include "store/current.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/xalloc.h"

struct entry {
    int64_t version;
    void *object;
    int64_t references;
    uint64_t used; /* the value of the counter `uses` at the last use */
    bool wanted;
};

struct current {
    pthread_mutex_t mutex;
    void (*free_object)(void *object);
    size_t n_kept;
    struct entry *entries;
    size_t n, cap;
    uint64_t uses;
    int64_t version; /* of the current entry; 0: none */
};

struct current *current_create(void (*free_object)(void *object), size_t n_kept)
{
    struct current *c = xcalloc(1, sizeof *c);

    pthread_mutex_init(&c->mutex, NULL);
    c->free_object = free_object;
    c->n_kept = n_kept;
    return c;
}

void current_free(struct current *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        if (c->entries[i].references)
            BUG("version %lld is still in use",
                (long long)c->entries[i].version);
        c->free_object(c->entries[i].object);
    }
    free(c->entries);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

/* Finds the wanted entry of a version. Locks: this and the next functions need
 * c->mutex. */
static struct entry *find(struct current *c, int64_t version)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->entries[i].wanted && c->entries[i].version == version)
            return &c->entries[i];
    return NULL;
}

static struct entry *add(struct current *c, int64_t version, void *object)
{
    struct entry *e;

    XGROW(c->entries, c->n, c->cap);
    e = &c->entries[c->n++];
    *e = (struct entry){.version = version,
                        .object = object,
                        .used = ++c->uses,
                        .wanted = true};
    return e;
}

/* If more than n_kept wanted entries are unused and not current, returns the
 * one that was used longest ago. */
static struct entry *surplus(struct current *c)
{
    struct entry *oldest = NULL;
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++) {
        struct entry *e = &c->entries[i];

        if (!e->wanted || e->references || e->version == c->version)
            continue;
        n++;
        if (!oldest || e->used < oldest->used)
            oldest = e;
    }
    return n > c->n_kept ? oldest : NULL;
}

/* Removes entries from the array whose objects must be freed. Returns these *n
 * objects in an array. */
static void **remove_unwanted(struct current *c, size_t *n)
{
    struct entry *e;
    void **objects = NULL;
    size_t kept = 0;

    while ((e = surplus(c)))
        e->wanted = false;
    *n = 0;
    for (size_t i = 0; i < c->n; i++) {
        e = &c->entries[i];
        if (e->wanted || e->references) {
            c->entries[kept++] = *e;
            continue;
        }
        objects = xreallocarray(objects, *n + 1, sizeof *objects);
        objects[(*n)++] = e->object;
    }
    c->n = kept;
    return objects;
}

/* Ends a call: removes unwanted entries, unlocks, and frees their objects. */
static void unlock_and_free(struct current *c)
{
    size_t n;
    void **objects = remove_unwanted(c, &n);

    pthread_mutex_unlock(&c->mutex);
    for (size_t i = 0; i < n; i++)
        c->free_object(objects[i]);
    free(objects);
}

/* Counts as a use of the current entry, so that it is kept when another entry
 * becomes current: most requests for older versions are for this one. */
static void use_current(struct current *c)
{
    struct entry *e = find(c, c->version);

    if (e)
        e->used = ++c->uses;
}

void current_swap(struct current *c, int64_t version, void *object)
{
    struct entry *old;

    BUG_ON(version <= 0 || !object);
    pthread_mutex_lock(&c->mutex);
    use_current(c);
    old = find(c, version);
    if (old)
        old->wanted = false;
    add(c, version, object);
    c->version = version;
    unlock_and_free(c);
}

bool current_choose(struct current *c, int64_t version)
{
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    e = find(c, version);
    if (e) {
        use_current(c);
        c->version = version;
    }
    unlock_and_free(c);
    return e != NULL;
}

const void *current_get(struct current *c, int64_t version, int64_t *got)
{
    const void *object = NULL;
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    e = find(c, version ? version : c->version);
    if (e) {
        e->references++;
        e->used = ++c->uses;
        object = e->object;
        if (got)
            *got = e->version;
    }
    pthread_mutex_unlock(&c->mutex);
    return object;
}

const void *current_keep(struct current *c, int64_t version, void *object)
{
    void *unused = object;
    struct entry *e;

    BUG_ON(version <= 0 || !object);
    pthread_mutex_lock(&c->mutex);
    e = find(c, version);
    if (!e) {
        e = add(c, version, object);
        unused = NULL;
    }
    e->references++;
    e->used = ++c->uses;
    object = e->object;
    unlock_and_free(c);
    if (unused)
        c->free_object(unused);
    return object;
}

void current_put(struct current *c, const void *object)
{
    if (!object)
        return;
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->n; i++) {
        struct entry *e = &c->entries[i];

        if (e->object != object)
            continue;
        BUG_ON(e->references == 0);
        e->references--;
        unlock_and_free(c);
        return;
    }
    BUG("current_put of an object that current_get did not return");
}

static int compare_versions(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void current_retain(struct current *c, const int64_t *versions, size_t n)
{
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->n; i++) {
        struct entry *e = &c->entries[i];

        if (e->version != c->version &&
            (n == 0 || !bsearch(&e->version, versions, n, sizeof *versions,
                                compare_versions)))
            e->wanted = false;
    }
    unlock_and_free(c);
}
