/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding merges pairs within one pre-token, the pair of lowest rank first. It
 * uses a linked list of ids, and a heap of candidate pairs by rank and
 * position. A candidate is dropped when it comes out of the heap if a neighbour
 * has changed since. So a pre-token of n bytes takes O(n log n), whatever its
 * content.
 */
#include "config.h"

#include "learner/tokenizer/tokenizer.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "base/xalloc.h"
#include "learner/tokenizer/builtin_merges.h"
#include "learner/tokenizer/pretoken.h"
#include "learner/tokenizer/tokenizer_private.h"

#define CHECK_BYTES 65536 /* bytes encoded between two checks of cancel */

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

static bool prints_as_itself(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) ||
           byte >= 0xae;
}

static uint32_t code_point_of(unsigned char byte)
{
    uint32_t next = 256;

    if (prints_as_itself(byte))
        return byte;
    for (int b = 0; b < byte; b++)
        next += !prints_as_itself(b);
    return next;
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
    for (int b = 0; b < 256; b++)
        if (code_point_of((unsigned char)b) == code_point)
            return b;
    return -1;
}

/* --- building ----------------------------------------------------------- */

static size_t slot_of(const struct tokenizer *t, token_id left,
                      token_id right)
{
    size_t slot =
        tokenizer_hash(left << 16 ^ left >> 16 ^ right) & (t->n_slots - 1);

    while (t->slots[slot]) {
        const struct tokenizer_merge *m = &t->merges[t->slots[slot] - 1];

        if (m->left == left && m->right == right)
            break;
        slot = (slot + 1) & (t->n_slots - 1);
    }
    return slot;
}

void tokenizer_index(struct tokenizer *t)
{
    t->n_slots = 64;
    while (t->n_slots < 4 * t->n_merges)
        t->n_slots *= 2;
    free(t->slots);
    t->slots = xcalloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; i < t->n_merges; i++) {
        size_t slot = slot_of(t, t->merges[i].left, t->merges[i].right);

        if (!t->slots[slot])
            t->slots[slot] = (uint32_t)i + 1;
    }
}

static void set_token(struct tokenizer *t, int id, const char *bytes,
                      size_t n_bytes)
{
    struct buf piece = BUF_INIT;

    for (size_t i = 0; i < n_bytes; i++)
        tokenizer_spell((unsigned char)bytes[i], &piece);
    t->tokens[id].bytes = xmalloc(n_bytes + 1);
    memcpy(t->tokens[id].bytes, bytes, n_bytes);
    t->tokens[id].bytes[n_bytes] = '\0';
    t->tokens[id].n_bytes = n_bytes;
    t->tokens[id].piece = buf_detach(&piece);
}

static void set_special(struct tokenizer *t, int id, char *name)
{
    t->tokens[id].bytes = xstrdup("");
    t->tokens[id].n_bytes = 0;
    t->tokens[id].piece = name;
}

static void set_merged(struct tokenizer *t, const struct tokenizer_merge *m)
{
    const struct tokenizer_token *a = &t->tokens[m->left];
    const struct tokenizer_token *b = &t->tokens[m->right];
    struct buf both = BUF_INIT;

    buf_add(&both, a->bytes, a->n_bytes);
    buf_add(&both, b->bytes, b->n_bytes);
    set_token(t, m->result, both.data, both.len);
    buf_release(&both);
}

struct tokenizer *tokenizer_build(const struct tokenizer_merge *merges,
                                  size_t n_merges, int vocab_size)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);

    t->vocab_size = vocab_size;
    t->end_of_text = TOKENIZER_END_OF_TEXT;
    t->tokens = xcalloc((size_t)vocab_size, sizeof *t->tokens);
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;

        set_token(t, b, &byte, 1);
        t->byte_ids[b] = (token_id)b;
    }
    set_special(t, TOKENIZER_END_OF_TEXT, xstrdup(TOKENIZER_END_NAME));
    t->merges = xmemdup(merges, n_merges * sizeof *merges);
    t->n_merges = n_merges;
    for (size_t i = 0; i < n_merges; i++)
        set_merged(t, &merges[i]);
    for (int id = TOKENIZER_FIRST_MERGE + (int)n_merges; id < vocab_size; id++)
        set_special(t, id, xasprintf("<unused_%d>", id));
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

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; t->tokens && i < t->vocab_size; i++) {
        free(t->tokens[i].bytes);
        free(t->tokens[i].piece);
    }
    free(t->tokens);
    free(t->merges);
    free(t->slots);
    free(t);
}

int tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->vocab_size;
}

token_id tokenizer_end_of_text(const struct tokenizer *t)
{
    return t->end_of_text;
}

const char *tokenizer_bytes(const struct tokenizer *t, token_id id,
                            size_t *n_bytes)
{
    if (id >= (token_id)t->vocab_size) {
        *n_bytes = 0;
        return "";
    }
    *n_bytes = t->tokens[id].n_bytes;
    return t->tokens[id].bytes;
}

const char *tokenizer_piece(const struct tokenizer *t, token_id id)
{
    return id < (token_id)t->vocab_size ? t->tokens[id].piece : "";
}

void tokenizer_decode(const struct tokenizer *t, const token_id *ids,
                      size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes;
        const char *bytes = tokenizer_bytes(t, ids[i], &n_bytes);

        buf_add(out, bytes, n_bytes);
    }
}

/* --- encoding ----------------------------------------------------------- */

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

/* Returns rank + 1 of the pair that begins at a node, or 0. */
static uint32_t pair_at(const struct tokenizer *t, const struct merger *m,
                        int32_t at)
{
    const struct node *a = &m->nodes[at];

    if (a->gone || a->next < 0)
        return 0;
    return t->slots[slot_of(t, a->id, m->nodes[a->next].id)];
}

static void consider(const struct tokenizer *t, struct merger *m, int32_t at)
{
    uint32_t rank = at >= 0 ? pair_at(t, m, at) : 0;

    if (!rank)
        return;
    XGROW(m->heap, m->n_heap, m->cap_heap);
    heap_push(m->heap, &m->n_heap, (uint64_t)rank << 32 | (uint32_t)at);
}

static void merge_at(const struct tokenizer *t, struct merger *m, int32_t at,
                     token_id result)
{
    struct node *a = &m->nodes[at], *b = &m->nodes[a->next];

    a->id = result;
    b->gone = true;
    a->next = b->next;
    if (b->next >= 0)
        m->nodes[b->next].previous = at;
    consider(t, m, a->previous);
    consider(t, m, at);
}

static void encode_pretoken(const struct tokenizer *t, struct merger *m,
                            const char *bytes, size_t n,
                            struct token_list *out)
{
    if (n > m->cap_nodes) {
        m->cap_nodes = 2 * n;
        m->nodes =
            xreallocarray(m->nodes, m->cap_nodes, sizeof *m->nodes);
    }
    for (size_t i = 0; i < n; i++)
        m->nodes[i] = (struct node){
            .id = t->byte_ids[(unsigned char)bytes[i]],
            .previous = (int32_t)i - 1,
            .next = i + 1 < n ? (int32_t)i + 1 : -1,
        };
    m->n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++)
        consider(t, m, (int32_t)i);
    while (m->n_heap) {
        uint64_t top = heap_pop(m->heap, &m->n_heap);
        int32_t at = (int32_t)(top & 0xffffffff);

        if (pair_at(t, m, at) == top >> 32)
            merge_at(t, m, at, t->merges[(top >> 32) - 1].result);
    }
    for (int32_t i = 0; i >= 0; i = m->nodes[i].next)
        token_list_add(out, m->nodes[i].id);
}

int tokenizer_encode_cancellable(const struct tokenizer *t, const char *text,
                                 size_t n_bytes, const struct cancel *cancel,
                                 struct token_list *out, struct err *err)
{
    struct merger m = {0};
    size_t since_check = 0;
    int rc = 0;

    while (rc == 0 && n_bytes) {
        size_t n = pretoken_next(text, n_bytes);

        encode_pretoken(t, &m, text, n, out);
        text += n;
        n_bytes -= n;
        since_check += n;
        if (since_check >= CHECK_BYTES) {
            rc = cancel_check(cancel, err);
            since_check = 0;
        }
    }
    free(m.nodes);
    free(m.heap);
    return rc;
}

void tokenizer_encode(const struct tokenizer *t, const char *text,
                      size_t n_bytes, struct token_list *out)
{
    tokenizer_encode_cancellable(t, text, n_bytes, NULL, out, NULL);
}
