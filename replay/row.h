/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row.h - one kept segment, with all it points to, in one block of memory.
 *
 * Owner:   whoever copied it; free() releases it whole
 * Threads: any, immutable
 */
#ifndef MNEME_REPLAY_ROW_H
#define MNEME_REPLAY_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "base/segment.h"

struct row {
    int64_t key;
    struct segment segment;       /* points into the block */
    struct segment_origin origin; /* its id too */
    double nats;                  /* loss when it was new */
    size_t n_bytes;               /* of the block */
};

/* segment's pointers need no alignment: they may come from a database. */
struct row *row_copy(int64_t key, const struct segment *s,
                     const struct segment_origin *origin, double nats);

/* XXH3 of everything but the loss, which nothing depends on, and the hashes,
 * which follow from the text and are not stored. */
uint64_t row_checksum(const struct row *row);

#endif
