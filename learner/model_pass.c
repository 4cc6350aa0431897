/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward and backward pass of the model.
 *
 * The forward pass keeps these for N tokens, in one block (Q = heads times
 * head_dim, K = kv_heads times head_dim):
 *
 *     x        (2 L + 1)[N][C]   the residual: at the start, after each
 *                                attention, after each feed-forward
 *     states   [N][C]            after the last norm;  rstd [N]
 *     probs    [rows][V]         see below
 *     by layer: norm1 [N][C], rstd1 [N], qkv [N][Q + 2 K] rotated,
 *               raw [N][Q + K] and rstd_qk (qk_norm only: before the norm),
 *               att [N][Q], lse [heads][N], norm2 [N][C], rstd2 [N],
 *               gu [N][2 F], act [N][F]
 *
 * Nothing of size T x T is kept: the backward pass of attention recomputes the
 * scores. The output layer is computed in chunks of at most PROBS_FLOATS
 * floats. If a batch fits into one chunk, the backward pass reuses its
 * probabilities. For a longer batch it recomputes them chunk by chunk. That
 * bounds the memory, and costs a third more work in that layer.
 */
#include "config.h"

#include "learner/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/ops.h"

#define PROBS_FLOATS ((size_t)1 << 24) /* 64 MiB */
#define NO_CHUNK SIZE_MAX

/* The sizes of the model, as size_t. */
struct dims {
    size_t v, c, layers, heads, kv_heads, hd, f, context;
    size_t q, kv, qkv; /* heads * hd, kv_heads * hd, q + 2 kv */
    float eps;
    bool qk_norm, qkv_bias, o_bias;
};

struct kept {
    float *norm1, *rstd1, *qkv, *raw, *rstd_qk, *att, *lse;
    float *norm2, *rstd2, *gu, *act;
};

struct model_work {
    const struct model *m;
    struct dims d;
    size_t cap;        /* tokens allocated */
    size_t n;          /* tokens of the last forward pass; 0: none */
    size_t rows;       /* rows of probs */
    size_t chunk_from; /* first token that probs holds, or NO_CHUNK */

    float *forward; /* one block, and the parts of it */
    float *x, *states, *rstd, *probs, *chunk_loss, *scratch;
    struct kept *kept;
    uint32_t *pos; /* [cap] */

    float *backward; /* one block, allocated at the first backward pass */
    float *dx, *dn, *dqkv, *datt, *dgu, *dact, *weight, *dhead;
};

static struct dims dims_of(const struct model *m)
{
    const struct model_shape *s = &m->shape;
    struct dims d = {
        .v = (size_t)s->vocab_size,
        .c = (size_t)s->dim,
        .layers = (size_t)s->layers,
        .heads = (size_t)s->heads,
        .kv_heads = (size_t)s->kv_heads,
        .hd = (size_t)s->head_dim,
        .f = (size_t)s->ffn_dim,
        .context = (size_t)s->context,
        .eps = s->norm_eps,
        .qk_norm = s->qk_norm,
        .qkv_bias = s->bias != MODEL_BIAS_NONE,
        .o_bias = s->bias == MODEL_BIAS_ALL,
    };

    d.q = d.heads * d.hd;
    d.kv = d.kv_heads * d.hd;
    d.qkv = d.q + 2 * d.kv;
    return d;
}

/* --- memory ------------------------------------------------------------- */

static void lay_out_kept(struct kept *k, const struct dims *d, size_t n,
                         float *block, size_t *used)
{
    k->norm1 = block_alloc(block, used, n * d->c);
    k->rstd1 = block_alloc(block, used, n);
    k->qkv = block_alloc(block, used, n * d->qkv);
    if (d->qk_norm) {
        k->raw = block_alloc(block, used, n * (d->q + d->kv));
        k->rstd_qk = block_alloc(block, used, n * (d->heads + d->kv_heads));
    }
    k->att = block_alloc(block, used, n * d->q);
    k->lse = block_alloc(block, used, n * d->heads);
    k->norm2 = block_alloc(block, used, n * d->c);
    k->rstd2 = block_alloc(block, used, n);
    k->gu = block_alloc(block, used, n * 2 * d->f);
    k->act = block_alloc(block, used, n * d->f);
}

/* Sets the pointers of the forward pass into the block. Returns the number of
 * floats; without a block it only counts. */
static size_t lay_out_forward(struct model_work *w, float *block)
{
    const struct dims *d = &w->d;
    size_t n = w->cap, used = 0;

    w->x = block_alloc(block, &used, (2 * d->layers + 1) * n * d->c);
    w->states = block_alloc(block, &used, n * d->c);
    w->rstd = block_alloc(block, &used, n);
    w->probs = block_alloc(block, &used, w->rows * d->v);
    w->chunk_loss = block_alloc(block, &used, w->rows);
    w->scratch =
        block_alloc(block, &used, ops_attention_scratch(d->context, d->hd));
    for (size_t l = 0; l < d->layers; l++)
        lay_out_kept(&w->kept[l], d, n, block, &used);
    return used;
}

static size_t lay_out_backward(struct model_work *w, float *block)
{
    const struct dims *d = &w->d;
    size_t n = w->cap, used = 0;

    w->dx = block_alloc(block, &used, n * d->c);
    w->dn = block_alloc(block, &used, n * d->c);
    w->dqkv = block_alloc(block, &used, n * d->qkv);
    w->datt = block_alloc(block, &used, n * d->q);
    w->dgu = block_alloc(block, &used, n * 2 * d->f);
    w->dact = block_alloc(block, &used, n * d->f);
    w->weight = block_alloc(block, &used, n);
    w->dhead = block_alloc(block, &used, d->q);
    return used;
}

static void set_cap(struct model_work *w, size_t n_tokens)
{
    size_t rows = PROBS_FLOATS / w->d.v;

    w->cap = n_tokens ? n_tokens : 1;
    w->rows = w->cap < rows ? w->cap : rows;
}

static void release_room(struct model_work *w)
{
    free(w->forward);
    free(w->backward);
    free(w->pos);
    w->backward = NULL;
}

static void make_room(struct model_work *w, size_t n_tokens)
{
    set_cap(w, n_tokens);
    w->n = 0;
    w->chunk_from = NO_CHUNK;
    w->forward = xfloats(lay_out_forward(w, NULL));
    lay_out_forward(w, w->forward);
    w->pos = xcalloc(w->cap, sizeof *w->pos);
}

struct model_work *model_work_create(const struct model *m, size_t max_tokens)
{
    struct model_work *w = xcalloc(1, sizeof *w);

    w->m = m;
    w->d = dims_of(m);
    w->kept = xcalloc(w->d.layers, sizeof *w->kept);
    make_room(w, max_tokens);
    return w;
}

size_t model_work_bytes(const struct model *m, size_t max_tokens)
{
    struct model_work w = {.m = m, .d = dims_of(m)};
    size_t n_floats;

    w.kept = xcalloc(w.d.layers, sizeof *w.kept);
    set_cap(&w, max_tokens);
    n_floats = lay_out_forward(&w, NULL) + lay_out_backward(&w, NULL);
    free(w.kept);
    return n_floats * sizeof(float) + w.cap * sizeof *w.pos;
}

void model_work_free(struct model_work *w)
{
    if (!w)
        return;
    release_room(w);
    free(w->kept);
    free(w);
}

static void need_room(struct model_work *w, const struct model *m, size_t n)
{
    BUG_ON(w->m != m);
    if (n <= w->cap)
        return;
    release_room(w);
    make_room(w, n);
}

/* --- forward ------------------------------------------------------------ */

/* Returns residual i, from 0 to 2 L. */
static float *residual(const struct model_work *w, size_t i)
{
    return w->x + i * w->cap * w->d.c;
}

static void embed(const struct model_work *w, const float *params,
                  const token_id *tokens, size_t n)
{
    const struct dims *d = &w->d;

    for (size_t i = 0; i < n; i++) {
        BUG_ON(tokens[i] >= d->v);
        memcpy(w->x + i * d->c, params + w->m->embed + tokens[i] * d->c,
               d->c * sizeof *w->x);
    }
}

/* Positions start at 0 in each segment. */
static void set_positions(struct model_work *w, const struct batch *b)
{
    for (size_t s = 0; s < b->n_segments; s++) {
        size_t t = b->starts[s + 1] - b->starts[s];

        BUG_ON(t > w->d.context);
        for (size_t i = 0; i < t; i++)
            w->pos[b->starts[s] + i] = (uint32_t)i;
    }
}

/* Applies RMSNorm to each head of queries and keys. It works row by row, since
 * the heads of one row are adjacent. */
static void norm_heads(const struct model_work *w, const float *params,
                       size_t layer, size_t n)
{
    const struct dims *d = &w->d;
    const struct model_layer *l = &w->m->layers[layer];
    const struct kept *k = &w->kept[layer];
    size_t qk = d->q + d->kv, heads = d->heads + d->kv_heads;

    for (size_t i = 0; i < n; i++) {
        float *row = k->qkv + i * d->qkv, *raw = k->raw + i * qk;
        float *rstd = k->rstd_qk + i * heads;

        memcpy(raw, row, qk * sizeof *raw);
        ops_fast->rmsnorm(row, rstd, raw, params + l->q_norm, d->heads, d->hd,
                          d->eps);
        ops_fast->rmsnorm(row + d->q, rstd + d->heads, raw + d->q,
                          params + l->k_norm, d->kv_heads, d->hd, d->eps);
    }
}

/* Adds a bias to each of n rows. */
HOT static void add_bias(float *y, const float *bias, size_t n, size_t columns)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < columns; j++)
            y[i * columns + j] += bias[j];
}

/* Adds n rows of dy to the gradient of their bias. */
HOT static void bias_backward(float *dbias, const float *dy, size_t n,
                              size_t columns)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < columns; j++)
            dbias[j] += dy[i * columns + j];
}

/* Applies a layer's first norm, then computes queries, keys and values, and
 * rotates queries and keys by their positions. */
static void forward_qkv(const struct model_work *w, const float *params,
                        size_t layer, size_t n)
{
    const struct dims *d = &w->d;
    const struct model_layer *l = &w->m->layers[layer];
    const struct kept *k = &w->kept[layer];

    ops_fast->rmsnorm(k->norm1, k->rstd1, residual(w, 2 * layer),
                      params + l->attn_norm, n, d->c, d->eps);
    ops_fast->linear(k->qkv, k->norm1, params + l->q, n, d->c, d->qkv, 0);
    if (d->qkv_bias)
        add_bias(k->qkv, params + l->q_bias, n, d->qkv);
    if (d->qk_norm)
        norm_heads(w, params, layer, n);
    ops_fast->rope(k->qkv, d->qkv, w->m->rope, w->pos, n,
                   d->heads + d->kv_heads, d->hd, 1);
}

static void forward_attention(const struct model_work *w, size_t layer,
                              const struct batch *b)
{
    const struct dims *d = &w->d;
    const struct kept *k = &w->kept[layer];

    for (size_t s = 0; s < b->n_segments; s++) {
        size_t from = b->starts[s], t = b->starts[s + 1] - from;
        const float *q = k->qkv + from * d->qkv;

        ops_fast->attention(k->att + from * d->q, d->q,
                            k->lse + from * d->heads, q, d->qkv, q + d->q,
                            q + d->q + d->kv, d->qkv, t, 0, d->heads,
                            d->kv_heads, d->hd, w->scratch);
    }
}

/* Adds the attention output to the residual, and runs the feed-forward. */
static void forward_rest(const struct model_work *w, const float *params,
                         size_t layer, size_t n)
{
    const struct dims *d = &w->d;
    const struct model_layer *l = &w->m->layers[layer];
    const struct kept *k = &w->kept[layer];
    float *x0 = residual(w, 2 * layer), *x1 = residual(w, 2 * layer + 1);
    float *x2 = residual(w, 2 * layer + 2);

    memcpy(x1, x0, n * d->c * sizeof *x1);
    ops_fast->linear(x1, k->att, params + l->o, n, d->q, d->c, 1);
    if (d->o_bias)
        add_bias(x1, params + l->o_bias, n, d->c);
    ops_fast->rmsnorm(k->norm2, k->rstd2, x1, params + l->ffn_norm, n, d->c,
                      d->eps);
    ops_fast->linear(k->gu, k->norm2, params + l->gate, n, d->c, 2 * d->f, 0);
    ops_fast->swiglu(k->act, k->gu, n, d->f);
    memcpy(x2, x1, n * d->c * sizeof *x2);
    ops_fast->linear(x2, k->act, params + l->down, n, d->f, d->c, 1);
}

static size_t chunk_rows(const struct model_work *w, size_t from)
{
    size_t left = w->n - from;

    return left < w->rows ? left : w->rows;
}

/* Computes the probabilities of the chunk at token `from`, unless probs already
 * holds them. Losses go to loss[0..]. */
static void make_probs(struct model_work *w, const float *params,
                       const struct batch *b, size_t from, float *loss)
{
    const struct dims *d = &w->d;
    size_t rows = chunk_rows(w, from);

    if (w->chunk_from == from)
        return;
    ops_fast->linear(w->probs, w->states + from * d->c, params + w->m->lm_head,
                     rows, d->c, d->v, 0);
    ops_fast->cross_entropy(loss, w->probs, b->targets + from, rows, d->v);
    w->chunk_from = from;
}

void model_forward(const struct model *m, const float *params,
                   const struct batch *b, struct model_work *w, float *loss)
{
    size_t n = b->n_tokens;
    const struct dims *d = &w->d;

    need_room(w, m, n);
    w->n = n;
    w->chunk_from = NO_CHUNK;
    for (size_t i = 0; i < n; i++)
        BUG_ON(b->targets[i] >= d->v);
    set_positions(w, b);
    embed(w, params, b->inputs, n);
    for (size_t l = 0; l < d->layers; l++) {
        forward_qkv(w, params, l, n);
        forward_attention(w, l, b);
        forward_rest(w, params, l, n);
    }
    ops_fast->rmsnorm(w->states, w->rstd, residual(w, 2 * d->layers),
                      params + m->norm, n, d->c, d->eps);
    for (size_t from = 0; loss && from < n; from += w->rows)
        make_probs(w, params, b, from, loss + from);
}

const float *model_states(const struct model_work *w)
{
    return w->states;
}

/* --- backward ----------------------------------------------------------- */

/* Sets dn to the gradient of the loss with respect to the states. */
static void backward_head(struct model_work *w, const float *params,
                          const struct batch *b, float scale, float *grads)
{
    const struct dims *d = &w->d;
    size_t head = w->m->lm_head;

    for (size_t from = 0; from < w->n; from += w->rows) {
        size_t rows = chunk_rows(w, from);

        make_probs(w, params, b, from, w->chunk_loss);
        ops_fast->cross_entropy_backward(w->probs, b->targets + from,
                                         w->weight + from, scale, rows, d->v);
        w->chunk_from = NO_CHUNK; /* probs holds gradients now */
        ops_fast->linear_dx(w->dn + from * d->c, w->probs, params + head, rows,
                            d->c, d->v, 0);
        ops_fast->linear_dw(grads + head, w->probs, w->states + from * d->c,
                            rows, d->c, d->v, from > 0);
    }
}

/*
 * Runs the feed-forward backwards. dx is the gradient of the residual after it,
 * and becomes the gradient of the residual before it.
 */
static void backward_ffn(const struct model_work *w, const float *params,
                         size_t layer, float *grads)
{
    const struct dims *d = &w->d;
    const struct model_layer *l = &w->m->layers[layer];
    const struct kept *k = &w->kept[layer];
    size_t n = w->n;

    ops_fast->linear_dx(w->dact, w->dx, params + l->down, n, d->f, d->c, 0);
    ops_fast->linear_dw(grads + l->down, w->dx, k->act, n, d->f, d->c, 0);
    ops_fast->swiglu_backward(w->dgu, w->dact, k->gu, n, d->f);
    ops_fast->linear_dx(w->dn, w->dgu, params + l->gate, n, d->c, 2 * d->f, 0);
    ops_fast->linear_dw(grads + l->gate, w->dgu, k->norm2, n, d->c, 2 * d->f,
                        0);
    ops_fast->rmsnorm_backward(w->dx, grads + l->ffn_norm, w->dn,
                               residual(w, 2 * layer + 1), params + l->ffn_norm,
                               k->rstd2, n, d->c);
}

/* Computes the gradient through the norm of n_heads heads, in place. */
static void norm_row_backward(const struct model_work *w, float *dy, float *dw,
                              const float *raw, const float *weight,
                              const float *rstd, size_t n_heads)
{
    size_t n_bytes = n_heads * w->d.hd * sizeof *dy;

    memset(w->dhead, 0, n_bytes);
    ops_fast->rmsnorm_backward(w->dhead, dw, dy, raw, weight, rstd, n_heads,
                               w->d.hd);
    memcpy(dy, w->dhead, n_bytes);
}

static void norm_heads_backward(const struct model_work *w, const float *params,
                                size_t layer, float *grads)
{
    const struct dims *d = &w->d;
    const struct model_layer *l = &w->m->layers[layer];
    const struct kept *k = &w->kept[layer];

    for (size_t i = 0; i < w->n; i++) {
        float *dy = w->dqkv + i * d->qkv;
        const float *raw = k->raw + i * (d->q + d->kv);
        const float *rstd = k->rstd_qk + i * (d->heads + d->kv_heads);

        norm_row_backward(w, dy, grads + l->q_norm, raw, params + l->q_norm,
                          rstd, d->heads);
        norm_row_backward(w, dy + d->q, grads + l->k_norm, raw + d->q,
                          params + l->k_norm, rstd + d->heads, d->kv_heads);
    }
}

/* Turns datt into dqkv, the gradient before norm and rotation. */
static void backward_scores(const struct model_work *w, const float *params,
                            size_t layer, const struct batch *b, float *grads)
{
    const struct dims *d = &w->d;
    const struct kept *k = &w->kept[layer];

    for (size_t s = 0; s < b->n_segments; s++) {
        size_t from = b->starts[s], t = b->starts[s + 1] - from;
        const float *q = k->qkv + from * d->qkv;
        float *dq = w->dqkv + from * d->qkv;

        ops_fast->attention_backward(
            dq, dq + d->q, dq + d->q + d->kv, w->datt + from * d->q,
            k->att + from * d->q, d->q, k->lse + from * d->heads, q, d->qkv,
            q + d->q, q + d->q + d->kv, d->qkv, t, d->heads, d->kv_heads, d->hd,
            w->scratch);
    }
    ops_fast->rope(w->dqkv, d->qkv, w->m->rope, w->pos, w->n,
                   d->heads + d->kv_heads, d->hd, -1);
    if (d->qk_norm)
        norm_heads_backward(w, params, layer, grads);
}

static void backward_attention(const struct model_work *w, const float *params,
                               size_t layer, const struct batch *b,
                               float *grads)
{
    const struct dims *d = &w->d;
    const struct model_layer *l = &w->m->layers[layer];
    const struct kept *k = &w->kept[layer];
    size_t n = w->n;

    ops_fast->linear_dx(w->datt, w->dx, params + l->o, n, d->q, d->c, 0);
    ops_fast->linear_dw(grads + l->o, w->dx, k->att, n, d->q, d->c, 0);
    if (d->o_bias)
        bias_backward(grads + l->o_bias, w->dx, n, d->c);
    backward_scores(w, params, layer, b, grads);
    if (d->qkv_bias)
        bias_backward(grads + l->q_bias, w->dqkv, n, d->qkv);
    ops_fast->linear_dx(w->dn, w->dqkv, params + l->q, n, d->c, d->qkv, 0);
    ops_fast->linear_dw(grads + l->q, w->dqkv, k->norm1, n, d->c, d->qkv, 0);
    ops_fast->rmsnorm_backward(w->dx, grads + l->attn_norm, w->dn,
                               residual(w, 2 * layer), params + l->attn_norm,
                               k->rstd1, n, d->c);
}

static void backward_embed(const struct model_work *w, const struct batch *b,
                           float *grads)
{
    size_t c = w->d.c;

    for (size_t i = 0; i < w->n; i++) {
        float *to = grads + w->m->embed + b->inputs[i] * c;

        for (size_t j = 0; j < c; j++)
            to[j] += w->dx[i * c + j];
    }
}

/* Zeroes the gradients that the backward pass adds to: the norms, the biases,
 * the embedding, and the output layer when no loss overwrites it. Matrix
 * products overwrite the others. */
static void clear_gradients(const struct model *m, bool has_loss, float *grads)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];
        bool is_head = t->offset == m->lm_head;
        bool is_embed = t->offset == m->embed;

        if (t->n_dims == 1 || (is_head ? !has_loss : is_embed))
            memset(grads + t->offset, 0, t->count * sizeof *grads);
    }
}

/* Sets dn to the gradient of the states, from the loss and from dstates. */
static void backward_states(struct model_work *w, const float *params,
                            const struct batch *b, float scale,
                            const float *weight, const float *dstates,
                            float *grads)
{
    size_t count = w->n * w->d.c;

    for (size_t i = 0; i < w->n; i++)
        w->weight[i] = !b->counted[i] ? 0.0f : weight ? weight[i] : 1.0f;
    if (scale != 0.0f)
        backward_head(w, params, b, scale, grads);
    else
        memset(w->dn, 0, count * sizeof *w->dn);
    for (size_t i = 0; dstates && i < count; i++)
        w->dn[i] += dstates[i];
}

void model_backward(const struct model *m, const float *params,
                    const struct batch *b, struct model_work *w, float scale,
                    const float *weight, const float *dstates, float *grads)
{
    const struct dims *d = &w->d;

    BUG_ON(w->m != m || w->n != b->n_tokens);
    if (!w->backward) {
        w->backward = xfloats(lay_out_backward(w, NULL));
        lay_out_backward(w, w->backward);
    }
    clear_gradients(m, scale != 0.0f, grads);
    backward_states(w, params, b, scale, weight, dstates, grads);
    memset(w->dx, 0, w->n * d->c * sizeof *w->dx);
    ops_fast->rmsnorm_backward(w->dx, grads + m->norm, w->dn,
                               residual(w, 2 * d->layers), params + m->norm,
                               w->rstd, w->n, d->c);
    for (size_t l = d->layers; l-- > 0;) {
        backward_ffn(w, params, l, grads);
        backward_attention(w, params, l, b, grads);
    }
    backward_embed(w, b, grads);
}
