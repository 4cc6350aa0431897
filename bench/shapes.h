/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes.h - the models whose speed is measured, and what their arithmetic
 * amounts to.
 *
 * The comparison shapes are those of GPTs that others are measured with,
 * bench/compare_pytorch.py among them (layers x dim, heads, vocabulary, in
 * batches of sequences of 256 tokens):
 *
 *     tiny    4 x 128   4    256   4
 *     small   6 x 256   8    256   4
 *     medium  6 x 384   6   4096   8
 *     gpt2   12 x 768  12  50257   2
 *
 * with as many key/value heads as heads, tied embeddings, and a SwiGLU as wide
 * as makes it the size of a GPT's feed-forward: 8/3 dim, up to a multiple of 8.
 *
 * The presets are the daemon's with its default vocabulary of 4096 and as many
 * tokens in a step as it has by default, replay included: 512, in sequences of
 * 128.
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
    size_t new_tokens;      /* that a generation adds to PROMPT_TOKENS */
};

#define SHAPE_PROMPT_TOKENS 16

/* Comparison shape i, and preset i from the smallest. */
void shape_comparison(size_t i, struct shape *s);
void shape_preset(size_t i, struct shape *s);

/* Their names alone. */
const char *shape_comparison_name(size_t i);
const char *shape_preset_name(size_t i);

/*
 * Floating-point operations of one training step, forward and backward, as a
 * model needs them: 6 for each weight of a product and token, and 12 for each
 * head, dimension of it and (query, key) pair that causal attention looks at,
 * in each layer. What is computed twice counts once.
 */
double shape_step_flop(const struct model *m, size_t sequence, size_t batch);

#endif
