/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

void ranges_release(struct ranges *r)
{
    free(r->items);
    memset(r, 0, sizeof *r);
}

void ranges_add(struct ranges *r, int32_t partition_id, int64_t first_offset,
                int64_t last_offset)
{
    XGROW(r->items, r->n, r->cap);
    r->items[r->n++] =
        (struct catalog_range){partition_id, first_offset, last_offset};
}

static int compare(const void *a, const void *b)
{
    const struct catalog_range *x = a, *y = b;

    if (x->partition_id != y->partition_id)
        return (x->partition_id > y->partition_id) -
               (x->partition_id < y->partition_id);
    return (x->first_offset > y->first_offset) -
           (x->first_offset < y->first_offset);
}

size_t ranges_normalize(struct catalog_range *items, size_t n)
{
    size_t kept = 0;

    if (n == 0)
        return 0;
    qsort(items, n, sizeof *items, compare);
    for (size_t i = 1; i < n; i++) {
        struct catalog_range *last = &items[kept];

        if (items[i].partition_id == last->partition_id &&
            items[i].first_offset - 1 <= last->last_offset) {
            if (items[i].last_offset > last->last_offset)
                last->last_offset = items[i].last_offset;
        } else {
            items[++kept] = items[i];
        }
    }
    return kept + 1;
}

bool ranges_meet(const struct catalog_range *items, size_t n,
                 int32_t partition_id, int64_t first_offset,
                 int64_t last_offset)
{
    size_t low = 0, high = n;

    /* Finds the first range that does not end before first_offset. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct catalog_range *r = &items[middle];

        if (r->partition_id < partition_id ||
            (r->partition_id == partition_id &&
             r->last_offset < first_offset))
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && items[low].partition_id == partition_id &&
           items[low].first_offset <= last_offset;
}

bool ranges_have(const struct catalog_range *items, size_t n,
                 int32_t partition_id, int64_t offset)
{
    return ranges_meet(items, n, partition_id, offset, offset);
}
