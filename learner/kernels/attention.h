/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.h - causal attention on the kernels of kernels.h.
 *
 * Keys and values of a head are laid out in panels (panels.h). Columns of zero
 * weight, and what lies behind the last row, may be anything.
 *
 * A query's numbers do not depend on how many go together.
 *
 * Threads: any; which kernels is packed_kernels()'s answer
 */
#ifndef MNEME_LEARNER_KERNELS_ATTENTION_H
#define MNEME_LEARNER_KERNELS_ATTENTION_H

#include <stddef.h>

#define ATTENTION_ROWS 12 /* queries that go together */

/* What a key/value head has for its queries. */
struct attention_kv {
    const float *keys;   /* columns */
    const float *values; /* rows */
    size_t cap, hd;
};

/* Up to ATTENTION_ROWS queries of one head: number i sees the keys 0 to
 * at + i. */
struct attention_queries {
    const float *q;
    size_t q_stride;
    float *out;
    size_t out_stride;
    float *lse; /* log-sum-exp of each one's scores; NULL: not wanted */
    size_t at, n;
};

/* scratch: float[attention_scratch(at + n, hd)] */
void attention_attend(const struct attention_kv *kv,
                      const struct attention_queries *q, float *scratch);
size_t attention_scratch(size_t n_keys, size_t hd);

/* These two are ops.h's, which says what they do. */
void attention_there(float *out, size_t o_stride, float *lse, const float *q,
                     size_t q_stride, const float *k, const float *v,
                     size_t kv_stride, size_t t, size_t past, size_t heads,
                     size_t kv_heads, size_t head_dim, float *scratch);
void attention_back(float *dq, float *dk, float *dv, const float *dout,
                    const float *out, size_t o_stride, const float *lse,
                    const float *q, size_t q_stride, const float *k,
                    const float *v, size_t kv_stride, size_t t, size_t heads,
                    size_t kv_heads, size_t head_dim, float *scratch);

#endif
