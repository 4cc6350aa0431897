/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.h - sets of offsets, as ranges by partition.
 *
 * Settled means ascending, disjoint, neighbours joined: then ranges_have is a
 * search by halves.
 *
 * Owner:   the struct owns its array
 * Threads: any
 */
#ifndef MNEME_STORE_RANGES_H
#define MNEME_STORE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/catalog.h"

struct ranges {
    struct catalog_range *items;
    size_t n, cap;
};

void ranges_release(struct ranges *r);

/* Not settled afterwards. */
void ranges_add(struct ranges *r, int32_t partition_id, int64_t first_offset,
                int64_t last_offset);

/* Settles an array of n; returns how many it is now. */
size_t ranges_settle(struct catalog_range *items, size_t n);

/* Is the offset in the settled array? */
bool ranges_have(const struct catalog_range *items, size_t n,
                 int32_t partition_id, int64_t offset);

/* Does any of first to last lie in it? */
bool ranges_meet(const struct catalog_range *items, size_t n,
                 int32_t partition_id, int64_t first_offset,
                 int64_t last_offset);

#endif
