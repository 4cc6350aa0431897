/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - the Transformer: the layout of its parameters, forward, backward.
 *
 * A decoder of the Llama family (Touvron et al. 2023): pre-RMSNorm (Zhang,
 * Sennrich 2019), rotary positions in halves as in Hugging Face (Su et al.
 * 2021), grouped-query attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020).
 * With qk_norm, RMSNorm is applied to each head's queries and keys before the
 * rotation, as in Qwen3. Attention may have biases (enum model_bias).
 *
 *     x   = embed[input]
 *     x  += o(attention(rope(q_norm(q(n))), rope(k_norm(k(n))), v(n))),
 *           n = norm(x)                                            per layer
 *     x  += down(silu(gate(n)) * up(n)),  n = norm(x)
 *     h   = norm(x);  logits = lm_head(h)
 *
 * Shapes: N tokens of a ragged batch one after another, without padding;
 * matrix products run over all N, attention runs within a segment; C dim, V
 * vocabulary.
 *
 * Owner:   struct model never changes after model_create and holds no
 *          parameters. The caller owns the blocks float[n_params]: parameters,
 *          gradients, moments, Fisher and anchor, all with one layout.
 * Threads: any; a struct model_work belongs to one thread at a time
 */
#ifndef MNEME_LEARNER_MODEL_H
#define MNEME_LEARNER_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/model_shape.h"
#include "base/tensor.h"
#include "learner/batch.h"

/* One tensor of the parameter block. */
struct model_tensor {
    char name[80];
    int n_dims; /* 1 or 2 */
    size_t shape[2];
    size_t offset; /* in floats, from the start of the block */
    size_t count;  /* floats */
    bool decays;   /* weight decay applies: true for matrices, false for
                      norms and biases */
};

/* Offsets of one layer, in floats. q, k and v are adjacent, and so are their
 * biases, and gate and up: each group is multiplied as one matrix. */
struct model_layer {
    size_t attn_norm;             /* (C) */
    size_t q, k, v;               /* (H hd, C), (KV hd, C), (KV hd, C) */
    size_t q_bias, k_bias, v_bias; /* (H hd), (KV hd), (KV hd): with biases */
    size_t q_norm, k_norm;        /* (hd), with qk_norm only */
    size_t o;                     /* (C, H hd) */
    size_t o_bias;                /* (C), with MODEL_BIAS_ALL */
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
 * Sets the shape of a preset: nano, tiny, small, base, large. The caller sets
 * vocab_size. ERR_INVALID for any other name.
 */
int model_preset(const char *name, struct model_shape *shape,
                 struct err *err);

/* Checks every field against the limits of model_shape.h, and that the fields
 * agree. */
int model_shape_check(const struct model_shape *shape, struct err *err);

int model_create(const struct model_shape *shape, struct model **model,
                 struct err *err);
void model_free(struct model *m);

/*
 * Sets the initial weights: normal(0, 0.02); output projections (o, down) are
 * zero, norms are one, biases are zero. A weight is a function of (seed,
 * tensor, element) only.
 *   params  float[n_params]
 */
void model_init_params(const struct model *m, uint64_t seed, float *params);

/* Finds the stored tensor of m's name and shape. ERR_CORRUPT if it is missing,
 * has another shape, or is not finite. */
int model_expect(const struct model_tensor *m, const struct tensor_list *l,
                 const struct tensor **t, struct err *err);

/* The activations of one forward pass, kept for the backward pass. */
struct model_work;

/*
 * Allocates working memory for batches of up to max_tokens tokens. It grows
 * when a batch is larger. model_work_bytes returns its size.
 */
struct model_work *model_work_create(const struct model *m,
                                     size_t max_tokens);
size_t model_work_bytes(const struct model *m, size_t max_tokens);
void model_work_free(struct model_work *w);

/*
 * Runs the forward pass.
 *   params  float[n_params]
 *   loss    float[N] out: -ln p(target) of every token, also of masked ones;
 *           NULL when only the states are wanted
 * The batch must not change until model_backward has returned.
 */
void model_forward(const struct model *m, const float *params,
                   const struct batch *b, struct model_work *w, float *loss);

/* Returns the final states of the last model_forward, after the last norm:
 * float[N][C]. */
const float *model_states(const struct model_work *w);

/*
 * Runs the backward pass: computes the gradient of scale * (sum over counted
 * tokens of the loss), plus that of dstates.
 *   weight   float[N] or NULL: multiplies each counted token's loss
 *   dstates  float[N][C] or NULL: an additional gradient of the final states,
 *            from the class head
 *   grads    float[n_params] out
 */
void model_backward(const struct model *m, const float *params,
                    const struct batch *b, struct model_work *w, float scale,
                    const float *weight, const float *dstates, float *grads);

/* Returns the kernels in use: OpenBLAS's core and version, or "reference
 * loops". Each version records it. */
const char *model_kernels(void);

#endif
