/* SPDX-License-Identifier: Apache-2.0 */
/*
 * current.h - counted references to the serving version and older versions.
 *
 * One object is current: that of the serving version. A reader gets a reference
 * and keeps it while it answers, even if another object becomes current. The
 * few older objects that were used last are kept, so that a request for an
 * older version need not load it again. An object is opaque and never changes.
 * When it is no longer kept, putting its last reference frees it.
 *
 *     loaded --current_swap--> CURRENT --swapped out--> KEPT --evicted,
 *        \                       ^-----current_choose---/^    current_retain
 *         \-------------current_keep---------------------+        |
 *                                                                 v
 *                                     freed <--last current_put-- RETIRED
 *
 * A swap exchanges a pointer under a mutex. No thread holds this mutex for
 * longer than a loop over a few entries: microseconds. The thread that puts the
 * last reference frees the object, after it has unlocked the mutex.
 *
 * Owner:   the struct current owns the objects that it gets
 * Threads: any; one thread creates and frees
 */
#ifndef MNEME_STORE_CURRENT_H
#define MNEME_STORE_CURRENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct current; /* fields are in current.c */

/*
 *   free_object  called without the mutex
 *   n_kept       how many unused objects are kept besides the current one
 */
struct current *current_create(void (*free_object)(void *object),
                               size_t n_kept);

/* Frees every object. All references must have been put (BUG). */
void current_free(struct current *c);

/* Makes object the current one, with this version number (above 0). Retires an
 * older object of the same number. */
void current_swap(struct current *c, int64_t version, void *object);

/* Makes a kept object the current one; false when it is not kept. */
bool current_choose(struct current *c, int64_t version);

/*
 * Returns a reference to the object of a version (0: the current one), or NULL
 * when it is not kept.
 *   *got  the number of the version; may be NULL
 */
const void *current_get(struct current *c, int64_t version, int64_t *got);

/* Keeps a newly loaded object and returns a reference to it. If another thread
 * has added this version first, frees `object` and returns the other one. */
const void *current_keep(struct current *c, int64_t version, void *object);

/* Puts a reference of current_get or current_keep. NULL is fine. */
void current_put(struct current *c, const void *object);

/* Retires all versions but these (ascending) and the current one. For use after
 * retention has removed versions. */
void current_retain(struct current *c, const int64_t *versions, size_t n);

#endif
