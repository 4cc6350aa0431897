/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frozen.h - a model with fixed weights, laid out for fast forward passes.
 *
 * It computes the same as model_forward, within rounding, but keeps nothing
 * for a backward pass. Rows go through a layer BLOCK at a time, so that their
 * activations stay in the processor's cache. Logits exist only for one block
 * of rows and of the vocabulary. The results for a token do not depend on how
 * many tokens are read with it. With `bytes`, the matrices are int8
 * (packed.h); the embedding, norms and attention stay in float.
 *
 *     C dim, V vocabulary, N tokens of a batch (model.h)
 *
 * Owner:   keeps a pointer to its model, which the caller frees later
 * Threads: any, once it is filled; a struct frozen_work belongs to one thread
 *          at a time
 */
#ifndef MNEME_LEARNER_INFER_FROZEN_H
#define MNEME_LEARNER_INFER_FROZEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "learner/model.h"

#define FROZEN_BLOCK 16 /* tokens of a cache that are copied together */

struct frozen;
struct frozen_work;

/* `m` must outlive it. Call frozen_set_tensor for every tensor of m before
 * use. */
struct frozen *frozen_create(const struct model *m, bool bytes);
void frozen_free(struct frozen *f);

/* Copies the numbers of one tensor of m: float[t->count]. */
void frozen_set_tensor(struct frozen *f, const struct model_tensor *t,
                       const float *data);

/* Allocates working memory for batches of up to max_tokens tokens. It grows
 * when needed. */
struct frozen_work *frozen_work_create(const struct frozen *f,
                                       size_t max_tokens);
void frozen_work_free(struct frozen_work *w);

/* The most memory of a frozen_work for max_tokens tokens.
 *   reads  also for frozen_read, of few segments
 */
size_t frozen_work_bytes(const struct model_shape *s, size_t max_tokens,
                         bool reads);

/*
 * Reads a batch.
 *   loss  float[N] out: -ln p(target) of every token, also of masked ones;
 *         NULL when only the states are wanted
 */
void frozen_read(const struct frozen *f, const struct batch *b,
                 struct frozen_work *w, float *loss);

/* Returns the final states of the last frozen_read, after the last norm:
 * float[N][C]. */
const float *frozen_states(const struct frozen_work *w);

/* Computes the logits of one final state: float[C] to float[V]. */
void frozen_logits(const struct frozen *f, const float *state,
                   struct frozen_work *w, float *logits);

/*
 * Appends n_new tokens to a key/value cache that holds n_past, for generation.
 *   cache     the caller's, of frozen_cache_floats(f) floats
 *   loss      float[n_losses] out: -ln p(tokens[i + 1]) after new token i;
 *             NULL with n_losses 0. tokens has n_losses + 1 ids then, at least.
 *   logits    float[V] out, of the last new token only; may be NULL
 * n_past + n_new <= context; n_losses <= n_new.
 */
size_t frozen_cache_floats(const struct frozen *f);
void frozen_extend(const struct frozen *f, float *cache, size_t n_past,
                   const token_id *tokens, size_t n_new, struct frozen_work *w,
                   float *loss, size_t n_losses, float *logits);

/*
 * Copies tokens [i * FROZEN_BLOCK, (i + 1) * FROZEN_BLOCK) of a cache to a
 * block and back. What comes back is the same to the bit, so frozen_extend goes
 * on as if it had read these tokens. Tokens that are not read yet may hold any
 * numbers.
 *   block  float[frozen_block_floats(f)]
 */
size_t frozen_block_floats(const struct frozen *f);
void frozen_block_save(const struct frozen *f, const float *cache, size_t i,
                       float *block);
void frozen_block_load(const struct frozen *f, const float *block, size_t i,
                       float *cache);

/* Returns ln(sum of exp(logits)). A logit minus it is the negative loss that
 * frozen_extend and frozen_read compute of the same token, to the bit. */
float frozen_lse(const float *logits, size_t v);

/* The arguments of one frozen_extend. */
struct frozen_part {
    float *cache;
    size_t n_past;
    const token_id *tokens;
    size_t n_new;
    float *loss;
    size_t n_losses;
    float *logits;
};

/* Does frozen_extend for n parts in one pass, which reads the weights once for
 * all of them. Their caches differ. Each result is the same to the bit as that
 * of a frozen_extend. */
void frozen_extend_all(const struct frozen *f, const struct frozen_part *parts,
                       size_t n, struct frozen_work *w);

#endif
