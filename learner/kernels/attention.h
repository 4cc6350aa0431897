/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.h - causal attention on the kernels of kernels.h.
 *
 * Keys and values of a head are laid out in panels (panels.h). Padding behind
 * the last row, and columns of zero weight, may hold any numbers.
 *
 * The result for a query does not depend on how many queries go together.
 *
 * Threads: any; packed_kernels() chooses the kernels
 */
#ifndef MNEME_LEARNER_KERNELS_ATTENTION_H
#define MNEME_LEARNER_KERNELS_ATTENTION_H

#include <stddef.h>

#define ATTENTION_ROWS 12 /* queries computed together */

/* The keys and values of one key/value head. */
struct attention_kv {
    const float *keys;   /* in columns (panels.h) */
    const float *values; /* in rows (panels.h) */
    size_t cap, hd;
};

/* Up to ATTENTION_ROWS queries of one head. Query i sees keys 0 to at + i. */
struct attention_queries {
    const float *q;
    size_t q_stride;
    float *out;
    size_t out_stride;
    float *lse; /* log-sum-exp of each query's scores; NULL: not wanted */
    size_t at, n;
};

/* scratch: float[attention_scratch(at + n, hd)] */
void attention_attend(const struct attention_kv *kv,
                      const struct attention_queries *q, float *scratch);
size_t attention_scratch(size_t n_keys, size_t hd);

/* Implement the attention functions of ops.h, which documents them. */
void attention_forward(float *out, size_t o_stride, float *lse, const float *q,
                       size_t q_stride, const float *k, const float *v,
                       size_t kv_stride, size_t t, size_t past, size_t heads,
                       size_t kv_heads, size_t head_dim, float *scratch);
void attention_backward(float *dq, float *dk, float *dv, const float *dout,
                        const float *out, size_t o_stride, const float *lse,
                        const float *q, size_t q_stride, const float *k,
                        const float *v, size_t kv_stride, size_t t,
                        size_t heads, size_t kv_heads, size_t head_dim,
                        float *scratch);

#endif
