/* SPDX-License-Identifier: Apache-2.0 */
/*
 * current.h - the counted reference to the version in service.
 *
 * One object is current; readers take a reference to it and keep it as long as
 * they answer, whatever is swapped in meanwhile. Besides it the few objects
 * that were used last are kept, so that a request that names an older version
 * need not load it again. The object itself is opaque and never changes; the
 * last reference to one that is no longer kept frees it.
 *
 *     loaded --current_swap--> CURRENT --swapped out--> KEPT --evicted,
 *        \                       ^-----current_choose---/^    current_retain
 *         \-------------current_keep---------------------+        |
 *                                                                 v
 *                                     freed <--last current_put-- RETIRED
 *
 * A swap exchanges a pointer under a mutex that nobody holds for longer than a
 * walk over a handful of entries: microseconds. Objects are freed outside it,
 * on the thread that gave the last reference back.
 *
 * Owner:   what is swapped in or kept belongs to the struct current
 * Threads: any; create and free by one
 */
#ifndef MNEME_STORE_CURRENT_H
#define MNEME_STORE_CURRENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct current; /* fields are in current.c */

/* free_object runs without the lock; n_kept: how many besides the current
 * one are kept when nobody holds them (0: none). */
struct current *current_create(void (*free_object)(void *object),
                               size_t n_kept);

/* Frees every object; a reference that is still out is a BUG. */
void current_free(struct current *c);

/* Makes object the current one, under this version number (above 0). An entry
 * of that number from before is retired. */
void current_swap(struct current *c, int64_t version, void *object);

/* Makes an object that is kept the current one; false when it is not here. */
bool current_choose(struct current *c, int64_t version);

/*
 * A reference to the object of a version, 0 for the current one, or NULL when
 * it is not here.
 *   *got  its number; may be NULL
 */
const void *current_get(struct current *c, int64_t version, int64_t *got);

/* Keeps a freshly loaded object and returns a reference to it. When another
 * thread was first with this version, ours is freed and theirs returned. */
const void *current_keep(struct current *c, int64_t version, void *object);

/* Gives a reference back: what current_get or current_keep returned. NULL is
 * fine. */
void current_put(struct current *c, const void *object);

/* Only these versions (ascending) are to be found from now on, the others were
 * pruned: freed at their last put. The current one stays. */
void current_retain(struct current *c, const int64_t *versions, size_t n);

#endif
