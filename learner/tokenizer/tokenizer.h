/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - bytes to ids and back.
 *
 * There are two kinds. In `bytes`, each byte is a token. `bpe` is byte-level
 * byte pair encoding (Sennrich et al. 2016): a text is split into pre-tokens
 * (pretoken.h), and in each of them pairs of tokens are merged, the merge of
 * the lowest rank first.
 *
 * A vocabulary is learned from text, or it is the built-in one, or a published
 * one. In a data directory it never changes. In mneme's own vocabularies, ids 0
 * to 255 are the bytes and 256 is the end-of-text token `<|endoftext|>`. Merges
 * follow from 257. The pre-tokenizer is that of SmolLM. Ids that are left over
 * are named <unused_N>, so that the shape of the model never changes.
 *
 * In a published vocabulary each token may have any id, and some ids may have
 * no token. tokenizer_from_json reads these forms of tokenizer.json:
 *
 *   pre_tokenizer  ByteLevel (GPT-2); Digits and ByteLevel (SmolLM); Split with
 *                  the pattern of Llama 3 or Qwen2, and ByteLevel
 *   normalizer     none or NFC
 *   model          BPE, with or without ignore_merges; with byte_fallback as
 *                  below
 *   added tokens   with any ids. A special token (<|im_start|>) decodes to no
 *                  bytes. tokenizer_encode reads its name as ordinary text;
 *                  tokenizer_encode_marked reads it as the token. Another added
 *                  token (<think>) decodes to its name, and both functions read
 *                  the name as the token.
 *   post_processor none, or one special token before the text
 *
 * Encoding and decoding keeps any bytes. With normalizer NFC it gives the text
 * in Unicode's normalization form C; bytes that are not UTF-8 are kept, too.
 *
 * With byte_fallback it reads the form of Llama 2 and Mistral: merging begins
 * with the characters of the whole text, and with the bytes of those that are
 * no token. Spaces become U+2581, and one is put before the text (normalizer
 * Sequence[Prepend, Replace], or pre_tokenizer Metaspace without a split). Thus
 * decoding gives one space more before the text, and U+2581 becomes a space.
 *
 * Owner:   never changes once it is shared
 * Threads: any
 */
#ifndef MNEME_LEARNER_TOKENIZER_TOKENIZER_H
#define MNEME_LEARNER_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
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

/*
 * Reads a tokenizer.json of one of the forms above, of at most
 * TOKENIZER_MAX_JSON bytes, MODEL_MAX_VOCAB ids and TOKENIZER_MAX_MERGES
 * merges. ERR_INVALID names what has another form; damage is ERR_CORRUPT.
 *
 * The end-of-text token is the first of these names that is a special token:
 * <|endoftext|>, <|end_of_text|>, </s>, <eos>. Texts
 * begin with the special token of post_processor;
 * without one, with end-of-text.
 */
#define TOKENIZER_MAX_JSON ((size_t)64 << 20)
#define TOKENIZER_MAX_MERGES 1048576

int tokenizer_from_json(const char *json, size_t n_bytes,
                        struct tokenizer **tokenizer, struct err *err);

/*
 * Writes a Hugging Face tokenizer.json. The same tokenizer gives the same
 * bytes. A published tokenizer is written with everything that was read. One of
 * mneme's own form has a template that puts <|endoftext|> before a text.
 */
void tokenizer_to_json(const struct tokenizer *t, struct buf *out);

/*
 * Before a tokenizer is shared: makes it fit a model of vocab_size ids. Many
 * published models have more ids than their tokenizer; it gets unused ids,
 * which tokenizer_to_json does not write. ERR_CORRUPT: the model has fewer ids,
 * or other ids than a vocabulary of mneme's own form.
 */
int tokenizer_fit(struct tokenizer *t, int vocab_size, struct err *err);

void tokenizer_free(struct tokenizer *t);

int tokenizer_vocab_size(const struct tokenizer *t);
token_id tokenizer_end_of_text(const struct tokenizer *t);

/* The token that is put before a text. In mneme's own vocabularies, and in
 * published ones without such a token, it is end-of-text. */
token_id tokenizer_begin_of_text(const struct tokenizer *t);

/* True if tokenizer.json, as it is written, puts that token before a text. */
bool tokenizer_adds_begin(const struct tokenizer *t);

/* True if the vocabulary has mneme's own form. */
bool tokenizer_is_own(const struct tokenizer *t);

/* True for added tokens that are no text. */
bool tokenizer_is_special(const struct tokenizer *t, token_id id);

/* Finds the added token of this name. */
bool tokenizer_find(const struct tokenizer *t, const char *name, size_t n_bytes,
                    token_id *id);

/* The name of the pre-tokenizer in GGUF (tokenizer.ggml.pre). */
const char *tokenizer_gguf_pre(const struct tokenizer *t);

/* Appends the ids of a text. A special token's name in it is ordinary text. */
void tokenizer_encode(const struct tokenizer *t, const char *text,
                      size_t n_bytes, struct token_list *out);

/* Does the same for what a chat template has made: the names of special tokens
 * become these tokens. Anybody who may write such a text can end a message in
 * it. */
void tokenizer_encode_marked(const struct tokenizer *t, const char *text,
                             size_t n_bytes, struct token_list *out);

/* Does what tokenizer_encode does, and checks `cancel` after the first
 * pre-token that ends 64 KiB or more after the last check. Normalization and a
 * single pre-token are not interrupted. If `cancel` cancels, its error is
 * returned, and `out` has a part of the ids. */
int tokenizer_encode_cancellable(const struct tokenizer *t, const char *text,
                                 size_t n_bytes, const struct cancel *cancel,
                                 struct token_list *out, struct err *err);

/* Returns the bytes of an id; none for special and unused ids. Never NULL. */
const char *tokenizer_bytes(const struct tokenizer *t, token_id id,
                            size_t *n_bytes);

/* Returns the token as tokenizer.json spells it: in GPT-2's byte alphabet; an
 * added token as it is. */
const char *tokenizer_piece(const struct tokenizer *t, token_id id);

void tokenizer_decode(const struct tokenizer *t, const token_id *ids,
                      size_t n, struct buf *out);

#endif
