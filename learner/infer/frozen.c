/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A forward pass goes layer by layer, and in a layer BLOCK rows at a time:
 *
 *     normed -> qkv, whose keys and values go to the cache -> att, from the
 *     cache -> residual;  normed -> gu -> act -> residual
 *
 * Attention uses the kernels of the other products. For each key/value head
 * the cache is two matrices in panels (attention.h), with room for `cap`
 * tokens, a multiple of PANEL: keys in columns, values in rows.
 *
 * A generation's cache has such a pair for each layer. Reading a batch needs
 * the cache of one layer at a time, with a span for each segment.
 *
 * Rows that a product writes are padded to whole panels of columns.
 *
 * All weights of a version are one block: for each layer its matrices in
 * panels, then its norms and biases; at the end the last norm, the output
 * layer, and the embedding if the output layer cannot serve as one.
 */
#include "config.h"

#include "learner/infer/frozen.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/attention.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/packed.h"
#include "learner/kernels/panels.h"
#include "learner/kernels/vexp.h"

#define BLOCK 48
#define HEAD_COLUMNS 1024 /* logits computed at a time */

static_assert(FROZEN_BLOCK == PANEL, "a block has whole panels of keys");

struct layer {
    float *attn_norm, *ffn_norm, *q_norm, *k_norm;
    float *qkv_bias, *o_bias; /* NULL: none */
    struct packed qkv, o, gu, down;
};

struct frozen {
    const struct model *m;
    bool bytes;
    size_t c, v, hd, heads, kv_heads, f;
    size_t q, kv;            /* heads * hd, kv_heads * hd */
    size_t c_cols, hd_cols;  /* c and hd, rounded up to whole panels */
    size_t f_cols, qkv_cols; /* f_cols: index of `up` in a row of gu */
    size_t context_cap;      /* the context, rounded up to whole panels */
    struct layer *layers;
    float *norm;
    float *embed; /* [V][C]; NULL: the rows of `head` are used */
    struct packed head;
    char *block;
};

/* Returns the next n floats of a block, 64-byte aligned, and raises *used by
 * their bytes. Without a block it only counts. */
static float *alloc_floats(char *block, size_t *used, size_t n)
{
    float *p = block ? (float *)(void *)(block + *used) : NULL;

    *used += (n * sizeof *p + 63) / 64 * 64;
    return p;
}

static void copy_floats(float *to, const float *from, size_t n)
{
    memcpy(to, from, n * sizeof *to);
}

/* Tokens [from, from + n) of a pass, which follow `past` tokens in the cache.
 * keys and values are those of the first layer. */
struct span {
    float *keys, *values;
    size_t cap, past, from, n;
};

struct frozen_work {
    const struct frozen *f;
    size_t cap, cap_spans, cap_cache; /* allocated tokens, spans, floats */
    float *x;      /* [cap][c_cols] residual */
    float *states; /* [cap][C] */
    float *cache;  /* of one layer, for reading a batch */
    struct span *spans;
    uint32_t pos[BLOCK];

    float *block; /* one block, and the parts of it */
    float *normed, *qkv, *att, *gu, *act, *rstd, *scores, *logits;
    void *scratch;
};

/* --- weights ------------------------------------------------------------ */

static void lay_out_matrix(struct packed *p, const struct frozen *f, size_t in,
                           size_t out, char *block, size_t *used)
{
    *used += packed_lay_out(p, in, out, f->bytes, block ? block + *used : NULL);
}

static size_t lay_out_weights(struct frozen *f, char *block)
{
    const struct model_shape *s = &f->m->shape;
    size_t used = 0;

    for (int i = 0; i < s->layers; i++) {
        struct layer *l = &f->layers[i];

        lay_out_matrix(&l->qkv, f, f->c, f->q + 2 * f->kv, block, &used);
        lay_out_matrix(&l->o, f, f->q, f->c, block, &used);
        lay_out_matrix(&l->gu, f, f->c, 2 * f->f_cols, block, &used);
        lay_out_matrix(&l->down, f, f->f, f->c, block, &used);
        l->attn_norm = alloc_floats(block, &used, f->c);
        l->ffn_norm = alloc_floats(block, &used, f->c);
        l->q_norm = alloc_floats(block, &used, f->hd);
        l->k_norm = alloc_floats(block, &used, f->hd);
        if (s->bias != MODEL_BIAS_NONE)
            l->qkv_bias = alloc_floats(block, &used, f->q + 2 * f->kv);
        if (s->bias == MODEL_BIAS_ALL)
            l->o_bias = alloc_floats(block, &used, f->c);
    }
    f->norm = alloc_floats(block, &used, f->c);
    lay_out_matrix(&f->head, f, f->c, f->v, block, &used);
    if (!s->tied || f->bytes)
        f->embed = alloc_floats(block, &used, f->v * f->c);
    return used;
}

static void set_sizes(struct frozen *f, const struct model *m, bool bytes)
{
    const struct model_shape *s = &m->shape;

    f->m = m;
    f->bytes = bytes;
    f->c = (size_t)s->dim;
    f->v = (size_t)s->vocab_size;
    f->hd = (size_t)s->head_dim;
    f->heads = (size_t)s->heads;
    f->kv_heads = (size_t)s->kv_heads;
    f->f = (size_t)s->ffn_dim;
    f->q = f->heads * f->hd;
    f->kv = f->kv_heads * f->hd;
    f->c_cols = packed_columns(f->c);
    f->hd_cols = packed_columns(f->hd);
    f->f_cols = packed_columns(f->f);
    f->qkv_cols = packed_columns(f->q + 2 * f->kv);
    f->context_cap = packed_columns((size_t)s->context);
    f->layers = xcalloc((size_t)s->layers, sizeof *f->layers);
}

struct frozen *frozen_create(const struct model *m, bool bytes)
{
    struct frozen *f = xcalloc(1, sizeof *f);

    set_sizes(f, m, bytes);
    f->block = xalloc_large(lay_out_weights(f, NULL));
    lay_out_weights(f, f->block);
    return f;
}

void frozen_free(struct frozen *f)
{
    if (!f)
        return;
    free(f->block);
    free(f->layers);
    free(f);
}

static void set_layer_tensor(struct frozen *f, size_t i, size_t offset,
                             const float *data)
{
    const struct model_layer *at = &f->m->layers[i];
    struct layer *l = &f->layers[i];

    if (offset == at->attn_norm)
        copy_floats(l->attn_norm, data, f->c);
    else if (offset == at->ffn_norm)
        copy_floats(l->ffn_norm, data, f->c);
    else if (f->m->shape.qk_norm && offset == at->q_norm)
        copy_floats(l->q_norm, data, f->hd);
    else if (f->m->shape.qk_norm && offset == at->k_norm)
        copy_floats(l->k_norm, data, f->hd);
    else if (l->qkv_bias && offset == at->q_bias)
        copy_floats(l->qkv_bias, data, f->q);
    else if (l->qkv_bias && offset == at->k_bias)
        copy_floats(l->qkv_bias + f->q, data, f->kv);
    else if (l->qkv_bias && offset == at->v_bias)
        copy_floats(l->qkv_bias + f->q + f->kv, data, f->kv);
    else if (l->o_bias && offset == at->o_bias)
        copy_floats(l->o_bias, data, f->c);
    else if (offset == at->q)
        packed_fill(&l->qkv, 0, data, f->q);
    else if (offset == at->k)
        packed_fill(&l->qkv, f->q, data, f->kv);
    else if (offset == at->v)
        packed_fill(&l->qkv, f->q + f->kv, data, f->kv);
    else if (offset == at->o)
        packed_fill(&l->o, 0, data, f->c);
    else if (offset == at->gate)
        packed_fill(&l->gu, 0, data, f->f);
    else if (offset == at->up)
        packed_fill(&l->gu, f->f_cols, data, f->f);
    else if (offset == at->down)
        packed_fill(&l->down, 0, data, f->c);
}

void frozen_set_tensor(struct frozen *f, const struct model_tensor *t,
                       const float *data)
{
    if (t->offset == f->m->embed && f->embed)
        copy_floats(f->embed, data, f->v * f->c);
    if (t->offset == f->m->lm_head)
        packed_fill(&f->head, 0, data, f->v);
    if (t->offset == f->m->norm)
        copy_floats(f->norm, data, f->c);
    for (size_t i = 0; i < (size_t)f->m->shape.layers; i++)
        set_layer_tensor(f, i, t->offset, data);
}

/* --- memory ------------------------------------------------------------- */

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t scratch_bytes(const struct frozen *f)
{
    const struct layer *l = f->layers;

    return most(most(packed_scratch(&l->qkv, BLOCK),
                     packed_scratch(&l->o, BLOCK)),
                most(packed_scratch(&l->down, BLOCK),
                     packed_scratch(&f->head, BLOCK)));
}

static size_t lay_out_work(struct frozen_work *w, char *block)
{
    const struct frozen *f = w->f;
    size_t used = 0, heads = f->heads + f->kv_heads;

    w->normed = alloc_floats(block, &used, BLOCK * most(f->c, f->q + f->kv));
    w->qkv = alloc_floats(block, &used, BLOCK * f->qkv_cols);
    w->att = alloc_floats(block, &used, BLOCK * f->q);
    w->gu = alloc_floats(block, &used, BLOCK * 2 * f->f_cols);
    w->act = alloc_floats(block, &used, BLOCK * f->f_cols);
    w->rstd = alloc_floats(block, &used, most(BLOCK, heads));
    w->scores =
        alloc_floats(block, &used, attention_scratch(f->context_cap, f->hd));
    w->logits = alloc_floats(block, &used, BLOCK * HEAD_COLUMNS);
    w->scratch =
        alloc_floats(block, &used, scratch_bytes(f) / sizeof(float) + 1);
    return used;
}

static void need_room(struct frozen_work *w, size_t n)
{
    const struct frozen *f = w->f;

    if (n <= w->cap)
        return;
    free(w->x);
    free(w->states);
    w->cap = n;
    w->x = xfloats(n * f->c_cols);
    w->states = xfloats(n * f->c);
}

static void need_cache(struct frozen_work *w, size_t n_spans, size_t n_floats)
{
    if (n_spans > w->cap_spans) {
        w->spans = xreallocarray(w->spans, n_spans, sizeof *w->spans);
        w->cap_spans = n_spans;
    }
    if (n_floats > w->cap_cache) {
        free(w->cache);
        w->cache = xalloc_large(n_floats * sizeof *w->cache);
        w->cap_cache = n_floats;
    }
}

struct frozen_work *frozen_work_create(const struct frozen *f,
                                       size_t max_tokens)
{
    struct frozen_work *w = xcalloc(1, sizeof *w);

    w->f = f;
    w->block = xfloats(lay_out_work(w, NULL) / sizeof(float));
    lay_out_work(w, (char *)w->block);
    need_room(w, max_tokens);
    return w;
}

void frozen_work_free(struct frozen_work *w)
{
    if (!w)
        return;
    free(w->x);
    free(w->states);
    free(w->cache);
    free(w->spans);
    free(w->block);
    free(w);
}

/* --- a layer ------------------------------------------------------------ */

static void product(const struct packed *p, const float *x, size_t x_stride,
                    size_t n, float *y, size_t y_stride, bool accumulate,
                    void *scratch)
{
    struct kernel_rows r = packed_input(p, x, x_stride, n, scratch);

    r.y = y;
    r.y_stride = y_stride;
    r.accumulate = accumulate;
    packed_product(p, &r, 0, p->panels.n_panels);
}

/* Adds a bias of `columns` floats to each of n rows. */
HOT static void add_bias(float *y, size_t y_stride, const float *bias, size_t n,
                         size_t columns)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < columns; j++)
            y[i * y_stride + j] += bias[j];
}

/* Applies RMSNorm to n rows of the residual; the result has rows of C
 * floats. */
static void norm_rows(struct frozen_work *w, float *to, const float *x,
                      const float *weight, size_t n)
{
    const struct frozen *f = w->f;
    float eps = f->m->shape.norm_eps;

    if (f->c == f->c_cols)
        ops_fast->rmsnorm(to, w->rstd, x, weight, n, f->c, eps);
    for (size_t i = 0; f->c != f->c_cols && i < n; i++)
        ops_fast->rmsnorm(to + i * f->c, w->rstd, x + i * f->c_cols, weight, 1,
                          f->c, eps);
}

/* Applies RMSNorm to each head of queries and keys of a row. */
static void norm_heads(struct frozen_work *w, const struct layer *l, float *row)
{
    const struct frozen *f = w->f;
    float eps = f->m->shape.norm_eps, *raw = w->normed;

    copy_floats(raw, row, f->q + f->kv);
    ops_fast->rmsnorm(row, w->rstd, raw, l->q_norm, f->heads, f->hd, eps);
    ops_fast->rmsnorm(row + f->q, w->rstd, raw + f->q, l->k_norm, f->kv_heads,
                      f->hd, eps);
}

static void make_qkv(struct frozen_work *w, const struct layer *l,
                     const float *x, size_t n)
{
    const struct frozen *f = w->f;

    norm_rows(w, w->normed, x, l->attn_norm, n);
    product(&l->qkv, w->normed, f->c, n, w->qkv, f->qkv_cols, false,
            w->scratch);
    if (l->qkv_bias)
        add_bias(w->qkv, f->qkv_cols, l->qkv_bias, n, f->q + 2 * f->kv);
    for (size_t i = 0; f->m->shape.qk_norm && i < n; i++)
        norm_heads(w, l, w->qkv + i * f->qkv_cols);
    ops_fast->rope(w->qkv, f->qkv_cols, f->m->rope, w->pos, n,
                   f->heads + f->kv_heads, f->hd, 1);
}

static size_t keys_floats(const struct frozen *f, size_t cap)
{
    return f->kv_heads * cap * f->hd;
}

static size_t cache_floats(const struct frozen *f, size_t cap)
{
    return keys_floats(f, cap) + f->kv_heads * cap * f->hd_cols;
}

/* Computes attention of head h for rows [i, i + n) of the block. `at` is the
 * position of the first row. */
static void attend(struct frozen_work *w, const struct attention_kv *kv,
                   size_t h, size_t i, size_t at, size_t n)
{
    const struct frozen *f = w->f;
    struct attention_queries q = {.q = w->qkv + i * f->qkv_cols + h * f->hd,
                                  .q_stride = f->qkv_cols,
                                  .out = w->att + i * f->q + h * f->hd,
                                  .out_stride = f->q,
                                  .at = at};

    for (size_t j = 0; j < n; j += q.n) {
        q.n = n - j < ATTENTION_ROWS ? n - j : ATTENTION_ROWS;
        attention_attend(kv, &q, w->scores);
        q.q += q.n * q.q_stride;
        q.out += q.n * q.out_stride;
        q.at += q.n;
    }
}

/* Computes attention for rows [i, i + n) of the block, which belong to the
 * span. `at` is the position of the first row. */
static void attend_span(struct frozen_work *w, const struct span *s,
                        size_t layer, size_t i, size_t at, size_t n)
{
    const struct frozen *f = w->f;
    size_t skip = layer * cache_floats(f, s->cap);

    for (size_t h = 0; h < f->kv_heads; h++) {
        float *keys = s->keys + skip + h * s->cap * f->hd;
        float *values = s->values + skip + h * s->cap * f->hd_cols;
        const float *k = w->qkv + i * f->qkv_cols + f->q + h * f->hd;
        const struct attention_kv kv = {keys, values, s->cap, f->hd};
        size_t group = f->heads / f->kv_heads;

        panels_lay_columns(keys, f->hd, at, k, f->qkv_cols, n);
        panels_lay_rows(values, s->cap, f->hd, at, k + f->kv, f->qkv_cols,
                           n);
        for (size_t g = h * group; g < (h + 1) * group; g++)
            attend(w, &kv, g, i, at, n);
    }
}

static void finish_layer(struct frozen_work *w, const struct layer *l, float *x,
                         size_t n)
{
    const struct frozen *f = w->f;

    product(&l->o, w->att, f->q, n, x, f->c_cols, true, w->scratch);
    if (l->o_bias)
        add_bias(x, f->c_cols, l->o_bias, n, f->c);
    norm_rows(w, w->normed, x, l->ffn_norm, n);
    product(&l->gu, w->normed, f->c, n, w->gu, 2 * f->f_cols, false,
            w->scratch);
    ops_fast->swiglu(w->act, w->gu, n, f->f_cols);
    product(&l->down, w->act, f->f_cols, n, x, f->c_cols, true, w->scratch);
}

/* --- a pass ------------------------------------------------------------- */

static void embed(struct frozen_work *w, float *x, const token_id *tokens,
                  size_t n)
{
    const struct frozen *f = w->f;

    for (size_t i = 0; i < n; i++) {
        float *row = x + i * f->c_cols;

        BUG_ON(tokens[i] >= f->v);
        if (f->embed)
            copy_floats(row, f->embed + tokens[i] * f->c, f->c);
        else
            packed_row(&f->head, tokens[i], row);
    }
}

/* The rows of a block that belong to a span. */
struct overlap {
    size_t from, n; /* rows of the block */
    size_t at;      /* position of the first row in the cache */
};

static struct overlap overlap_of(const struct span *s, size_t block, size_t n)
{
    size_t from = most(s->from, block), to = s->from + s->n;

    if (to > block + n)
        to = block + n;
    return (struct overlap){from - block, to - from,
                            s->past + from - s->from};
}

/* Runs one layer on tokens [block, block + n). *s is the span of the first
 * token, and becomes that of the last. caches: the cache has all layers. */
static void pass_block(struct frozen_work *w, size_t layer, size_t block,
                       size_t n, const struct span **s, bool caches)
{
    const struct layer *l = &w->f->layers[layer];
    const struct span *first = *s;
    float *x = w->x + block * w->f->c_cols;

    for (const struct span *t = first;; t++) {
        struct overlap o = overlap_of(t, block, n);

        for (size_t i = 0; i < o.n; i++)
            w->pos[o.from + i] = (uint32_t)(o.at + i);
        *s = t;
        if (o.from + o.n == n)
            break;
    }
    make_qkv(w, l, x, n);
    for (const struct span *t = first; t <= *s; t++) {
        struct overlap o = overlap_of(t, block, n);

        if (o.n > 0)
            attend_span(w, t, caches ? layer : 0, o.from, o.at, o.n);
    }
    finish_layer(w, l, x, n);
}

/* Runs all layers on the residual in x. */
static void pass(struct frozen_work *w, const struct span *spans, size_t n,
                 bool caches)
{
    for (size_t l = 0; l < (size_t)w->f->m->shape.layers; l++) {
        const struct span *s = spans;

        for (size_t i = 0; i < n; i += BLOCK) {
            while (s->from + s->n <= i)
                s++;
            pass_block(w, l, i, n - i < BLOCK ? n - i : BLOCK, &s, caches);
        }
    }
}

/* --- losses ------------------------------------------------------------- */

/* Adds n logits to a running max and sum, for max + ln(sum of exp). */
HOT static void add_exps(const float *x, size_t n, float *max, float *sum)
{
    float most_yet = *max, add = 0.0f;

#pragma omp simd reduction(max : most_yet)
    for (size_t j = 0; j < n; j++)
        most_yet = x[j] > most_yet ? x[j] : most_yet;
#pragma omp simd reduction(+ : add)
    for (size_t j = 0; j < n; j++)
        add += vexp(x[j] - most_yet);
    *sum = *sum * vexp(*max - most_yet) + add;
    *max = most_yet;
}

/* Sums in the order of block_losses. */
float frozen_lse(const float *logits, size_t v)
{
    float max = -INFINITY, sum = 0.0f;

    for (size_t i = 0; i < v; i += HEAD_COLUMNS)
        add_exps(logits + i, v - i < HEAD_COLUMNS ? v - i : HEAD_COLUMNS, &max,
                 &sum);
    return max + logf(sum);
}

/* Computes the losses of n states, at most BLOCK. */
static void block_losses(struct frozen_work *w, const float *states, size_t n,
                         const token_id *target, float *loss)
{
    const struct frozen *f = w->f;
    struct kernel_rows r = packed_input(&f->head, states, f->c, n, w->scratch);
    float max[BLOCK], sum[BLOCK], wanted[BLOCK];

    r.y = w->logits;
    r.y_stride = HEAD_COLUMNS;
    for (size_t i = 0; i < n; i++) {
        max[i] = -INFINITY;
        sum[i] = 0.0f;
    }
    for (size_t v = 0; v < f->v; v += HEAD_COLUMNS) {
        size_t cols = f->v - v < HEAD_COLUMNS ? f->v - v : HEAD_COLUMNS;

        packed_product(&f->head, &r, v / PANEL, packed_columns(cols) / PANEL);
        for (size_t i = 0; i < n; i++) {
            const float *row = w->logits + i * HEAD_COLUMNS;

            if (target[i] >= v && target[i] < v + cols)
                wanted[i] = row[target[i] - v];
            add_exps(row, cols, &max[i], &sum[i]);
        }
    }
    for (size_t i = 0; i < n; i++)
        loss[i] = max[i] + logf(sum[i]) - wanted[i];
}

/* Computes the logits of n states, at most BLOCK. */
static void block_logits(struct frozen_work *w, const float *states, size_t n,
                         float *const *to)
{
    const struct frozen *f = w->f;
    struct kernel_rows r = packed_input(&f->head, states, f->c, n, w->scratch);

    r.y = w->logits;
    r.y_stride = HEAD_COLUMNS;
    for (size_t v = 0; v < f->v; v += HEAD_COLUMNS) {
        size_t cols = f->v - v < HEAD_COLUMNS ? f->v - v : HEAD_COLUMNS;

        packed_product(&f->head, &r, v / PANEL, packed_columns(cols) / PANEL);
        for (size_t i = 0; i < n; i++)
            copy_floats(to[i] + v, w->logits + i * HEAD_COLUMNS, cols);
    }
}

void frozen_logits(const struct frozen *f, const float *state,
                   struct frozen_work *w, float *logits)
{
    BUG_ON(w->f != f);
    block_logits(w, state, 1, &logits);
}

/* --- reading a batch ---------------------------------------------------- */

/* Makes a span for each segment, one after the other in the cache. */
static void make_spans(struct frozen_work *w, const struct batch *b)
{
    size_t used = 0;

    for (size_t i = 0; i < b->n_segments; i++)
        used += cache_floats(
            w->f, packed_columns(b->starts[i + 1] - b->starts[i]));
    need_cache(w, b->n_segments, used);
    used = 0;
    for (size_t i = 0; i < b->n_segments; i++) {
        size_t n = b->starts[i + 1] - b->starts[i], cap = packed_columns(n);
        float *keys = w->cache + used;

        BUG_ON(cap > w->f->context_cap);
        w->spans[i] = (struct span){keys, keys + keys_floats(w->f, cap),
                                    cap,  0,
                                    b->starts[i], n};
        used += cache_floats(w->f, cap);
    }
}

void frozen_read(const struct frozen *f, const struct batch *b,
                 struct frozen_work *w, float *loss)
{
    size_t n = b->n_tokens;

    BUG_ON(w->f != f);
    for (size_t i = 0; i < n; i++)
        BUG_ON(b->targets[i] >= f->v);
    need_room(w, n);
    make_spans(w, b);
    embed(w, w->x, b->inputs, n);
    pass(w, w->spans, n, false);
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t rows = n - i < BLOCK ? n - i : BLOCK;

        norm_rows(w, w->states + i * f->c, w->x + i * f->c_cols, f->norm,
                  rows);
        if (loss)
            block_losses(w, w->states + i * f->c, rows, b->targets + i,
                         loss + i);
    }
}

const float *frozen_states(const struct frozen_work *w)
{
    return w->states;
}

/* --- generation --------------------------------------------------------- */

size_t frozen_cache_floats(const struct frozen *f)
{
    return (size_t)f->m->shape.layers * cache_floats(f, f->context_cap);
}

/* int8 needs the larger scratch. A segment's cache has whole panels. */
size_t frozen_work_bytes(const struct model_shape *s, size_t max_tokens,
                         bool reads)
{
    struct model m = {.shape = *s};
    struct frozen f = {0};
    struct frozen_work w = {.f = &f};
    size_t used;

    set_sizes(&f, &m, true);
    lay_out_weights(&f, NULL);
    used = lay_out_work(&w, NULL) +
           max_tokens * (f.c_cols + f.c) * sizeof(float);
    if (reads)
        used += cache_floats(&f, 2 * packed_columns(max_tokens)) *
                sizeof(float);
    free(f.layers);
    return used;
}

/* A block is a cache with room for FROZEN_BLOCK tokens. */
size_t frozen_block_floats(const struct frozen *f)
{
    return (size_t)f->m->shape.layers * cache_floats(f, FROZEN_BLOCK);
}

/* One copy from a cache to a block, or back. */
struct block_copy {
    float *cache, *block;
    bool saves;
};

static void copy_part(struct block_copy *c, size_t cache, size_t block,
                      size_t n)
{
    if (c->saves)
        copy_floats(c->block + block, c->cache + cache, n);
    else
        copy_floats(c->cache + cache, c->block + block, n);
}

/* A panel of keys, and FROZEN_BLOCK rows of each panel of values, are each in
 * one piece. */
static void copy_block(const struct frozen *f, size_t i, struct block_copy *c)
{
    size_t cap = f->context_cap, keys = FROZEN_BLOCK * f->hd;
    size_t rows = FROZEN_BLOCK * PANEL;

    for (size_t l = 0; l < (size_t)f->m->shape.layers; l++) {
        size_t from = l * cache_floats(f, cap);
        size_t to = l * cache_floats(f, FROZEN_BLOCK);

        for (size_t h = 0; h < f->kv_heads; h++)
            copy_part(c, from + h * cap * f->hd + i * keys, to + h * keys,
                      keys);
        from += keys_floats(f, cap);
        to += keys_floats(f, FROZEN_BLOCK);
        for (size_t p = 0; p < f->kv_heads * f->hd_cols / PANEL; p++)
            copy_part(c, from + p * cap * PANEL + i * rows, to + p * rows,
                      rows);
    }
}

void frozen_block_save(const struct frozen *f, const float *cache, size_t i,
                       float *block)
{
    struct block_copy c = {(float *)cache, block, true};

    copy_block(f, i, &c);
}

void frozen_block_load(const struct frozen *f, const float *block, size_t i,
                       float *cache)
{
    struct block_copy c = {cache, (float *)block, false};

    copy_block(f, i, &c);
}

/* Makes the spans and the residual of all parts. Returns the tokens. */
static size_t make_parts(struct frozen_work *w, const struct frozen_part *parts,
                         size_t n_parts)
{
    const struct frozen *f = w->f;
    size_t context = (size_t)f->m->shape.context, n = 0;

    for (size_t i = 0; i < n_parts; i++)
        n += parts[i].n_new;
    need_room(w, n);
    need_cache(w, n_parts, 0);
    n = 0;
    for (size_t i = 0; i < n_parts; i++) {
        const struct frozen_part *p = &parts[i];

        BUG_ON(p->n_new == 0 || p->n_new > context ||
               p->n_past > context - p->n_new);
        BUG_ON(p->n_losses > p->n_new);
        w->spans[i] = (struct span){
            .keys = p->cache,
            .values = p->cache + keys_floats(f, f->context_cap),
            .cap = f->context_cap,
            .past = p->n_past,
            .from = n,
            .n = p->n_new};
        embed(w, w->x + n * f->c_cols, p->tokens, p->n_new);
        n += p->n_new;
    }
    return n;
}

/* Computes the losses of a part, whose residual begins at x. */
static void part_losses(struct frozen_work *w, const struct frozen_part *p,
                        const float *x)
{
    const struct frozen *f = w->f;

    for (size_t i = 0; i < p->n_losses; i += BLOCK) {
        size_t rows = p->n_losses - i < BLOCK ? p->n_losses - i : BLOCK;

        norm_rows(w, w->states, x + i * f->c_cols, f->norm, rows);
        block_losses(w, w->states, rows, p->tokens + i + 1, p->loss + i);
    }
}

void frozen_extend_all(const struct frozen *f, const struct frozen_part *parts,
                       size_t n_parts, struct frozen_work *w)
{
    float *logits[BLOCK];
    size_t n_logits = 0, at = 0, n;

    BUG_ON(w->f != f);
    n = make_parts(w, parts, n_parts);
    pass(w, w->spans, n, true);
    for (size_t i = 0; i < n_parts; i++) {
        part_losses(w, &parts[i], w->x + at * f->c_cols);
        at += parts[i].n_new;
    }
    at = 0;
    for (size_t i = 0; i < n_parts; i++) {
        at += parts[i].n_new;
        if (parts[i].logits) {
            norm_rows(w, w->states + n_logits * f->c,
                      w->x + (at - 1) * f->c_cols, f->norm, 1);
            logits[n_logits++] = parts[i].logits;
        }
        if (n_logits == BLOCK || (i + 1 == n_parts && n_logits > 0)) {
            block_logits(w, w->states, n_logits, logits);
            n_logits = 0;
        }
    }
}

void frozen_extend(const struct frozen *f, float *cache, size_t n_past,
                   const token_id *tokens, size_t n_new, struct frozen_work *w,
                   float *loss, size_t n_losses, float *logits)
{
    struct frozen_part part = {cache, n_past,   tokens, n_new,
                               loss,  n_losses, logits};

    frozen_extend_all(f, &part, 1, w);
}
