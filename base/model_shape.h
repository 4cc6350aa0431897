/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_shape.h - the shape of a Transformer. The learner builds a model of it,
 * and the store writes it into config.json.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_MODEL_SHAPE_H
#define MNEME_BASE_MODEL_SHAPE_H

#include <stdbool.h>

/* Limits for shapes that are read from files. */
#define MODEL_MAX_VOCAB 262144
#define MODEL_MAX_LEARNED_VOCAB 65536 /* of a tokenizer that mneme learns */
#define MODEL_MAX_DIM 8192
#define MODEL_MAX_LAYERS 128
#define MODEL_MAX_CONTEXT 8192

struct model_shape {
    int vocab_size; /* V */
    int dim;        /* C, hidden_size */
    int layers;     /* L */
    int heads;      /* H */
    int kv_heads;   /* divides heads */
    int head_dim;   /* even */
    int ffn_dim;    /* intermediate_size */
    int context;    /* T, the longest segment in tokens */
    float norm_eps;
    float rope_theta;
    bool tied;    /* the output matrix is the embedding */
    bool qk_norm; /* RMSNorm of queries and keys: the Qwen3 layout */
};

#endif
