/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_tokenizer.h - a tokenizer.json as keys of a GGUF file.
 *
 * Threads: any, one at a time for a writer
 */
#ifndef MNEME_INTERCHANGE_GGUF_TOKENIZER_H
#define MNEME_INTERCHANGE_GGUF_TOKENIZER_H

#include <stddef.h>

#include "base/err.h"
#include "interchange/gguf_writer.h"

/*
 * Adds tokenizer.ggml.model, .pre, .tokens, .token_type and .merges. Ids that
 * the vocabulary lacks get names and the type UNUSED.
 *   vocab_size  the number of rows of the embedding
 * ERR_CORRUPT; ERR_INVALID: it is no BPE, it has byte_fallback, llama.cpp has
 * no name for its pre-tokenizer, or an id is not below vocab_size.
 */
int gguf_tokenizer_add(struct gguf_writer *w, const char *json, size_t n_bytes,
                       size_t vocab_size, struct err *err);

#endif
