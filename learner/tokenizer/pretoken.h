/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretoken.h - splits a text before byte pairs are merged.
 *
 * Each kind equals a pre-tokenizer of Hugging Face's tokenizers. The patterns
 * are shown on several lines.
 *
 * PRETOKEN_GPT2: ByteLevel(use_regex)
 *     's|'t|'re|'ve|'m|'ll|'d|
 *      ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * PRETOKEN_SMOLLM: Digits(individual), then ByteLevel(use_regex). Each number
 * character is alone, and the text between them is split as GPT-2 does.
 * PRETOKEN_LLAMA3: Split with
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *      ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * PRETOKEN_QWEN2: the same with \p{N} instead of \p{N}{1,3}.
 *
 * The classes are those of Unicode 14, so that a text is always split in the
 * same way. Characters that Unicode has assigned since then have no class. A
 * byte that is not part of a valid character counts as a character of no class.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_LEARNER_TOKENIZER_PRETOKEN_H
#define MNEME_LEARNER_TOKENIZER_PRETOKEN_H

#include <stddef.h>
#include <stdint.h>

enum pretoken_kind {
    PRETOKEN_SMOLLM,
    PRETOKEN_GPT2,
    PRETOKEN_LLAMA3,
    PRETOKEN_QWEN2
};

/* Returns the bytes of the pre-token that begins at text; n_bytes > 0. */
size_t pretoken_next(enum pretoken_kind kind, const char *text, size_t n_bytes);

#endif
