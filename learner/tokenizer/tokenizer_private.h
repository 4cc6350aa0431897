/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_private.h - the fields of a tokenizer, for tokenizer.c,
 * tokenizer_encode.c, tokenizer_json.c and tokenizer_train.c.
 */
#ifndef MNEME_LEARNER_TOKENIZER_TOKENIZER_PRIVATE_H
#define MNEME_LEARNER_TOKENIZER_TOKENIZER_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "learner/tokenizer/pretoken.h"
#include "learner/tokenizer/tokenizer.h"

/* The layout of mneme's own vocabularies. */
#define TOKENIZER_END_OF_TEXT 256
#define TOKENIZER_FIRST_MERGE 257
#define TOKENIZER_END_NAME "<|endoftext|>"

struct tokenizer_merge {
    token_id left, right, result;
};

enum tokenizer_kind {
    TOKENIZER_UNUSED,   /* an id between others that has no token */
    TOKENIZER_ORDINARY, /* a byte, or a result of merges */
    TOKENIZER_ADDED,    /* an added token that is text: <think> */
    TOKENIZER_SPECIAL   /* an added token that is none: <|endoftext|> */
};

struct tokenizer_token {
    size_t bytes_at; /* in the tokenizer's text, terminated by NUL */
    size_t n_bytes;
    size_t piece_at; /* as tokenizer.json spells it, terminated by NUL */
    size_t n_piece;
    enum tokenizer_kind kind;
    bool in_vocab; /* it belongs to the vocab of tokenizer.json */
};

/*
 * Which pieces get a space before them (Llama 2). A piece is the text between
 * two added tokens. Hugging Face has a normalizer Prepend, and a pre_tokenizer
 * Metaspace with a prepend_scheme.
 */
enum tokenizer_space {
    TOKENIZER_PREPEND_NEVER,  /* Metaspace, never: none */
    TOKENIZER_PREPEND,        /* Prepend: each, also one that begins with a
                                 space */
    TOKENIZER_PREPEND_ALWAYS, /* Metaspace, always: each that does not begin
                                 with a space */
    TOKENIZER_PREPEND_FIRST   /* Metaspace, first: the one at the beginning of
                                 the text, if it does not begin with a space */
};

#define TOKENIZER_SPACE_MARK "\xe2\x96\x81" /* U+2581 stands for a space */

/* The name of an added token. It is found in texts. */
struct tokenizer_name {
    char *bytes;
    size_t n_bytes;
    token_id id;
    bool is_special;
};

/* Added tokens whose names are sought at the same time. */
struct tokenizer_names {
    struct tokenizer_name *items; /* in the order of their bytes */
    size_t n, cap;
    bool begins[256]; /* a name begins with this byte */
    bool has_text;    /* one of them is no special token */
};

/* A hash table by the two ids. */
struct tokenizer_slot {
    token_id left, right;
    uint32_t rank; /* of the merge, + 1; 0 is empty */
};

struct tokenizer {
    int vocab_size;
    token_id begin_of_text, end_of_text;
    bool adds_begin; /* tokenizer.json puts begin_of_text before a text */
    enum pretoken_kind pretoken;
    bool composes;   /* a text is put into normalization form C first */
    bool falls_back; /* merging begins with characters, as in Llama 2, and with
                        bytes for a character that is no token */
    enum tokenizer_space space; /* if it falls back */
    bool splits_words; /* if so, no merge joins a word and a space after it */
    bool knows_words;  /* a pre-token that is a token is not built by merges */
    struct buf text;   /* the bytes and pieces of all tokens */
    struct tokenizer_token *tokens; /* [vocab_size] */
    token_id byte_ids[256];         /* the id of each byte */
    struct tokenizer_merge *merges; /* by rank, the first is applied first */
    size_t n_merges;
    struct tokenizer_slot *slots;
    size_t n_slots;  /* a power of two */
    uint32_t *words; /* hash table of ordinary tokens: id + 1, 0 is empty; by
                        pieces if it falls back, by bytes if it knows words,
                        otherwise NULL */
    size_t n_words;  /* a power of two */
    struct tokenizer_names names;        /* sought in a text as it is */
    struct tokenizer_names normal_names; /* sought after normalization */
    char *frame; /* the tokenizer.json that was read, without vocab and merges;
                    NULL: mneme's own form */
    bool pairs;  /* it has merges as pairs, not as strings */
};

/*
 * Creates a tokenizer of 256 bytes, end-of-text and merges. Ids from
 * 257 + n_merges to vocab_size are unused. Copies merges.
 */
struct tokenizer *tokenizer_build(const struct tokenizer_merge *merges,
                                  size_t n_merges, int vocab_size);

/* Sets the bytes and the piece of an id. */
void tokenizer_set(struct tokenizer *t, token_id id, enum tokenizer_kind kind,
                   const char *bytes, size_t n_bytes, const char *piece);

/* Makes an id unused, with the piece <unused_N>. */
void tokenizer_set_unused(struct tokenizer *t, token_id id);

/* Adds the name of an added token. */
void tokenizer_add_name(struct tokenizer_names *names, const char *name,
                        size_t n_bytes, token_id id, bool is_special);

/* Builds the tables that encoding needs, once tokens, names and merges are
 * set. */
void tokenizer_index(struct tokenizer *t);

/* Hashes two ids, for a table of a power of two. */
static inline uint32_t tokenizer_hash(token_id left, token_id right)
{
    uint32_t mixed = (left << 16 ^ left >> 16 ^ right) * UINT32_C(2654435769);

    return mixed ^ mixed >> 16; /* so that the low bits depend on the left id,
                                   too */
}

/* Returns the slot of two ids: their merge's, or an empty one. */
static inline const struct tokenizer_slot *
tokenizer_slot_of(const struct tokenizer *t, token_id left, token_id right)
{
    size_t at = tokenizer_hash(left, right) & (t->n_slots - 1);

    while (t->slots[at].rank &&
           (t->slots[at].left != left || t->slots[at].right != right))
        at = (at + 1) & (t->n_slots - 1);
    return &t->slots[at];
}

/* Finds the key of a token in `words`. */
static inline const char *tokenizer_word_key(const struct tokenizer *t,
                                             token_id id, size_t *n_bytes)
{
    const struct tokenizer_token *token = &t->tokens[id];
    const char *text = t->text.data;

    *n_bytes = t->falls_back ? token->n_piece : token->n_bytes;
    return text + (t->falls_back ? token->piece_at : token->bytes_at);
}

/* Appends a byte in GPT-2's alphabet: printable bytes as they are, the others
 * as U+0100 and on. */
void tokenizer_spell(unsigned char byte, struct buf *out);

/* Returns the byte that a code point of the alphabet stands for, or -1. */
int tokenizer_unspell(uint32_t code_point);

#endif
