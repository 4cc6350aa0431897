/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All of a version's weights lie in one block: layer by layer the panels of its
 * products, then its norms; the last norm, the head, and the embedding where
 * the head does not have its rows.
 */
#include "config.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "learner/infer/frozen_private.h"

static void place(struct packed *p, const struct frozen *f, size_t in,
                  size_t out, char *block, size_t *used)
{
    *used += packed_place(p, in, out, f->bytes, block ? block + *used : NULL);
}

static size_t place_all(struct frozen *f, char *block)
{
    const struct model_shape *s = &f->m->shape;
    size_t used = 0;

    for (int i = 0; i < s->layers; i++) {
        struct layer *l = &f->layers[i];

        place(&l->qkv, f, f->c, f->q + 2 * f->kv, block, &used);
        place(&l->o, f, f->q, f->c, block, &used);
        place(&l->gu, f, f->c, 2 * f->f_cols, block, &used);
        place(&l->down, f, f->f, f->c, block, &used);
        l->attn_norm = frozen_room(block, &used, f->c);
        l->ffn_norm = frozen_room(block, &used, f->c);
        l->q_norm = frozen_room(block, &used, f->hd);
        l->k_norm = frozen_room(block, &used, f->hd);
    }
    f->norm = frozen_room(block, &used, f->c);
    place(&f->head, f, f->c, f->v, block, &used);
    if (!s->tied || f->bytes)
        f->embed = frozen_room(block, &used, f->v * f->c);
    return used;
}

struct frozen *frozen_create(const struct model *m, bool bytes)
{
    struct frozen *f = xcalloc(1, sizeof *f);
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
    f->n_bytes = place_all(f, NULL);
    f->block = xalloc_large(f->n_bytes);
    place_all(f, f->block);
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

size_t frozen_bytes(const struct frozen *f)
{
    return sizeof *f + f->n_bytes;
}

static void take_of_layer(struct frozen *f, size_t i, size_t offset,
                          const float *data)
{
    const struct model_layer *at = &f->m->layers[i];
    struct layer *l = &f->layers[i];

    if (offset == at->attn_norm)
        frozen_copy(l->attn_norm, data, f->c);
    else if (offset == at->ffn_norm)
        frozen_copy(l->ffn_norm, data, f->c);
    else if (f->m->shape.qk_norm && offset == at->q_norm)
        frozen_copy(l->q_norm, data, f->hd);
    else if (f->m->shape.qk_norm && offset == at->k_norm)
        frozen_copy(l->k_norm, data, f->hd);
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

void frozen_take(struct frozen *f, const struct model_tensor *t,
                 const float *data)
{
    if (t->offset == f->m->embed && f->embed)
        frozen_copy(f->embed, data, f->v * f->c);
    if (t->offset == f->m->lm_head)
        packed_fill(&f->head, 0, data, f->v);
    if (t->offset == f->m->norm)
        frozen_copy(f->norm, data, f->c);
    for (size_t i = 0; i < (size_t)f->m->shape.layers; i++)
        take_of_layer(f, i, t->offset, data);
}
