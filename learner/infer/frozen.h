/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frozen.h - a model whose weights change no more, laid out for reading:
 * forward passes of a version that answers.
 *
 * It computes what model_forward does, within rounding, but keeps nothing for
 * a way back: rows go through a layer BLOCK at a time, so that what they need
 * in it stays in the cache, and logits exist for a block of rows and of the
 * vocabulary only. A token's numbers do not depend on how many others are
 * read with it. With bytes, the matrices of products are int8 (packed.h);
 * the embedding, norms and attention stay in float.
 *
 *     C dim, V vocabulary, N tokens of a batch (model.h)
 *
 * Owner:   holds the model that it was created with, but not its owner
 * Threads: any, once it is filled; a struct frozen_work belongs to one thread
 *          at a time
 */
#ifndef MNEME_LEARNER_INFER_FROZEN_H
#define MNEME_LEARNER_INFER_FROZEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "learner/model.h"

struct frozen;
struct frozen_work;

/* `m` outlives it. It can be read when frozen_take had every tensor of m. */
struct frozen *frozen_create(const struct model *m, bool bytes);
void frozen_free(struct frozen *f);
size_t frozen_bytes(const struct frozen *f); /* memory it holds */

/* Takes over the numbers of a tensor of m: float[t->count]. */
void frozen_take(struct frozen *f, const struct model_tensor *t,
                 const float *data);

/* Room for batches of up to max_tokens tokens; grows by itself. */
struct frozen_work *frozen_work_create(const struct frozen *f,
                                       size_t max_tokens);
void frozen_work_free(struct frozen_work *w);
size_t frozen_work_bytes(const struct frozen_work *w);

/*
 * Reads a batch.
 *   loss  float[N] out: -ln p(target) of every token, masked ones too; NULL
 *         when only the states are wanted
 */
void frozen_read(const struct frozen *f, const struct batch *b,
                 struct frozen_work *w, float *loss);

/* After frozen_read: final states after the last norm, float[N][C]. */
const float *frozen_states(const struct frozen_work *w);

/* Logits at a final state: float[C] to float[V]. */
void frozen_logits(const struct frozen *f, const float *state,
                   struct frozen_work *w, float *logits);

/*
 * Logits of the last token only, for generation with a key/value cache: n_new
 * tokens are appended to a cache that holds n_past.
 *   cache   frozen_cache_floats(f) floats, the caller's
 *   logits  float[V] out, of the last new token; may be NULL
 * n_past + n_new <= context.
 */
size_t frozen_cache_floats(const struct frozen *f);
void frozen_extend(const struct frozen *f, float *cache, size_t n_past,
                   const uint16_t *tokens, size_t n_new, struct frozen_work *w,
                   float *logits);

#endif
