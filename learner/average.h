/* SPDX-License-Identifier: Apache-2.0 */
/*
 * average.h - the moving average of the weights, which a version serves.
 *
 * After each update, an average a follows the live weights w:
 *     a <- a + (1 - d) (w - a),  d = min(decay, (1 + t) / (10 + t))
 * t is the number of updates before this one. The second term of the minimum
 * makes a young average follow fast, so that it forgets the initial weights.
 * Averaging late weights is that of Polyak and Juditsky (1992).
 *
 * Only live weights are trained. The average changes what they learn only by
 * EWC, which pulls them towards it.
 *
 * Owner:   the learner; the block is laid out like the parameters
 * Threads: trainer; average_follow also workers, on ranges
 */
#ifndef MNEME_LEARNER_AVERAGE_H
#define MNEME_LEARNER_AVERAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct average_options {
    bool enabled;
    float decay; /* in [0, 1); 0: the average equals the live weights */
};

struct average {
    struct average_options options;
    float *weights; /* [n_params]; NULL while not enabled */
};

/* Starts the average at the weights w[n_params]. */
void average_init(struct average *a, const struct average_options *options,
                  const float *w, size_t n_params);
void average_release(struct average *a);

/* Returns d of the update that follows `updates` others. */
float average_decay(const struct average *a, int64_t updates);

/* Moves weights[from, to) towards w[from, to). Does nothing while not
 * enabled.
 *   decay  from average_decay */
void average_follow(struct average *a, const float *w, float decay, size_t from,
                    size_t to);

#endif
