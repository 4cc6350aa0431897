/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split_patterns.h - the regular expressions of the pre-tokenizers of Llama 3
 * and Qwen2, as tokenizer.json has them. They differ in how many digits stay
 * together. GGUF calls these pre-tokenizers llama-bpe and qwen2.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_SPLIT_PATTERNS_H
#define MNEME_BASE_SPLIT_PATTERNS_H

#define SPLIT_PATTERN_LLAMA3 SPLIT_PATTERN("\\p{N}{1,3}")
#define SPLIT_PATTERN_QWEN2 SPLIT_PATTERN("\\p{N}")
#define SPLIT_PATTERN(numbers)                                                 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers      \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#endif
