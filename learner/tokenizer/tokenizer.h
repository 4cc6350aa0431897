/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - bytes to ids and back, lossless on any bytes.
 *
 * Two kinds. `bytes`: a byte is a token. `bpe`: byte-level byte pair
 * encoding (Sennrich et al. 2016) with the pre-tokenizer that Hugging Face
 * writes as Sequence[Digits(individual), ByteLevel(use_regex)] and GGUF calls
 * `smollm`: each digit alone, then the GPT-2 split. The vocabulary is learned
 * once and never changes in a data directory. In both kinds ids 0 to 255 are
 * the bytes and 256 is the end-of-text token `<|endoftext|>`; merges follow
 * from 257, and ids left over are named <unused_N>, so that shapes never
 * change.
 *
 * Owner:   immutable once made
 * Threads: any
 */
#ifndef MNEME_LEARNER_TOKENIZER_TOKENIZER_H
#define MNEME_LEARNER_TOKENIZER_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"

struct tokenizer; /* fields are in tokenizer.c */

/* Growable ids. */
struct token_list {
    uint16_t *items;
    size_t n, cap;
};

#define TOKEN_LIST_INIT {NULL, 0, 0}

void token_list_add(struct token_list *l, uint16_t id);
void token_list_release(struct token_list *l);

/* 256 bytes and the end-of-text token; vocab_size 257. */
struct tokenizer *tokenizer_create_bytes(void);

/*
 * Learns a byte-level BPE of vocab_size ids from text: the most frequent pair
 * is merged first, ties by the smaller pair of ids, so that the same text gives
 * the same vocabulary. Stops early when no pair occurs twice: the ids left
 * over are <unused_N>.
 *   vocab_size  257 to 65,536
 *   progress    called now and then with merges done and wanted; may be NULL
 */
int tokenizer_train(const char *text, size_t n_bytes, int vocab_size,
                    void (*progress)(int done, int total, void *arg),
                    void *arg, struct tokenizer **tokenizer, struct err *err);

/* Reads a tokenizer.json of the form that tokenizer_to_json writes; another
 * form is ERR_INVALID and named, damage is ERR_CORRUPT. Its post_processor may
 * be absent, do nothing, or put <|endoftext|> before a text. */
int tokenizer_from_json(const char *json, size_t n_bytes,
                        struct tokenizer **tokenizer, struct err *err);

/* Hugging Face tokenizer.json: BPE, ByteLevel, added_tokens, and a template
 * that puts <|endoftext|> before a text. The same bytes for the same
 * tokenizer. */
void tokenizer_to_json(const struct tokenizer *t, struct buf *out);

void tokenizer_free(struct tokenizer *t);

int tokenizer_vocab_size(const struct tokenizer *t);
uint16_t tokenizer_end_of_text(const struct tokenizer *t);

/* Appends the ids of a text. Special tokens are never recognised in it. */
void tokenizer_encode(const struct tokenizer *t, const char *text,
                      size_t n_bytes, struct token_list *out);

/* The same, checking cancel now and then. When it cancels, its error is
 * returned, and out has a part of the ids. */
int tokenizer_encode_wanted(const struct tokenizer *t, const char *text,
                            size_t n_bytes, const struct cancel *cancel,
                            struct token_list *out, struct err *err);

/* The bytes of one id: none for specials and unused ids. Never NULL. */
const char *tokenizer_bytes(const struct tokenizer *t, uint16_t id,
                            size_t *n_bytes);

/* The token as tokenizer.json spells it (GPT-2's byte alphabet). */
const char *tokenizer_piece(const struct tokenizer *t, uint16_t id);

void tokenizer_decode(const struct tokenizer *t, const uint16_t *ids,
                      size_t n, struct buf *out);

#endif
