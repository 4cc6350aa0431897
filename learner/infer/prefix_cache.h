/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefix_cache.h - the keys and values of prompts that were read before.
 *
 * Many prompts begin alike: a system prompt, or a chat that has grown by a
 * turn. The cache keeps the keys and values of windows of tokens in blocks of
 * FROZEN_BLOCK. A generation copies those of the longest beginning that it
 * shares with a kept window, and reads only the rest. The copies are the same to
 * the bit as keys and values that are computed again, so no answer depends on
 * what the cache holds.
 *
 * Tokens are found by comparing all their ids. There is no hash.
 *
 * One cache serves all versions of a daemon and bounds the memory of all
 * together. Each struct infer has a tree of its own in it, so that keys and
 * values of versions never mix. Of all trees, the block that was not used for
 * the longest time goes first.
 *
 * Two generations that read the same new prompt at the same time both compute
 * it.
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

/*
 * Copies what is known of the longest beginning of ids that was kept.
 *   t       NULL: nothing was kept
 *   cache   float[frozen_cache_floats] out
 *   losses  float[n] out: losses[i] is -ln p(ids[i]) given the ids before it,
 *           for 0 < i < the returned number; NULL: not wanted
 *   returns the number of its tokens
 */
size_t prefix_tree_find(struct prefix_tree *t, const token_id *ids, size_t n,
                        float *cache, float *losses);

/*
 * Keeps the keys and values of n tokens that were read, as far as there is room.
 *   losses  as above; always NULL, or never
 */
void prefix_tree_keep(struct prefix_tree *t, const token_id *ids, size_t n,
                      const float *cache, const float *losses);

#endif
