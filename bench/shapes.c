/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/shapes.h"

static const struct {
    const char *name;
    int layers, dim, heads, vocab;
    size_t batch, new_tokens;
} comparison[SHAPES_N] = {
    {"tiny", 4, 128, 4, 256, 4, 224},
    {"small", 6, 256, 8, 256, 4, 224},
    {"medium", 6, 384, 6, 4096, 8, 224},
    {"gpt2", 12, 768, 12, 50257, 2, 32},
};

static const char *const presets[SHAPES_PRESETS_N] = {"nano", "tiny", "small",
                                                      "base", "large"};

#define SEQUENCE 256
#define PRESET_SEQUENCE 128
#define PRESET_BATCH 4
#define PRESET_VOCAB 4096

const char *shape_comparison_name(size_t i)
{
    return comparison[i].name;
}

const char *shape_preset_name(size_t i)
{
    return presets[i];
}

void shape_comparison(size_t i, struct shape *s)
{
    int dim = comparison[i].dim, heads = comparison[i].heads;

    *s = (struct shape){
        .name = comparison[i].name,
        .model = {.vocab_size = comparison[i].vocab,
                  .dim = dim,
                  .layers = comparison[i].layers,
                  .heads = heads,
                  .kv_heads = heads,
                  .head_dim = dim / heads,
                  .ffn_dim = (8 * dim + 23) / 24 * 8,
                  .context = SEQUENCE,
                  .norm_eps = 1e-5f,
                  .rope_theta = 10000.0f,
                  .tied = true},
        .sequence = SEQUENCE,
        .batch = comparison[i].batch,
        .new_tokens = comparison[i].new_tokens,
    };
}

void shape_preset(size_t i, struct shape *s)
{
    struct err err = ERR_INIT;

    *s = (struct shape){
        .name = presets[i],
        .sequence = PRESET_SEQUENCE,
        .batch = PRESET_BATCH,
    };
    if (model_preset(presets[i], &s->model, &err))
        BUG("%s", err.msg);
    s->model.vocab_size = PRESET_VOCAB;
}

double shape_step_flop(const struct model *m, size_t sequence, size_t batch)
{
    const struct model_shape *s = &m->shape;
    double weights = 0.0, tokens = (double)(sequence * batch);
    double pairs = (double)batch * (double)(sequence * (sequence + 1) / 2);

    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].n_dims == 2)
            weights += (double)m->tensors[i].count;
    if (!s->tied) /* the embedding is a lookup, not a product */
        weights -= (double)s->vocab_size * s->dim;
    return 6.0 * weights * tokens +
           12.0 * pairs * s->layers * s->heads * s->head_dim;
}
