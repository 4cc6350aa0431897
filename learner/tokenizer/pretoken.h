/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretoken.h - where a text may be split before byte pairs are merged.
 *
 * Sequence[Digits(individual), ByteLevel(use_regex)]: each number character
 * alone; what is between them by GPT-2's pattern, here in two lines:
 *     's|'t|'re|'ve|'m|'ll|'d|
 *      ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * A byte that is not part of a valid character is a character of no class.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_LEARNER_TOKENIZER_PRETOKEN_H
#define MNEME_LEARNER_TOKENIZER_PRETOKEN_H

#include <stddef.h>

/* Bytes of the pre-token that begins at text; n_bytes > 0. */
size_t pretoken_next(const char *text, size_t n_bytes);

#endif
