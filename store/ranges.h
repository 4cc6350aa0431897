/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.h - sets of offsets, as ranges by partition.
 *
 * Normalized ranges are ascending and disjoint, and adjacent ranges are merged.
 * ranges_have and ranges_meet search them by bisection.
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

/* Adds a range; the ranges are not normalized after that. */
void ranges_add(struct ranges *r, int32_t partition_id, int64_t first_offset,
                int64_t last_offset);

/* Normalizes an array of n ranges. Returns the new number of ranges. */
size_t ranges_normalize(struct catalog_range *items, size_t n);

/* Is the offset in the normalized ranges? */
bool ranges_have(const struct catalog_range *items, size_t n,
                 int32_t partition_id, int64_t offset);

/* Is any offset from first_offset to last_offset in the normalized ranges? */
bool ranges_meet(const struct catalog_range *items, size_t n,
                 int32_t partition_id, int64_t first_offset,
                 int64_t last_offset);

#endif
