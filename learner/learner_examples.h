/* SPDX-License-Identifier: Apache-2.0 */
/*
 * learner_examples.h - the labelled segments of the step in hand, as the class
 * head takes them: text or n-grams, the model's states, and room for the
 * gradient of those.
 *
 * Refused segments are none of them.
 *
 * Threads: the learner's
 */
#ifndef MNEME_LEARNER_LEARNER_EXAMPLES_H
#define MNEME_LEARNER_LEARNER_EXAMPLES_H

#include "learner/learner_private.h"

/* Fills l->examples and l->owners. Fresh ones leave their logits in
 * out->logits, when there is room for them. */
void learner_examples_list(struct learner *l, size_t n_fresh,
                           const struct learner_step_output *out);

/* Tests and trains the class head on what was listed. */
void learner_examples_learn(struct learner *l, size_t n_fresh,
                            struct learner_step_output *out);

#endif
