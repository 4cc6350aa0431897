/* SPDX-License-Identifier: Apache-2.0 */
/*
 * infer_util.h - a version that answers, and the model itself to compare with.
 *
 * The weights are random and large: with those of a newborn model every
 * distribution would be all but flat, and much would agree by accident.
 */
#ifndef MNEME_TESTS_UTIL_INFER_UTIL_H
#define MNEME_TESTS_UTIL_INFER_UTIL_H

#include <stddef.h>
#include <stdint.h>

#include "learner/infer/infer.h"
#include "learner/model.h"

#define UTIL_V 257
#define UTIL_END 256
#define UTIL_CONTEXT 16

static const char util_text[] =
    "A version answers: this text is longer than the context, so that it is "
    "cut into several segments, and \xc3\xa4 and \xe2\x82\xac are in it too.";

extern const struct model_shape infer_util_shape;

extern struct infer_fixture {
    struct tokenizer *tokenizer;
    struct model *model;
    float *params;
    struct tensor_list weights, head, no_head;
    struct names labels, no_labels;
    struct infer *infer;
} infer_fix;

/* cmocka set-up and tear-down of a group: all of infer_fix. */
int util_setup(void **state);
int util_teardown(void **state);

/* The parameters anew; what infer_fix.weights lends changes with them. */
void util_randomise(float scale);
void util_lend_weights(struct tensor_list *l);

/* A class head of two labels: "red" texts and "blue" ones. */
void util_make_head(int dim, struct tensor_list *out);

/* An n-gram memory that has learned util_text, in segments. */
void util_make_memory(struct tensor_list *out);

/* loss[n] of a segment by itself. */
void util_forward_one(const struct segment *s, float *loss);

/* Logits after n ids, by a whole forward pass. */
void util_logits_after(const token_id *ids, size_t n, float *logits);
token_id util_most_likely(const float *logits);
double util_logprob(const float *logits, size_t id);

void util_prompt_of(const char *s, size_t n, struct token_list *l);

/* Sampling by the most likely token; a completion, which fails the test when
 * it is refused. */
struct infer_sampling util_greedy(int max_tokens);
void util_complete(const struct infer *f, const char *prompt,
                   const struct infer_sampling *s, struct infer_completion *c);

#endif
