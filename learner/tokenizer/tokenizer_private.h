/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_private.h - the fields of a tokenizer, for tokenizer.c,
 * tokenizer_json.c and tokenizer_train.c.
 */
#ifndef MNEME_LEARNER_TOKENIZER_TOKENIZER_PRIVATE_H
#define MNEME_LEARNER_TOKENIZER_TOKENIZER_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "learner/tokenizer/tokenizer.h"

#define TOKENIZER_END_OF_TEXT 256
#define TOKENIZER_FIRST_MERGE 257
#define TOKENIZER_END_NAME "<|endoftext|>"

struct tokenizer_merge {
    token_id left, right, result;
};

struct tokenizer_token {
    char *bytes; /* terminated by NUL */
    size_t n_bytes;
    char *piece; /* spelled in GPT-2's byte alphabet */
};

struct tokenizer {
    int vocab_size;
    token_id end_of_text;
    struct tokenizer_token *tokens; /* [vocab_size] */
    token_id byte_ids[256];         /* the id of each byte */
    struct tokenizer_merge *merges; /* by rank, the first is applied first */
    size_t n_merges;
    uint32_t *slots; /* hash table by (left, right): rank + 1, 0 is empty */
    size_t n_slots;  /* a power of two */
};

/*
 * Creates a tokenizer of 256 bytes, end-of-text and merges. Ids from
 * 257 + n_merges to vocab_size are unused. Copies merges.
 */
struct tokenizer *tokenizer_build(const struct tokenizer_merge *merges,
                                  size_t n_merges, int vocab_size);

/* Builds the hash table of pairs, once the merges are set. */
void tokenizer_index(struct tokenizer *t);

/* Hashes a pair (left << 16 ^ right), for a table of a power of two. */
static inline uint32_t tokenizer_hash(uint32_t pair)
{
    uint32_t mixed = pair * UINT32_C(2654435769);

    return mixed ^ mixed >> 16; /* so that the low bits depend on the left id,
                                   too */
}

/* Appends a byte in GPT-2's alphabet: printable bytes as they are, the others
 * as U+0100 and on. */
void tokenizer_spell(unsigned char byte, struct buf *out);

/* Returns the byte that a code point of the alphabet stands for, or -1. */
int tokenizer_unspell(uint32_t code_point);

#endif
