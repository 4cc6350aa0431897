/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frozen_private.h - weights laid out to be read: frozen_weights.c fills them,
 * frozen.c reads.
 */
#ifndef MNEME_LEARNER_INFER_FROZEN_PRIVATE_H
#define MNEME_LEARNER_INFER_FROZEN_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "learner/infer/frozen.h"
#include "learner/kernels/packed.h"

struct layer {
    float *attn_norm, *ffn_norm, *q_norm, *k_norm;
    struct packed qkv, o, gu, down;
};

struct frozen {
    const struct model *m;
    bool bytes;
    size_t c, v, hd, heads, kv_heads, f;
    size_t q, kv;            /* heads * hd, kv_heads * hd */
    size_t c_cols, hd_cols;  /* whole panels of them */
    size_t f_cols, qkv_cols; /* f_cols: where `up` begins in a row of gu */
    size_t context_cap;      /* the context in whole panels */
    struct layer *layers;
    float *norm;
    float *embed; /* [V][C]; NULL: rows of `head` */
    struct packed head;
    char *block;
    size_t n_bytes;
};

/* The next n floats of a block, on a 64-byte boundary; *used bytes go on. With
 * no block it only counts. */
static inline float *frozen_room(char *block, size_t *used, size_t n)
{
    float *p = block ? (float *)(void *)(block + *used) : NULL;

    *used += (n * sizeof *p + 63) / 64 * 64;
    return p;
}

static inline void frozen_copy(float *to, const float *from, size_t n)
{
    memcpy(to, from, n * sizeof *to);
}

#endif
