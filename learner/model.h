/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - the Transformer: its parameters in one block, forward, backward.
 *
 * Decoder-only, of the Llama family (Touvron et al. 2023): pre-RMSNorm
 * (Zhang, Sennrich 2019), rotary positions in halves as Hugging Face has them
 * (Su et al. 2021), grouped-query attention (Ainslie et al. 2023), SwiGLU
 * (Shazeer 2020), no biases; with qk_norm RMSNorm on each head's queries and
 * keys before the rotation, which is the layout of Qwen3.
 *
 *     x   = embed[input]
 *     x  += o(attention(rope(q_norm(q(n))), rope(k_norm(k(n))), v(n))),
 *           n = norm(x)                                            per layer
 *     x  += down(silu(gate(n)) * up(n)),  n = norm(x)
 *     h   = norm(x);  logits = lm_head(h)
 *
 * Shapes: N tokens of a ragged batch one after another, no padding; products
 * run over all N, attention within a segment; C dim, V vocabulary.
 *
 * Owner:   struct model is immutable after model_create and holds no
 *          parameters: they are the caller's float[n_params] blocks, and so
 *          are gradients, moments, Fisher and anchor, all laid out alike
 * Threads: any; a struct model_work belongs to one thread at a time
 */
#ifndef MNEME_LEARNER_MODEL_H
#define MNEME_LEARNER_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/model_shape.h"
#include "base/segment.h"
#include "base/tensor.h"

/* One tensor of the parameter block, under its Hugging Face name. */
struct model_tensor {
    char name[80];
    int n_dims; /* 1 or 2 */
    size_t shape[2];
    size_t offset; /* in floats, from the start of the block */
    size_t count;  /* floats */
    bool decays;   /* weight decay applies: matrices, not norms */
};

/* Offsets of one layer, in floats. q, k and v lie one after another, and gate
 * and up: each group is one product. */
struct model_layer {
    size_t attn_norm;             /* (C) */
    size_t q, k, v;               /* (H hd, C), (KV hd, C), (KV hd, C) */
    size_t q_norm, k_norm;        /* (hd), with qk_norm only */
    size_t o;                     /* (C, H hd) */
    size_t ffn_norm;              /* (C) */
    size_t gate, up, down;        /* (F, C), (F, C), (C, F) */
};

struct model {
    struct model_shape shape;
    size_t n_params;
    size_t n_tensors;
    struct model_tensor *tensors; /* in the order of their offsets */
    struct model_layer *layers;   /* shape.layers */
    size_t embed;                 /* (V, C) */
    size_t norm;                  /* (C) */
    size_t lm_head;               /* (V, C); equals embed when tied */
    float *rope;                  /* (context, hd / 2, 2): cos, sin */
};

/*
 * The shape of a preset: nano, tiny, small, base, large. vocab_size is the
 * caller's. ERR_INVALID for any other name.
 */
int model_preset(const char *name, struct model_shape *shape,
                 struct err *err);

/* Checks every field against the limits of model_shape.h and each other. */
int model_shape_check(const struct model_shape *shape, struct err *err);

int model_create(const struct model_shape *shape, struct model **model,
                 struct err *err);
void model_free(struct model *m);

/*
 * Weights at birth: normal(0, 0.02), output projections (o, down) zero, norms
 * one; each a function of (seed, tensor, element) only.
 *   params  float[n_params]
 */
void model_init_params(const struct model *m, uint64_t seed, float *params);

/* A ragged batch: n_segments segments, n_tokens targets in all. */
struct batch {
    size_t n_tokens; /* N */
    size_t n_segments;
    uint16_t *inputs;  /* [N] */
    uint16_t *targets; /* [N] */
    uint8_t *counted;  /* [N] 1: has a loss; 0: masked */
    uint32_t *starts;  /* [n_segments + 1] first token of each; the last is N */
    size_t cap_tokens, cap_segments;
};

/* The stored tensor of that name and shape, all of it finite; else ERR_CORRUPT
 * with what is wrong. */
int model_expect(const struct model_tensor *m, const struct tensor_list *l,
                 const struct tensor **t, struct err *err);

/* Room grows as needed; batch_clear keeps it. */
void batch_add(struct batch *b, const struct segment *s);
void batch_clear(struct batch *b);
void batch_release(struct batch *b);

/* Activations of one forward pass and what backward needs of them. */
struct model_work;

/* Room for batches of up to max_tokens tokens; model_work_bytes says how much
 * that is. Grows by itself when a batch is larger. */
struct model_work *model_work_create(const struct model *m,
                                     size_t max_tokens);
size_t model_work_bytes(const struct model *m, size_t max_tokens);
void model_work_free(struct model_work *w);

/*
 * Forward.
 *   params  float[n_params]
 *   loss    float[N] out: -ln p(target) of every token, masked ones too; may
 *           be NULL when only the states are wanted
 * The batch must stay as it is until model_backward is done.
 */
void model_forward(const struct model *m, const float *params,
                   const struct batch *b, struct model_work *w, float *loss);

/* After model_forward: final states after the last norm, float[N][C]. */
const float *model_states(const struct model_work *w);

/*
 * Backward of  scale * sum over counted tokens of the loss, and of dstates.
 *   weight   float[N] or NULL: multiplies each counted token's loss
 *   dstates  float[N][C] or NULL: gradient from above on model_states (the
 *            class head's)
 *   grads    float[n_params] out
 */
void model_backward(const struct model *m, const float *params,
                    const struct batch *b, struct model_work *w, float scale,
                    const float *weight, const float *dstates, float *grads);

/*
 * Replaces the batch's targets by labels drawn from the model's own
 * distribution after model_forward, for the Fisher information; loss is not
 * recomputed. Draw i is rng(seed, RNG_FISHER, step, first_index + i).
 */
void model_draw_targets(const struct model *m, const float *params,
                        struct batch *b, struct model_work *w, uint64_t seed,
                        uint64_t step, uint64_t first_index);

/* OpenBLAS's core and version, or "reference loops": part of a version. */
const char *model_kernels(void);

#endif
