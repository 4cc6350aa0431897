/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row.h - one stored segment, with everything it points to, in one block.
 *
 * Owner:   the caller of row_copy; free() frees all of it
 * Threads: any, never changes
 */
#ifndef MNEME_REPLAY_ROW_H
#define MNEME_REPLAY_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "base/segment.h"

struct row {
    int64_t key;
    struct segment segment;       /* points into the block */
    struct segment_origin origin; /* its id is in the block, too */
    double nats;                  /* loss when it was learned or held out */
    size_t n_bytes;               /* size of the block */
};

/* Copies a segment. Its pointers need no alignment: they may come from
 * SQLite. */
struct row *row_copy(int64_t key, const struct segment *s,
                     const struct segment_origin *origin, double nats);

/* Returns the bytes of the tokens as a table holds them: 2 bytes an id if all
 * ids of the segment are below 65,536, else 4. So the rows of a vocabulary of
 * up to 65,536 ids always have 2. */
size_t row_stored_token_bytes(const struct segment *s);

/* Returns the tokens in that form, for free(). NULL without tokens. */
void *row_store_tokens(const struct segment *s, size_t *n_bytes);

/* Reads what row_store_tokens made of n_tokens targets; the caller calls
 * free(). NULL when n_bytes is of neither width. `stored` may be unaligned. */
token_id *row_load_tokens(const void *stored, size_t n_bytes,
                          uint32_t n_tokens);

/* Returns the XXH3 of everything but the loss, on which nothing depends, and
 * the n-gram hashes, which are not stored but made from the text. */
uint64_t row_checksum(const struct row *row);

#endif
