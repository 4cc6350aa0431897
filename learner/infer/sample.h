/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.h - choosing a token from a model's logits: pure functions.
 *
 * V is the vocabulary. Among equally likely tokens the smaller id comes first,
 * so that a result depends only on the arguments.
 *
 * Owner:   every array is the caller's
 * Threads: any
 */
#ifndef MNEME_LEARNER_INFER_SAMPLE_H
#define MNEME_LEARNER_INFER_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "learner/infer/infer.h"

/* Turns logits into ln p, in place: the negative losses of frozen.h, to the
 * bit. Returns false, and changes nothing, if one is not finite. */
bool sample_logprobs(float *logits, size_t v);

/*
 * Applies penalties and biases, as OpenAI's API defines them:
 *
 *     adjusted[j] = logprobs[j] + bias[j] - count[j] frequency_penalty
 *                   - (count[j] > 0) presence_penalty
 *
 *   logprobs  float[V]
 *   count     [V] how often each token was generated, without the prompt
 *   adjusted  float[V] out: unnormalised ln p, for sample_token
 */
void sample_adjust(const float *logprobs, size_t v,
                   const struct infer_sampling *sampling, const uint32_t *count,
                   float *adjusted);

/*
 * Samples a token: applies the temperature, keeps the top_k most likely
 * tokens, and of those the fewest whose share of the probability reaches
 * top_p.
 *   logprobs  float[V] from sample_logprobs or sample_adjust
 *   u         in [0, 1), random
 *   scratch   [V]
 */
token_id sample_token(const float *logprobs, size_t v,
                      const struct infer_sampling *sampling, double u,
                      struct infer_alternative *scratch);

/*
 * Finds the n most likely tokens, most likely first; n <= v.
 *   scratch  [V]
 *   best     [n] out; not in scratch
 */
void sample_best(const float *logprobs, size_t v, size_t n,
                 struct infer_alternative *scratch,
                 struct infer_alternative *best);

#endif
