/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefix_cache.h - the keys and values of prompts that were read before.
 *
 * Many prompts begin alike: a system prompt, or a chat that has grown by a
 * turn. The cache keeps the keys and values of windows of tokens in blocks of
 * FROZEN_BLOCK. A generation copies those of the longest beginning that it
 * shares with a kept window, and reads only the rest. The copies are the same
 * to the bit as keys and values that are computed again, so no answer depends
 * on what the cache holds.
 *
 * Tokens are found by comparing all their ids. There is no hash.
 *
 * One cache serves all versions of a daemon and bounds the memory of all
 * together. Each struct infer has a tree of its own in it, so that keys and
 * values of versions never mix. Of all trees, the block that was not used for
 * the longest time goes first.
 *
 * A generation that finds another one reading the same new beginning waits for
 * it, once, and then has it from the cache.
 *
 * Owner:   a cache outlives its trees, and a tree its generations
 * Threads: any
 */
#ifndef MNEME_LEARNER_INFER_PREFIX_CACHE_H
#define MNEME_LEARNER_INFER_PREFIX_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "learner/infer/frozen.h"
#include "learner/infer/infer.h"

struct prefix_tree; /* fields are in prefix_cache.c, as those of the cache */

/* Returns NULL when c is NULL. `f` outlives the tree. */
struct prefix_tree *prefix_tree_create(struct prefix_cache *c,
                                       const struct frozen *f);
void prefix_tree_free(struct prefix_tree *t);

/* A window that a generation begins to read. The caller sets the first two. */
struct prefix_reading {
    const token_id *ids; /* [n], which must stay until prefix_tree_end */
    size_t n;
    uint64_t number; /* of the tree's readings; 0: ended */
    struct prefix_reading *next;
};

/*
 * Copies what is known of the longest beginning of r that was kept. If another
 * reading has at least FROZEN_BLOCK tokens more of r, and they are half of its
 * own, waits until it has ended. Then others may wait for r.
 *   t       NULL: nothing was kept
 *   cache   float[frozen_cache_floats] out
 *   losses  float[n] out: losses[i] is -ln p(ids[i]) given the ids before it,
 *           for 0 < i < the returned number; NULL: not wanted
 *   cancel  ends the wait, but is no error; may be NULL
 *   returns the number of its tokens
 */
size_t prefix_tree_find(struct prefix_tree *t, struct prefix_reading *r,
                        float *cache, float *losses,
                        const struct cancel *cancel);

/* Nobody waits for r any longer. Does nothing for one that has not begun, or
 * has ended. */
void prefix_tree_end(struct prefix_tree *t, struct prefix_reading *r);

/*
 * Keeps the keys and values of n tokens that were read, as far as there is
 * room.
 *   losses  as above; always NULL, or never
 */
void prefix_tree_keep(struct prefix_tree *t, const token_id *ids, size_t n,
                      const float *cache, const float *losses);

#endif
