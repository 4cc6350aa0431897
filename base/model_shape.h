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

/* Which projections of attention have biases. */
enum model_bias {
    MODEL_BIAS_NONE,
    MODEL_BIAS_QKV, /* q, k and v: the Qwen2 layout */
    MODEL_BIAS_ALL, /* q, k, v and o: Hugging Face's attention_bias */
};

/* How the frequencies of rotary positions are scaled, for contexts longer than
 * those that the model was first trained on. */
enum rope_kind {
    ROPE_PLAIN,
    ROPE_LINEAR, /* each frequency is divided by `factor` */
    ROPE_LLAMA3, /* only the low frequencies are: Llama 3.1 */
};

struct rope_scaling {
    enum rope_kind kind;
    float factor;                  /* 1 or more; the others: llama3 only */
    float low_factor, high_factor; /* low < high */
    int original_context;          /* tokens of the first training */
};

/*
 * Returns the scaled frequency, in radians a position.
 * llama3 (transformers, _compute_llama3_parameters): a frequency with more than
 * high_factor periods in the original context stays; one with less than
 * low_factor periods is divided by `factor`; between them it is mixed.
 */
static inline double rope_scaling_frequency(const struct rope_scaling *r,
                                            double frequency)
{
    double periods, kept;

    if (r->kind == ROPE_PLAIN)
        return frequency;
    if (r->kind == ROPE_LINEAR)
        return frequency / (double)r->factor;
    periods = (double)r->original_context * frequency /
              (2.0 * 3.14159265358979323846);
    kept = (periods - (double)r->low_factor) /
           ((double)r->high_factor - (double)r->low_factor);
    kept = kept < 0.0 ? 0.0 : kept > 1.0 ? 1.0 : kept;
    return kept * frequency + (1.0 - kept) * frequency / (double)r->factor;
}

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
    enum model_bias bias;
    struct rope_scaling rope;
};

#endif
