/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In each product, the floats of one side are broadcast one by one, and the
 * other side is in panels. Forward, for a block of ATTENTION_ROWS queries:
 *
 *     s = q k^T        k in columns
 *     out = p v        v in rows
 *
 * Backward, for BACKWARD_ROWS queries; the first three of these run on
 * ATTENTION_ROWS at a time:
 *
 *     s = q k^T        k in columns        dv += p^T dout   dout in rows
 *     dp = dout v^T    v in columns        dk += ds^T q     q in rows
 *     dq = ds k        k in rows
 *
 * p^T and ds^T are p and ds read down their columns. Small blocks of queries
 * avoid products with keys that none of the queries sees. dk and dv prefer
 * large blocks, since each of their sums is loaded and stored once a block.
 *
 * The sums of dk and dv stay in the scratch until all heads that share them
 * are done. Nothing of size T x T is kept: the scores are recomputed.
 */
#include "config.h"

#include "learner/kernels/attention.h"

#include <math.h>
#include <string.h>

#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/packed.h"
#include "learner/kernels/panels.h"
#include "learner/kernels/vexp.h"

#define INLINE __attribute__((always_inline)) static inline
#define BACKWARD_ROWS (4 * ATTENTION_ROWS)

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Computes r->y = r->x columns^T, for n_columns rounded up to whole panels. */
static void times_columns(const struct kernel_rows *r, const float *columns,
                          size_t hd, size_t n_columns)
{
    packed_kernels()->f32(r, &(struct kernel_panels){
                                 .w = columns,
                                 .w_stride = hd * PANEL,
                                 .in = hd,
                                 .n_panels = packed_columns(n_columns) / PANEL,
                             });
}

/* Computes r->y = r->x rows, for n_rows rows of hd floats, rounded up. */
static void times_rows(const struct kernel_rows *r, const float *rows,
                       size_t cap, size_t hd, size_t n_rows)
{
    packed_kernels()->f32(r, &(struct kernel_panels){
                                 .w = rows,
                                 .w_stride = cap * PANEL,
                                 .in = n_rows,
                                 .n_panels = packed_columns(hd) / PANEL,
                             });
}

/* Copies n rows of hd floats, multiplied by factor. */
HOT static void put_rows(float *to, size_t to_stride, const float *from,
                         size_t from_stride, size_t n, size_t hd, float factor)
{
    for (size_t i = 0; i < n; i++)
#pragma omp simd
        for (size_t j = 0; j < hd; j++)
            to[i * to_stride + j] = from[i * from_stride + j] * factor;
}

/* --- forward ------------------------------------------------------------ */

/* Returns the floats from one row of scores to the next. It is an odd number of
 * cache lines: an even one would map a column to few sets of the cache. */
static size_t score_stride(size_t n_keys)
{
    return packed_columns(n_keys) | PANEL;
}

size_t attention_scratch(size_t n_keys, size_t hd)
{
    return ATTENTION_ROWS * (score_stride(n_keys) + packed_columns(hd));
}

/* Sets the scores from n to the end of the panel, and up to `padded`, to
 * -infinity. */
INLINE void mask_scores(float *s, size_t n, size_t padded)
{
    for (size_t j = n / PANEL * PANEL; j < padded; j += PANEL) {
        int seen = j < n ? (int)(n - j) : 0;

#pragma omp simd
        for (int i = 0; i < PANEL; i++) {
            float score = s[j + (size_t)i];

            s[j + (size_t)i] = i < seen ? score : -INFINITY;
        }
    }
}

/* Returns the largest of n scores, in whole panels. It works lane by lane: GCC
 * does not vectorise a max reduction when there can be NaN. */
INLINE float largest(const float *s, size_t n)
{
    float lanes[PANEL], max = -INFINITY;

    for (size_t i = 0; i < PANEL; i++)
        lanes[i] = -INFINITY;
    for (size_t j = 0; j < n; j += PANEL)
#pragma omp simd
        for (size_t i = 0; i < PANEL; i++)
            lanes[i] = s[j + i] > lanes[i] ? s[j + i] : lanes[i];
    for (size_t i = 0; i < PANEL; i++)
        max = lanes[i] > max ? lanes[i] : max;
    return max;
}

/* The sum of a row's exponentials, as an inverse and as a logarithm. */
struct softmax_sums {
    float inverse; /* 1 / sum of the exponentials */
    float lse;
};

/*
 * Computes softmax of scale * s[0..n), without the final division. Scores from
 * n to the end of the panel that holds `padded` become 0. The loop covers whole
 * panels, since the rest of an uneven loop takes longer than a panel.
 */
HOT static struct softmax_sums exp_scores(float *s, size_t n, size_t padded,
                                          float scale)
{
    float max, sum = 0.0f;

    padded = (padded + PANEL - 1) & ~(size_t)(PANEL - 1);
    mask_scores(s, n, padded);
    max = largest(s, padded);
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < padded; j++) {
        s[j] = vexp((s[j] - max) * scale);
        sum += s[j];
    }
    return (struct softmax_sums){1.0f / sum, max * scale + logf(sum)};
}

static float scale_of(size_t hd)
{
    return 1.0f / sqrtf((float)hd);
}

void attention_attend(const struct attention_kv *kv,
                      const struct attention_queries *q, float *scratch)
{
    size_t n_keys = q->at + q->n, stride = score_stride(n_keys);
    size_t hd_cols = packed_columns(kv->hd);
    float *out = scratch, *s = out + ATTENTION_ROWS * hd_cols;
    float inverse[ATTENTION_ROWS];

    times_columns(&(struct kernel_rows){.y = s,
                                        .y_stride = stride,
                                        .x = q->q,
                                        .x_stride = q->q_stride,
                                        .x_step = 1,
                                        .n = q->n},
                  kv->keys, kv->hd, n_keys);
    for (size_t i = 0; i < q->n; i++) {
        struct softmax_sums w =
            exp_scores(s + i * stride, q->at + i + 1, n_keys, scale_of(kv->hd));

        inverse[i] = w.inverse;
        if (q->lse)
            q->lse[i] = w.lse;
    }
    times_rows(&(struct kernel_rows){.y = out,
                                     .y_stride = hd_cols,
                                     .x = s,
                                     .x_stride = stride,
                                     .x_step = 1,
                                     .n = q->n},
               kv->values, kv->cap, kv->hd, n_keys);
    for (size_t i = 0; i < q->n; i++)
        put_rows(q->out + i * q->out_stride, 0, out + i * hd_cols, 0, 1,
                 kv->hd, inverse[i]);
}

void attention_forward(float *out, size_t o_stride, float *lse, const float *q,
                       size_t q_stride, const float *k, const float *v,
                       size_t kv_stride, size_t t, size_t past, size_t heads,
                       size_t kv_heads, size_t head_dim, float *scratch)
{
    size_t cap = packed_columns(past + t), group = heads / kv_heads;
    float *keys = scratch, *values = keys + cap * head_dim;
    struct attention_kv kv = {keys, values, cap, head_dim};

    scratch = values + cap * packed_columns(head_dim);
    for (size_t h = 0; h < heads; h++) {
        size_t at = h * head_dim, from = h / group * head_dim;

        if (h % group == 0) {
            panels_lay_columns(keys, head_dim, 0, k + from, kv_stride,
                                  past + t);
            panels_lay_rows(values, cap, head_dim, 0, v + from, kv_stride,
                               past + t);
        }
        for (size_t i = 0; i < t; i += ATTENTION_ROWS)
            attention_attend(
                &kv,
                &(struct attention_queries){.q = q + i * q_stride + at,
                                            .q_stride = q_stride,
                                            .out = out + i * o_stride + at,
                                            .out_stride = o_stride,
                                            .lse = lse + h * t + i,
                                            .at = past + i,
                                            .n = least(ATTENTION_ROWS, t - i)},
                scratch);
    }
}

/* --- backward ----------------------------------------------------------- */

/* The buffers of one key/value head in the backward pass. cap is t in whole
 * panels. */
struct backward {
    size_t t, cap, hd, hd_cols;
    float *k_columns, *v_columns; /* [cap / PANEL][hd][PANEL] */
    float *k_rows, *q_rows, *dout_rows; /* [hd_cols / PANEL][cap][PANEL] */
    float *dk, *dv;                     /* [t][hd_cols] sums */
    float *dq;                          /* [ATTENTION_ROWS][hd_cols] */
    float *p, *ds;                      /* [BACKWARD_ROWS][score_stride(t)] */
};

/* The queries of one head, with their gradients, outputs and log-sum-exps. */
struct backward_queries {
    float *dq;
    const float *dout, *out, *lse, *q;
    size_t o_stride, q_stride;
};

/* Sets the pointers into the block and returns its size in floats. Without a
 * block it only counts. */
static size_t lay_out_backward(struct backward *b, size_t t, size_t hd,
                               float *block)
{
    size_t cap = packed_columns(t), hd_cols = packed_columns(hd), used = 0;

    *b = (struct backward){.t = t, .cap = cap, .hd = hd, .hd_cols = hd_cols};
    b->k_columns = block_alloc(block, &used, cap * hd);
    b->v_columns = block_alloc(block, &used, cap * hd);
    b->k_rows = block_alloc(block, &used, cap * hd_cols);
    b->q_rows = block_alloc(block, &used, cap * hd_cols);
    b->dout_rows = block_alloc(block, &used, cap * hd_cols);
    b->dk = block_alloc(block, &used, t * hd_cols);
    b->dv = block_alloc(block, &used, t * hd_cols);
    b->dq = block_alloc(block, &used, ATTENTION_ROWS * hd_cols);
    b->p = block_alloc(block, &used, BACKWARD_ROWS * score_stride(t));
    b->ds = block_alloc(block, &used, BACKWARD_ROWS * score_stride(t));
    return used;
}

size_t ops_attention_scratch(size_t t, size_t head_dim)
{
    struct backward b;

    /* The forward pass needs less than the backward pass. */
    return lay_out_backward(&b, t, head_dim, NULL);
}

/* Turns s into p = exp(scale s - lse), and dp into ds = p (dp - od). p is 0
 * from n to the end of the panel that holds `padded`. */
HOT static void exp_scores_backward(float *s, float *dp, float scale, float lse,
                                    float od, size_t n, size_t padded)
{
    padded = (padded + PANEL - 1) & ~(size_t)(PANEL - 1);
    mask_scores(s, n, padded);
#pragma omp simd
    for (size_t j = 0; j < padded; j++) {
        float p = vexp(s[j] * scale - lse);

        s[j] = p;
        dp[j] = p * (dp[j] - od);
    }
}

HOT static float dot(const float *a, const float *b, size_t n)
{
    float sum = 0.0f;

#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++)
        sum += a[j] * b[j];
    return sum;
}

/* Computes p, ds and dq of queries [i, i + n). p and ds point to the first
 * query's row. */
static void backward_queries(const struct backward *b,
                             const struct backward_queries *q, size_t i,
                             size_t n, float *p, float *ds)
{
    size_t n_keys = i + n, stride = score_stride(b->t);
    const float *dout = q->dout + i * q->o_stride;
    const float *out = q->out + i * q->o_stride;
    struct kernel_rows r = {.y = p,
                            .y_stride = stride,
                            .x = q->q + i * q->q_stride,
                            .x_stride = q->q_stride,
                            .x_step = 1,
                            .n = n};

    times_columns(&r, b->k_columns, b->hd, n_keys);
    r.y = ds;
    r.x = dout;
    r.x_stride = q->o_stride;
    times_columns(&r, b->v_columns, b->hd, n_keys);
    for (size_t j = 0; j < n; j++)
        exp_scores_backward(
            p + j * stride, ds + j * stride, scale_of(b->hd), q->lse[i + j],
            dot(dout + j * q->o_stride, out + j * q->o_stride, b->hd),
            i + j + 1, n_keys);
    r.y = b->dq;
    r.y_stride = b->hd_cols;
    r.x = ds;
    r.x_stride = stride;
    times_rows(&r, b->k_rows, b->cap, b->hd, n_keys);
    put_rows(q->dq + i * q->q_stride, q->q_stride, b->dq, b->hd_cols, n, b->hd,
             scale_of(b->hd));
}

/*
 * Adds x^T rows to y, [t][hd_cols], for queries [i, i + n). x is p or ds, from
 * the first query's row on. Keys that only some of these queries see are added
 * in groups of ATTENTION_ROWS, each from its first such query on.
 */
static void backward_keys(const struct backward *b, float *y, const float *x,
                          const float *rows, size_t i, size_t n)
{
    size_t stride = score_stride(b->t);
    struct kernel_rows r = {.y = y,
                            .y_stride = b->hd_cols,
                            .x = x,
                            .x_stride = 1,
                            .x_step = stride,
                            .n = i,
                            .accumulate = true};

    times_rows(&r, rows + i * PANEL, b->cap, b->hd, n);
    for (size_t j = 0; j < n; j += ATTENTION_ROWS) {
        r.y = y + (i + j) * b->hd_cols;
        r.x = x + j * stride + i + j;
        r.n = least(ATTENTION_ROWS, n - j);
        times_rows(&r, rows + (i + j) * PANEL, b->cap, b->hd, n - j);
    }
}

static void backward_head(const struct backward *b,
                          const struct backward_queries *q)
{
    size_t stride = score_stride(b->t);

    panels_lay_rows(b->q_rows, b->cap, b->hd, 0, q->q, q->q_stride, b->t);
    panels_lay_rows(b->dout_rows, b->cap, b->hd, 0, q->dout, q->o_stride,
                       b->t);
    for (size_t i = 0; i < b->t; i += BACKWARD_ROWS) {
        size_t n = least(BACKWARD_ROWS, b->t - i);

        for (size_t j = 0; j < n; j += ATTENTION_ROWS)
            backward_queries(b, q, i + j, least(ATTENTION_ROWS, n - j),
                             b->p + j * stride, b->ds + j * stride);
        backward_keys(b, b->dv, b->p, b->dout_rows, i, n);
        backward_keys(b, b->dk, b->ds, b->q_rows, i, n);
    }
}

void attention_backward(float *dq, float *dk, float *dv, const float *dout,
                        const float *out, size_t o_stride, const float *lse,
                        const float *q, size_t q_stride, const float *k,
                        const float *v, size_t kv_stride, size_t t,
                        size_t heads, size_t kv_heads, size_t head_dim,
                        float *scratch)
{
    size_t group = heads / kv_heads, hd = head_dim;
    struct backward b;

    lay_out_backward(&b, t, hd, scratch);
    for (size_t h = 0; h < kv_heads; h++) {
        size_t kv = h * hd;

        panels_lay_columns(b.k_columns, hd, 0, k + kv, kv_stride, t);
        panels_lay_columns(b.v_columns, hd, 0, v + kv, kv_stride, t);
        panels_lay_rows(b.k_rows, b.cap, hd, 0, k + kv, kv_stride, t);
        memset(b.dk, 0, t * b.hd_cols * sizeof *b.dk);
        memset(b.dv, 0, t * b.hd_cols * sizeof *b.dv);
        for (size_t g = h * group; g < (h + 1) * group; g++)
            backward_head(&b, &(struct backward_queries){.dq = dq + g * hd,
                                                         .dout = dout + g * hd,
                                                         .out = out + g * hd,
                                                         .lse = lse + g * t,
                                                         .q = q + g * hd,
                                                         .o_stride = o_stride,
                                                         .q_stride = q_stride});
        put_rows(dk + kv, kv_stride, b.dk, b.hd_cols, t, hd, scale_of(hd));
        put_rows(dv + kv, kv_stride, b.dv, b.hd_cols, t, hd, 1.0f);
    }
}
