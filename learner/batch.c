/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static void grow(struct batch *b, size_t n_tokens, size_t n_segments)
{
    if (n_tokens > b->cap_tokens) {
        size_t cap = n_tokens + n_tokens / 2;

        b->inputs = xreallocarray(b->inputs, cap, sizeof *b->inputs);
        b->targets = xreallocarray(b->targets, cap, sizeof *b->targets);
        b->counted = xreallocarray(b->counted, cap, sizeof *b->counted);
        b->cap_tokens = cap;
    }
    if (n_segments > b->cap_segments) {
        size_t cap = n_segments + n_segments / 2;

        b->starts = xreallocarray(b->starts, cap + 1, sizeof *b->starts);
        b->cap_segments = cap;
    }
}

void batch_add(struct batch *b, const struct segment *s)
{
    size_t at = b->n_tokens, n = s->n_tokens;

    grow(b, at + n, b->n_segments + 1);
    memcpy(b->inputs + at, s->tokens, n * sizeof *b->inputs);
    memcpy(b->targets + at, s->tokens + 1, n * sizeof *b->targets);
    for (size_t i = 0; i < n; i++)
        b->counted[at + i] = i >= s->n_masked;
    b->starts[b->n_segments] = (uint32_t)at;
    b->n_segments++;
    b->n_tokens += n;
    b->starts[b->n_segments] = (uint32_t)b->n_tokens;
}

void batch_clear(struct batch *b)
{
    b->n_tokens = 0;
    b->n_segments = 0;
}

void batch_release(struct batch *b)
{
    free(b->inputs);
    free(b->targets);
    free(b->counted);
    free(b->starts);
    memset(b, 0, sizeof *b);
}
