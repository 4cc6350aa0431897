/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding finds the names of added tokens first. The text between two of them
 * is normalized, if the tokenizer does so, and split into pre-tokens. Within
 * one pre-token, pairs are merged, the pair of lowest rank first.
 *
 * A tokenizer of Llama 2's form has no pre-tokens. If no merge joins a word and
 * a space after it, the text is nevertheless split there: this gives the same
 * ids.
 *
 * Merging uses a linked list of ids, and a heap of candidate pairs by rank and
 * position. A candidate is dropped when it comes out of the heap if a neighbour
 * has changed since. So a pre-token of n bytes takes O(n log n), whatever its
 * content.
 */
#include "config.h"

#include "learner/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/heap.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "learner/tokenizer/nfc.h"
#include "learner/tokenizer/tokenizer_private.h"

#define CHECK_BYTES 65536 /* bytes encoded between two checks of cancel */

/* --- one pre-token ------------------------------------------------------ */

struct node {
    token_id id;
    int32_t previous, next; /* -1: none */
    bool gone;
};

struct merger {
    struct node *nodes;
    size_t cap_nodes;
    uint64_t *heap; /* (rank + 1) << 32 | node; the smallest on top */
    size_t n_heap, cap_heap;
};

static bool merges_before(const uint64_t *a, const uint64_t *b)
{
    return *a < *b;
}

HEAP_DEFINE(heap, uint64_t, merges_before)

/* Makes a candidate of the pair that begins at a node. */
static void consider(const struct tokenizer *t, struct merger *m, int32_t at)
{
    const struct node *a = at >= 0 ? &m->nodes[at] : NULL;
    uint32_t rank;

    if (!a || a->next < 0)
        return;
    rank = tokenizer_slot_of(t, a->id, m->nodes[a->next].id)->rank;
    if (!rank)
        return;
    XGROW(m->heap, m->n_heap, m->cap_heap);
    heap_push(m->heap, &m->n_heap, (uint64_t)rank << 32 | (uint32_t)at);
}

/* Merges the pair at a node, unless one of its ids has changed since it became
 * a candidate. */
static void merge_at(const struct tokenizer *t, struct merger *m, int32_t at,
                     const struct tokenizer_merge *merge)
{
    struct node *a = &m->nodes[at], *b;

    if (a->gone || a->id != merge->left || a->next < 0)
        return;
    b = &m->nodes[a->next];
    if (b->id != merge->right)
        return;
    a->id = merge->result;
    b->gone = true;
    a->next = b->next;
    if (b->next >= 0)
        m->nodes[b->next].previous = at;
    consider(t, m, a->previous);
    consider(t, m, at);
}

/* Returns the token with this key in `words`, + 1, or 0. */
static uint32_t word_of(const struct tokenizer *t, const char *bytes, size_t n)
{
    size_t at = checksum_xxh3(bytes, n, 0) & (t->n_words - 1);

    for (; t->words[at]; at = (at + 1) & (t->n_words - 1)) {
        size_t n_key;
        const char *key = tokenizer_word_key(t, t->words[at] - 1, &n_key);

        if (n_key == n && memcmp(key, bytes, n) == 0)
            break;
    }
    return t->words[at];
}

static struct node node_of(token_id id, size_t at)
{
    return (struct node){
        .id = id,
        .previous = (int32_t)at - 1,
        .next = (int32_t)at + 1,
    };
}

/* Makes a node for each byte. */
static size_t add_bytes(const struct tokenizer *t, struct merger *m,
                        const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        m->nodes[i] = node_of(t->byte_ids[(unsigned char)bytes[i]], i);
    return n;
}

/* Makes a node for each character that is a token, and for each byte of the
 * others. */
static size_t add_characters(const struct tokenizer *t, struct merger *m,
                             const char *bytes, size_t n)
{
    size_t n_nodes = 0;

    for (size_t at = 0; at < n; n_nodes++) {
        size_t length = utf8_character(bytes + at, n - at);
        uint32_t word = length ? word_of(t, bytes + at, length) : 0;

        if (word) {
            m->nodes[n_nodes] = node_of(word - 1, n_nodes);
            at += length;
        } else {
            m->nodes[n_nodes] =
                node_of(t->byte_ids[(unsigned char)bytes[at++]], n_nodes);
        }
    }
    return n_nodes;
}

static void encode_pretoken(const struct tokenizer *t, struct merger *m,
                            const char *bytes, size_t n, struct token_list *out)
{
    uint32_t word = t->knows_words ? word_of(t, bytes, n) : 0;

    if (word) {
        token_list_add(out, word - 1);
        return;
    }
    if (n > m->cap_nodes) {
        m->cap_nodes = 2 * n;
        m->nodes = xreallocarray(m->nodes, m->cap_nodes, sizeof *m->nodes);
    }
    n = t->falls_back ? add_characters(t, m, bytes, n)
                      : add_bytes(t, m, bytes, n);
    m->nodes[n - 1].next = -1;
    m->n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++)
        consider(t, m, (int32_t)i);
    while (m->n_heap) {
        uint64_t top = heap_pop(m->heap, &m->n_heap);
        int32_t at = (int32_t)(top & 0xffffffff);

        merge_at(t, m, at, &t->merges[(top >> 32) - 1]);
    }
    for (int32_t i = 0; i >= 0; i = m->nodes[i].next)
        token_list_add(out, m->nodes[i].id);
}

/* --- names -------------------------------------------------------------- */

/* Returns the longest name that the text begins with, or NULL. */
static const struct tokenizer_name *name_at(const struct tokenizer_names *names,
                                            const char *text, size_t n)
{
    const struct tokenizer_name *items = names->items, *found = NULL;
    size_t low = 0, high = names->n;

    /* Names low to high - 1 begin with the first `depth` bytes of the text. */
    for (size_t depth = 0; depth < n && low < high; depth++) {
        unsigned char c = (unsigned char)text[depth];
        size_t a = low, b = high;

        while (a < b) { /* the first name with at least this byte */
            size_t middle = (a + b) / 2;

            if ((unsigned char)items[middle].bytes[depth] < c)
                a = middle + 1;
            else
                b = middle;
        }
        low = a;
        b = high;
        while (a < b) { /* the first name with a higher byte */
            size_t middle = (a + b) / 2;

            if ((unsigned char)items[middle].bytes[depth] <= c)
                a = middle + 1;
            else
                b = middle;
        }
        high = a;
        while (low < high && items[low].n_bytes == depth + 1)
            found = &items[low++];
    }
    return found;
}

/* Finds the first name in a text, and returns its position; without one,
 * n_bytes. As in Hugging Face's tokenizers, names do not overlap: in that of a
 * special token, which is ordinary text unless `marked`, no other is found. */
static size_t find_name(const struct tokenizer_names *names, bool marked,
                        const char *text, size_t n_bytes,
                        const struct tokenizer_name **found)
{
    size_t at = 0;

    if (!names->has_text && !marked)
        return n_bytes;
    while (at < n_bytes) {
        const struct tokenizer_name *name = NULL;

        if (names->begins[(unsigned char)text[at]])
            name = name_at(names, text + at, n_bytes - at);
        if (name && (marked || !name->is_special)) {
            *found = name;
            return at;
        }
        at += name ? name->n_bytes : 1;
    }
    return n_bytes;
}

/* --- a text ------------------------------------------------------------- */

struct encoder {
    const struct tokenizer *t;
    const char *text;
    bool marked;
    const struct cancel *cancel;
    size_t since_check;
    struct merger merger;
    struct buf normal;
    struct token_list *out;
};

/* Returns the bytes of a word with the spaces before it; n_bytes > 0. */
static size_t next_word(const struct tokenizer *t, const char *text,
                        size_t n_bytes)
{
    const char *end = text + n_bytes, *at = text + 1;

    while (t->splits_words && at < end) {
        at = memmem(at, (size_t)(end - at), TOKENIZER_SPACE_MARK, 3);
        if (!at)
            break;
        if (at - text < 3 || memcmp(at - 3, TOKENIZER_SPACE_MARK, 3) != 0)
            return (size_t)(at - text);
        at++;
    }
    return n_bytes;
}

static int encode_pretokens(struct encoder *e, const char *text, size_t n_bytes,
                            struct err *err)
{
    while (n_bytes) {
        size_t n = e->t->falls_back
                       ? next_word(e->t, text, n_bytes)
                       : pretoken_next(e->t->pretoken, text, n_bytes);

        encode_pretoken(e->t, &e->merger, text, n, e->out);
        text += n;
        n_bytes -= n;
        e->since_check += n;
        if (e->since_check >= CHECK_BYTES) {
            int rc = cancel_check(e->cancel, err);

            if (rc)
                return rc;
            e->since_check = 0;
        }
    }
    return 0;
}

/* Puts marks in place of spaces, and before the text. */
static void mark_spaces(struct encoder *e, const char *text, size_t n_bytes)
{
    enum tokenizer_space space = e->t->space;
    bool begins = text[0] == ' ' ||
                  (n_bytes >= 3 && memcmp(text, TOKENIZER_SPACE_MARK, 3) == 0);

    if (space == TOKENIZER_PREPEND ||
        (space == TOKENIZER_PREPEND_ALWAYS && !begins) ||
        (space == TOKENIZER_PREPEND_FIRST && !begins && text == e->text))
        buf_adds(&e->normal, TOKENIZER_SPACE_MARK);
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == ' ')
            buf_adds(&e->normal, TOKENIZER_SPACE_MARK);
        else
            buf_addc(&e->normal, text[i]);
    }
}

/* As in Hugging Face's tokenizers, a Metaspace is applied after all names are
 * found. With the normalizer Prepend no names are sought after it, so it may be
 * applied here, too. */
static int encode_piece(struct encoder *e, const char *text, size_t n_bytes,
                        struct err *err)
{
    if (!e->t->falls_back || n_bytes == 0)
        return encode_pretokens(e, text, n_bytes, err);
    buf_clear(&e->normal);
    mark_spaces(e, text, n_bytes);
    return encode_pretokens(e, e->normal.data, e->normal.len, err);
}

static int encode_normal(struct encoder *e, const char *text, size_t n_bytes,
                         struct err *err)
{
    int rc = 0;

    while (rc == 0 && n_bytes) {
        const struct tokenizer_name *name = NULL;
        size_t n =
            find_name(&e->t->normal_names, e->marked, text, n_bytes, &name);

        rc = encode_piece(e, text, n, err);
        if (name) {
            token_list_add(e->out, name->id);
            n += name->n_bytes;
        }
        text += n;
        n_bytes -= n;
    }
    return rc;
}

static int encode_between(struct encoder *e, const char *text, size_t n_bytes,
                          struct err *err)
{
    if (!e->t->composes || nfc_is_normal(text, n_bytes))
        return encode_normal(e, text, n_bytes, err);
    buf_clear(&e->normal);
    nfc_add(text, n_bytes, &e->normal);
    return encode_normal(e, e->normal.data, e->normal.len, err);
}

static int encode(struct encoder *e, const char *text, size_t n_bytes,
                  struct err *err)
{
    int rc = 0;

    e->text = text;
    while (rc == 0 && n_bytes) {
        const struct tokenizer_name *name = NULL;
        size_t n = find_name(&e->t->names, e->marked, text, n_bytes, &name);

        rc = encode_between(e, text, n, err);
        if (name) {
            token_list_add(e->out, name->id);
            n += name->n_bytes;
        }
        text += n;
        n_bytes -= n;
    }
    free(e->merger.nodes);
    free(e->merger.heap);
    buf_release(&e->normal);
    return rc;
}

int tokenizer_encode_cancellable(const struct tokenizer *t, const char *text,
                                 size_t n_bytes, const struct cancel *cancel,
                                 struct token_list *out, struct err *err)
{
    struct encoder e = {.t = t, .cancel = cancel, .out = out};

    return encode(&e, text, n_bytes, err);
}

void tokenizer_encode(const struct tokenizer *t, const char *text,
                      size_t n_bytes, struct token_list *out)
{
    struct encoder e = {.t = t, .out = out};

    encode(&e, text, n_bytes, NULL);
}

void tokenizer_encode_marked(const struct tokenizer *t, const char *text,
                             size_t n_bytes, struct token_list *out)
{
    struct encoder e = {.t = t, .marked = true, .out = out};

    encode(&e, text, n_bytes, NULL);
}
