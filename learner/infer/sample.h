/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.h - from a model's logits to a token: pure functions.
 *
 * V is the vocabulary. Of equally likely tokens the smaller id comes first
 * everywhere, so that a draw depends on nothing but its arguments.
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

/* Logits become ln p, in place. False, and nothing changed, when they have an
 * infinity or a NaN. */
bool sample_logprobs(float *logits, size_t v);

/*
 * One draw: temperature, then the top_k most likely, then of those the fewest
 * whose share of the probability reaches top_p.
 *   logprobs  float[V], as sample_logprobs leaves them
 *   u         in [0, 1)
 *   scratch   [V]
 */
uint16_t sample_draw(const float *logprobs, size_t v,
                     const struct infer_sampling *sampling, double u,
                     struct infer_alternative *scratch);

/*
 * The n most likely, best first; n <= v.
 *   scratch  [V]
 *   best     [n] out; not in scratch
 */
void sample_best(const float *logprobs, size_t v, size_t n,
                 struct infer_alternative *scratch,
                 struct infer_alternative *best);

#endif
