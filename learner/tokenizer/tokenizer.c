/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary: tokens, the names of added tokens, and the hash tables that
 * encoding needs (tokenizer_encode.c).
 */
#include "config.h"

#include "learner/tokenizer/tokenizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/model_shape.h"
#include "base/xalloc.h"
#include "learner/tokenizer/builtin_merges.h"
#include "learner/tokenizer/tokenizer_private.h"

void token_list_add(struct token_list *l, token_id id)
{
    XGROW(l->items, l->n, l->cap);
    l->items[l->n++] = id;
}

void token_list_release(struct token_list *l)
{
    free(l->items);
    l->items = NULL;
    l->n = l->cap = 0;
}

/* --- GPT-2's byte alphabet ---------------------------------------------- */

/* Bytes 0 to 32, 127 to 160 and 173 do not print. Their characters are U+0100
 * to U+0143, in this order. */
static uint32_t code_point_of(unsigned char byte)
{
    if (byte <= 32)
        return 256U + byte;
    if (byte >= 127 && byte <= 160)
        return 289U + byte - 127;
    return byte == 173 ? 323 : byte;
}

void tokenizer_spell(unsigned char byte, struct buf *out)
{
    uint32_t c = code_point_of(byte);

    if (c < 0x80) {
        buf_addc(out, (char)c);
    } else {
        buf_addc(out, (char)(0xc0 | c >> 6));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    }
}

int tokenizer_unspell(uint32_t code_point)
{
    int c = (int)code_point;

    if (code_point > 323)
        return -1;
    if (c >= 256)
        return c == 323 ? 173 : c >= 289 ? c - 289 + 127 : c - 256;
    return code_point_of((unsigned char)c) == code_point ? c : -1;
}

/* --- hash tables and names ---------------------------------------------- */

/* As in Hugging Face's tokenizers, the last of several merges of the same two
 * ids counts. */
static void index_merges(struct tokenizer *t)
{
    t->n_slots = 64;
    while (t->n_slots < 2 * t->n_merges)
        t->n_slots *= 2;
    free(t->slots);
    t->slots = xcalloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; i < t->n_merges; i++) {
        const struct tokenizer_merge *m = &t->merges[i];
        size_t at =
            (size_t)(tokenizer_slot_of(t, m->left, m->right) - t->slots);

        t->slots[at] =
            (struct tokenizer_slot){m->left, m->right, (uint32_t)i + 1};
    }
}

static void index_words(struct tokenizer *t)
{
    t->n_words = 64;
    while (t->n_words < 2 * (size_t)t->vocab_size)
        t->n_words *= 2;
    t->words = xcalloc(t->n_words, sizeof *t->words);
    for (int id = 0; id < t->vocab_size; id++) {
        const struct tokenizer_token *token = &t->tokens[id];
        size_t at, n;
        const char *key = tokenizer_word_key(t, (token_id)id, &n);

        if (token->kind != TOKENIZER_ORDINARY || n == 0)
            continue;
        at = checksum_xxh3(key, n, 0);
        for (at &= t->n_words - 1; t->words[at];)
            at = (at + 1) & (t->n_words - 1);
        t->words[at] = (uint32_t)id + 1;
    }
}

static bool is_mark(const char *s, size_t n)
{
    return n >= 3 && memcmp(s, TOKENIZER_SPACE_MARK, 3) == 0;
}

/* True if no merge has the mark of a space at the beginning of its right side,
 * and not at the end of its left side. */
static bool keeps_words(const struct tokenizer *t)
{
    for (size_t i = 0; i < t->n_merges; i++) {
        size_t n_left, n_right;
        const char *left = tokenizer_word_key(t, t->merges[i].left, &n_left);
        const char *right = tokenizer_word_key(t, t->merges[i].right, &n_right);

        if (is_mark(right, n_right) &&
            !(n_left >= 3 && is_mark(left + n_left - 3, 3)))
            return false;
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    const struct tokenizer_name *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = memcmp(x->bytes, y->bytes, n);

    if (order)
        return order;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

void tokenizer_add_name(struct tokenizer_names *names, const char *name,
                        size_t n_bytes, token_id id, bool is_special)
{
    XGROW(names->items, names->n, names->cap);
    names->items[names->n++] = (struct tokenizer_name){
        .bytes = xmemdup(name, n_bytes),
        .n_bytes = n_bytes,
        .id = id,
        .is_special = is_special,
    };
    names->begins[(unsigned char)name[0]] = true;
    names->has_text = names->has_text || !is_special;
}

void tokenizer_index(struct tokenizer *t)
{
    index_merges(t);
    if (t->knows_words || t->falls_back)
        index_words(t);
    t->splits_words = t->falls_back && !t->knows_words && keeps_words(t);
    if (t->names.n)
        qsort(t->names.items, t->names.n, sizeof *t->names.items,
              compare_names);
    if (t->normal_names.n)
        qsort(t->normal_names.items, t->normal_names.n,
              sizeof *t->normal_names.items, compare_names);
}

/* --- building ----------------------------------------------------------- */

/* Adds a string, terminated by NUL, to the text of all tokens. */
static size_t add_text(struct tokenizer *t, const char *bytes, size_t n)
{
    size_t at = t->text.len;

    buf_add(&t->text, bytes, n);
    buf_addc(&t->text, '\0');
    return at;
}

void tokenizer_set(struct tokenizer *t, token_id id, enum tokenizer_kind kind,
                   const char *bytes, size_t n_bytes, const char *piece)
{
    struct tokenizer_token *token = &t->tokens[id];

    token->kind = kind;
    token->bytes_at = add_text(t, bytes, n_bytes);
    token->n_bytes = n_bytes;
    token->n_piece = strlen(piece);
    token->piece_at = add_text(t, piece, token->n_piece);
}

void tokenizer_set_unused(struct tokenizer *t, token_id id)
{
    struct buf piece = BUF_INIT;

    buf_addf(&piece, "<unused_%u>", id);
    tokenizer_set(t, id, TOKENIZER_UNUSED, "", 0, piece.data);
    buf_release(&piece);
}

static void set_ordinary(struct tokenizer *t, token_id id, const char *bytes,
                         size_t n_bytes)
{
    struct buf piece = BUF_INIT;

    for (size_t i = 0; i < n_bytes; i++)
        tokenizer_spell((unsigned char)bytes[i], &piece);
    tokenizer_set(t, id, TOKENIZER_ORDINARY, bytes, n_bytes, piece.data);
    buf_release(&piece);
}

static void set_merged(struct tokenizer *t, const struct tokenizer_merge *m)
{
    struct buf both = BUF_INIT;
    const token_id sides[] = {m->left, m->right};

    for (int i = 0; i < 2; i++)
        buf_add(&both, t->text.data + t->tokens[sides[i]].bytes_at,
                t->tokens[sides[i]].n_bytes);
    set_ordinary(t, m->result, both.data, both.len);
    buf_release(&both);
}

struct tokenizer *tokenizer_build(const struct tokenizer_merge *merges,
                                  size_t n_merges, int vocab_size)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);

    t->vocab_size = vocab_size;
    t->begin_of_text = t->end_of_text = TOKENIZER_END_OF_TEXT;
    t->adds_begin = true;
    t->pretoken = PRETOKEN_SMOLLM;
    t->tokens = xcalloc((size_t)vocab_size, sizeof *t->tokens);
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;

        set_ordinary(t, (token_id)b, &byte, 1);
        t->byte_ids[b] = (token_id)b;
    }
    tokenizer_set(t, TOKENIZER_END_OF_TEXT, TOKENIZER_SPECIAL, "", 0,
                  TOKENIZER_END_NAME);
    tokenizer_add_name(&t->names, TOKENIZER_END_NAME,
                       strlen(TOKENIZER_END_NAME), TOKENIZER_END_OF_TEXT, true);
    t->merges = xmemdup(merges, n_merges * sizeof *merges);
    t->n_merges = n_merges;
    for (size_t i = 0; i < n_merges; i++)
        set_merged(t, &merges[i]);
    for (int id = TOKENIZER_FIRST_MERGE + (int)n_merges; id < vocab_size; id++)
        tokenizer_set_unused(t, (token_id)id);
    for (int id = 0; id < vocab_size; id++)
        t->tokens[id].in_vocab = true;
    tokenizer_index(t);
    return t;
}

struct tokenizer *tokenizer_create_bytes(void)
{
    return tokenizer_build(NULL, 0, TOKENIZER_FIRST_MERGE);
}

struct tokenizer *tokenizer_create_builtin(int vocab_size)
{
    struct tokenizer_merge merges[BUILTIN_MERGES];
    int n = vocab_size - TOKENIZER_FIRST_MERGE;

    static_assert(TOKENIZER_FIRST_MERGE + BUILTIN_MERGES ==
                      TOKENIZER_BUILTIN_MAX,
                  "the merges fill the largest vocabulary");
    BUG_ON(n < 0 || n > BUILTIN_MERGES);
    for (int i = 0; i < n; i++)
        merges[i] = (struct tokenizer_merge){
            builtin_merges[i][0], builtin_merges[i][1],
            (token_id)(TOKENIZER_FIRST_MERGE + i)};
    return tokenizer_build(merges, (size_t)n, vocab_size);
}

int tokenizer_fit(struct tokenizer *t, int vocab_size, struct err *err)
{
    int id = t->vocab_size;

    if (vocab_size < id || vocab_size > MODEL_MAX_VOCAB ||
        (vocab_size > id && !t->frame))
        return err_set(err, ERR_CORRUPT,
                       "tokenizer.json has %d ids, but config.json says "
                       "vocab_size %d: the two files belong to different "
                       "models",
                       id, vocab_size);
    t->tokens = xreallocarray(t->tokens, (size_t)vocab_size, sizeof *t->tokens);
    memset(t->tokens + id, 0, (size_t)(vocab_size - id) * sizeof *t->tokens);
    for (; id < vocab_size; id++)
        tokenizer_set_unused(t, (token_id)id);
    t->vocab_size = vocab_size;
    return 0;
}

static void release_names(struct tokenizer_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i].bytes);
    free(names->items);
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    release_names(&t->names);
    release_names(&t->normal_names);
    buf_release(&t->text);
    free(t->tokens);
    free(t->merges);
    free(t->slots);
    free(t->words);
    free(t->frame);
    free(t);
}

/* --- what a tokenizer has ----------------------------------------------- */

int tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->vocab_size;
}

token_id tokenizer_end_of_text(const struct tokenizer *t)
{
    return t->end_of_text;
}

token_id tokenizer_begin_of_text(const struct tokenizer *t)
{
    return t->begin_of_text;
}

bool tokenizer_adds_begin(const struct tokenizer *t)
{
    return t->adds_begin;
}

bool tokenizer_is_own(const struct tokenizer *t)
{
    return !t->frame;
}

bool tokenizer_is_special(const struct tokenizer *t, token_id id)
{
    return id < (token_id)t->vocab_size &&
           t->tokens[id].kind == TOKENIZER_SPECIAL;
}

bool tokenizer_find(const struct tokenizer *t, const char *name, size_t n_bytes,
                    token_id *id)
{
    const struct tokenizer_names *all[] = {&t->names, &t->normal_names};
    struct tokenizer_name key = {.bytes = (char *)name, .n_bytes = n_bytes};

    for (int i = 0; i < 2; i++) {
        const struct tokenizer_name *found =
            all[i]->n ? bsearch(&key, all[i]->items, all[i]->n, sizeof key,
                                compare_names)
                      : NULL;

        if (found) {
            *id = found->id;
            return true;
        }
    }
    return false;
}

const char *tokenizer_gguf_pre(const struct tokenizer *t)
{
    static const char *const names[] = {
        [PRETOKEN_SMOLLM] = "smollm",
        [PRETOKEN_GPT2] = "gpt-2",
        [PRETOKEN_LLAMA3] = "llama-bpe",
        [PRETOKEN_QWEN2] = "qwen2",
    };

    return t->falls_back ? "default" : names[t->pretoken];
}

const char *tokenizer_bytes(const struct tokenizer *t, token_id id,
                            size_t *n_bytes)
{
    if (id >= (token_id)t->vocab_size) {
        *n_bytes = 0;
        return "";
    }
    *n_bytes = t->tokens[id].n_bytes;
    return t->text.data + t->tokens[id].bytes_at;
}

const char *tokenizer_piece(const struct tokenizer *t, token_id id)
{
    return id < (token_id)t->vocab_size ? t->text.data + t->tokens[id].piece_at
                                        : "";
}

void tokenizer_decode(const struct tokenizer *t, const token_id *ids, size_t n,
                      struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes;
        const char *bytes = tokenizer_bytes(t, ids[i], &n_bytes);

        buf_add(out, bytes, n_bytes);
    }
}
