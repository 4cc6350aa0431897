/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes.h - the model shapes that are measured, and the number of their
 * floating-point operations.
 *
 * The comparison shapes are those of common GPTs; bench/compare_pytorch.py uses
 * them, too. Columns: layers x dim, heads, vocabulary, batch of sequences of
 * 256 tokens.
 *
 *     tiny    4 x 128   4    256   4
 *     small   6 x 256   8    256   4
 *     medium  6 x 384   6   4096   8
 *     gpt2   12 x 768  12  50257   2
 *
 * They have as many key/value heads as heads, and tied embeddings. Their SwiGLU
 * has as many weights as a GPT's feed-forward: its width is 8/3 dim, rounded up
 * to a multiple of 8.
 *
 * The presets are the daemon's, with its default vocabulary of 4096 and its
 * default of 512 tokens in a step, replay included, in sequences of 128.
 *
 * Owner:   the caller; nothing to release
 * Threads: any
 */
#ifndef MNEME_BENCH_SHAPES_H
#define MNEME_BENCH_SHAPES_H

#include <stddef.h>

#include "base/model_shape.h"
#include "learner/model.h"

#define SHAPES_N 4
#define SHAPES_PRESETS_N 5

struct shape {
    const char *name;
    struct model_shape model;
    size_t sequence, batch; /* tokens; sequences in a step */
    size_t new_tokens;      /* of a completion after SHAPE_PROMPT_TOKENS */
};

#define SHAPE_PROMPT_TOKENS 16

/* Comparison shape i; preset i, from the smallest. */
void shape_comparison(size_t i, struct shape *s);
void shape_preset(size_t i, struct shape *s);

const char *shape_comparison_name(size_t i);
const char *shape_preset_name(size_t i);

/*
 * The floating-point operations that one training step needs, forward and
 * backward: 6 for each token and weight of a matrix product; in each layer, 12
 * for each head, dimension and (query, key) pair of causal attention.
 * Recomputed values count once.
 */
double shape_step_flop(const struct model *m, size_t sequence, size_t batch);

#endif
