/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h - a ragged batch: segments one after another, without padding.
 *
 * Owner:   the caller; batch_release frees what batch_add allocated
 * Threads: one at a time
 */
#ifndef MNEME_LEARNER_BATCH_H
#define MNEME_LEARNER_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/segment.h"

struct batch {
    size_t n_tokens; /* N */
    size_t n_segments;
    token_id *inputs;  /* [N] */
    token_id *targets; /* [N] */
    uint8_t *counted;  /* [N] 1: has a loss; 0: masked */
    uint32_t *starts;  /* [n_segments + 1] first token of each; the last is N */
    size_t cap_tokens, cap_segments;
};

void batch_add(struct batch *b, const struct segment *s);
void batch_clear(struct batch *b);
void batch_release(struct batch *b);

#endif
