/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timed table is a copy of the table in use, in which some operations are
 * replaced. So a new operation of the model works here without a change.
 */
#include "config.h"

#include "bench/timed_ops.h"

#include <string.h>

#include "base/err.h"
#include "learner/kernels/ops.h"

static const struct ops *real;
static struct ops timed;

#define TIMED(part, call)                                                      \
    do {                                                                       \
        int64_t begin = spent_begin();                                         \
        real->call;                                                            \
        spent_end(part, begin);                                                \
    } while (0)

static void linear(float *y, const float *x, const float *w, size_t n,
                   size_t in, size_t out, int accumulate)
{
    TIMED(SPENT_PRODUCTS, linear(y, x, w, n, in, out, accumulate));
}

static void linear_dx(float *dx, const float *dy, const float *w, size_t n,
                      size_t in, size_t out, int accumulate)
{
    TIMED(SPENT_PRODUCTS, linear_dx(dx, dy, w, n, in, out, accumulate));
}

static void linear_dw(float *dw, const float *dy, const float *x, size_t n,
                      size_t in, size_t out, int accumulate)
{
    TIMED(SPENT_PRODUCTS, linear_dw(dw, dy, x, n, in, out, accumulate));
}

static void rmsnorm(float *y, float *rstd, const float *x, const float *w,
                    size_t n, size_t c, float eps)
{
    TIMED(SPENT_NORMS, rmsnorm(y, rstd, x, w, n, c, eps));
}

static void rmsnorm_backward(float *dx, float *dw, const float *dy,
                             const float *x, const float *w, const float *rstd,
                             size_t n, size_t c)
{
    TIMED(SPENT_NORMS, rmsnorm_backward(dx, dw, dy, x, w, rstd, n, c));
}

static void attention(float *out, size_t o_stride, float *lse, const float *q,
                      size_t q_stride, const float *k, const float *v,
                      size_t kv_stride, size_t t, size_t past, size_t heads,
                      size_t kv_heads, size_t head_dim, float *scratch)
{
    TIMED(SPENT_ATTENTION,
          attention(out, o_stride, lse, q, q_stride, k, v, kv_stride, t, past,
                    heads, kv_heads, head_dim, scratch));
}

static void attention_backward(float *dq, float *dk, float *dv,
                               const float *dout, const float *out,
                               size_t o_stride, const float *lse,
                               const float *q, size_t q_stride, const float *k,
                               const float *v, size_t kv_stride, size_t t,
                               size_t heads, size_t kv_heads, size_t head_dim,
                               float *scratch)
{
    TIMED(SPENT_ATTENTION,
          attention_backward(dq, dk, dv, dout, out, o_stride, lse, q, q_stride,
                             k, v, kv_stride, t, heads, kv_heads, head_dim,
                             scratch));
}

static void cross_entropy(float *loss, float *logits, const token_id *target,
                          size_t n, size_t v)
{
    TIMED(SPENT_LOSS, cross_entropy(loss, logits, target, n, v));
}

static void cross_entropy_backward(float *probs, const token_id *target,
                                   const float *weight, float scale, size_t n,
                                   size_t v)
{
    TIMED(SPENT_LOSS,
          cross_entropy_backward(probs, target, weight, scale, n, v));
}

void timed_ops_on(struct spent *spent)
{
    BUG_ON(real != NULL);
    memset(spent, 0, sizeof *spent);
    real = ops_fast;
    timed = *real;
    timed.linear = linear;
    timed.linear_dx = linear_dx;
    timed.linear_dw = linear_dw;
    timed.rmsnorm = rmsnorm;
    timed.rmsnorm_backward = rmsnorm_backward;
    timed.attention = attention;
    timed.attention_backward = attention_backward;
    timed.cross_entropy = cross_entropy;
    timed.cross_entropy_backward = cross_entropy_backward;
    ops_fast = &timed;
    spent_to = spent;
}

void timed_ops_off(void)
{
    BUG_ON(real == NULL);
    ops_fast = real;
    real = NULL;
    spent_to = NULL;
}
