/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretoken.h - splits a text before byte pairs are merged.
 *
 * It equals Sequence[Digits(individual), ByteLevel(use_regex)]: each number
 * character is alone, and the text between them is split by GPT-2's pattern,
 * shown on two lines:
 *     's|'t|'re|'ve|'m|'ll|'d|
 *      ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * A byte that is not part of a valid character counts as a character of no
 * class.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_LEARNER_TOKENIZER_PRETOKEN_H
#define MNEME_LEARNER_TOKENIZER_PRETOKEN_H

#include <stddef.h>

/* Returns the bytes of the pre-token that begins at text; n_bytes > 0. */
size_t pretoken_next(const char *text, size_t n_bytes);

#endif
