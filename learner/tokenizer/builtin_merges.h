/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builtin_merges.h - the merges of the built-in vocabulary.
 *
 * Merge i joins the two ids of builtin_merges[i] to the id 257 + i. The first n
 * merges are the vocabulary of 257 + n ids. builtin_merges.py makes them.
 */
#ifndef MNEME_LEARNER_TOKENIZER_BUILTIN_MERGES_H
#define MNEME_LEARNER_TOKENIZER_BUILTIN_MERGES_H

#include <stdint.h>

#define BUILTIN_MERGES 16127 /* TOKENIZER_BUILTIN_MAX ids */

extern const uint16_t builtin_merges[BUILTIN_MERGES][2];

#endif
