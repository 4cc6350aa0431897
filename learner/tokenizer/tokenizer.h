/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - bytes to ids and back, lossless for any bytes.
 *
 * There are two kinds. In `bytes`, each byte is a token. `bpe` is byte-level
 * byte pair encoding (Sennrich et al. 2016). Its pre-tokenizer splits off each
 * digit, then splits like GPT-2. Hugging Face writes it as
 * Sequence[Digits(individual), ByteLevel(use_regex)]; GGUF calls it `smollm`.
 * A vocabulary is learned from text, or it is the built-in one. In a data
 * directory it never changes. In both kinds, ids 0 to 255 are the bytes and
 * 256 is the end-of-text token `<|endoftext|>`. Merges follow from 257. Ids
 * that are left over are named <unused_N>, so that the shape of the model
 * never changes.
 *
 * Owner:   never changes once made
 * Threads: any
 */
#ifndef MNEME_LEARNER_TOKENIZER_TOKENIZER_H
#define MNEME_LEARNER_TOKENIZER_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"
#include "base/segment.h"

struct tokenizer; /* fields are in tokenizer_private.h */

/* A growable list of ids. */
struct token_list {
    token_id *items;
    size_t n, cap;
};

#define TOKEN_LIST_INIT {NULL, 0, 0}

void token_list_add(struct token_list *l, token_id id);
void token_list_release(struct token_list *l);

/* Creates a tokenizer of 256 bytes and the end-of-text token; vocab_size
 * 257. */
struct tokenizer *tokenizer_create_bytes(void);

/*
 * Creates the byte-level BPE that is built in, of vocab_size ids. Of its merges
 * it takes the first ones: each merge needs only earlier ones.
 *   vocab_size  257 to TOKENIZER_BUILTIN_MAX
 */
#define TOKENIZER_BUILTIN_MAX 16384

struct tokenizer *tokenizer_create_builtin(int vocab_size);

/*
 * Learns a byte-level BPE of vocab_size ids from text. The most frequent pair
 * is merged first; among equals, the pair of smaller ids. So the same text
 * gives the same vocabulary. Merging ends early if no pair occurs twice; the
 * other ids are <unused_N>.
 *   vocab_size  257 to 65,536
 *   progress    called after every few merges, with those done and wanted; may
 *               be NULL
 */
int tokenizer_train(const char *text, size_t n_bytes, int vocab_size,
                    void (*progress)(int done, int total, void *arg),
                    void *arg, struct tokenizer **tokenizer, struct err *err);

/* Reads a tokenizer.json of the form that tokenizer_to_json writes. ERR_INVALID
 * names what has another form; damage is ERR_CORRUPT. Its post_processor may be
 * absent, do nothing, or put <|endoftext|> before a text. */
int tokenizer_from_json(const char *json, size_t n_bytes,
                        struct tokenizer **tokenizer, struct err *err);

/* Writes a Hugging Face tokenizer.json: BPE, ByteLevel, added_tokens, and a
 * template that puts <|endoftext|> before a text. The same tokenizer gives the
 * same bytes. */
void tokenizer_to_json(const struct tokenizer *t, struct buf *out);

void tokenizer_free(struct tokenizer *t);

int tokenizer_vocab_size(const struct tokenizer *t);
token_id tokenizer_end_of_text(const struct tokenizer *t);

/* Appends the ids of a text. A special token's name in it is ordinary text. */
void tokenizer_encode(const struct tokenizer *t, const char *text,
                      size_t n_bytes, struct token_list *out);

/* Does the same, and checks `cancel` every 64 KiB. If it cancels, its error is
 * returned, and `out` has a part of the ids. */
int tokenizer_encode_cancellable(const struct tokenizer *t, const char *text,
                                 size_t n_bytes, const struct cancel *cancel,
                                 struct token_list *out, struct err *err);

/* Returns the bytes of an id; none for special and unused ids. Never NULL. */
const char *tokenizer_bytes(const struct tokenizer *t, token_id id,
                            size_t *n_bytes);

/* Returns the token as tokenizer.json spells it (GPT-2's byte alphabet). */
const char *tokenizer_piece(const struct tokenizer *t, token_id id);

void tokenizer_decode(const struct tokenizer *t, const token_id *ids,
                      size_t n, struct buf *out);

#endif
