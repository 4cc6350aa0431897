/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learns a vocabulary. It keeps the distinct pre-tokens (words) with their
 * counts; a count for each pair of neighbouring ids, with the words that
 * contain it; and a heap of pairs. A merge rewrites the words that contain the
 * pair and corrects the counts of their pairs. Counts in the heap may be too
 * high: when a pair comes out, its true count is looked up, and the pair goes
 * back if the count has fallen.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/heap.h"
#include "base/xalloc.h"
#include "learner/tokenizer/pretoken.h"
#include "learner/tokenizer/tokenizer_private.h"

#define PROGRESS_EVERY 64

struct word {
    const char *bytes;
    uint32_t n_bytes;
    int64_t count;
    token_id *ids;
    uint32_t n_ids;
};

struct pair {
    uint32_t key; /* left << 16 | right */
    int64_t count;
    uint32_t *words; /* words that may contain it; a word may be listed twice */
    size_t n_words, cap_words;
};

struct candidate {
    int64_t count;
    uint32_t key;
};

struct trainer {
    struct word *words;
    size_t n_words, cap_words;
    size_t *word_slots; /* index + 1 */
    size_t n_word_slots;
    struct pair *pairs;
    size_t n_pairs, cap_pairs;
    size_t *pair_slots;
    size_t n_pair_slots;
    struct candidate *heap; /* the most frequent on top */
    size_t n_heap, cap_heap;
};

/* --- words -------------------------------------------------------------- */

static size_t word_slot(const struct trainer *t, const char *bytes, size_t n)
{
    size_t slot = checksum_xxh3(bytes, n, 0) & (t->n_word_slots - 1);

    while (t->word_slots[slot]) {
        const struct word *w = &t->words[t->word_slots[slot] - 1];

        if (w->n_bytes == n && memcmp(w->bytes, bytes, n) == 0)
            break;
        slot = (slot + 1) & (t->n_word_slots - 1);
    }
    return slot;
}

static void grow_words(struct trainer *t)
{
    t->n_word_slots = t->n_word_slots ? 2 * t->n_word_slots : 4096;
    free(t->word_slots);
    t->word_slots = xcalloc(t->n_word_slots, sizeof *t->word_slots);
    for (size_t i = 0; i < t->n_words; i++)
        t->word_slots[word_slot(t, t->words[i].bytes, t->words[i].n_bytes)] =
            i + 1;
}

static void count_word(struct trainer *t, const char *bytes, size_t n)
{
    struct word *w;
    size_t slot;

    if (2 * t->n_words >= t->n_word_slots)
        grow_words(t);
    slot = word_slot(t, bytes, n);
    if (t->word_slots[slot]) {
        t->words[t->word_slots[slot] - 1].count++;
        return;
    }
    XGROW(t->words, t->n_words, t->cap_words);
    w = &t->words[t->n_words++];
    t->word_slots[slot] = t->n_words;
    *w = (struct word){bytes, (uint32_t)n, 1, NULL, (uint32_t)n};
    w->ids = xreallocarray(NULL, n, sizeof *w->ids);
    for (size_t i = 0; i < n; i++)
        w->ids[i] = (unsigned char)bytes[i];
}

/* --- pairs -------------------------------------------------------------- */

static size_t pair_slot(const struct trainer *t, uint32_t key)
{
    size_t slot = tokenizer_hash(key >> 16, key & 0xffff);

    slot &= t->n_pair_slots - 1;
    while (t->pair_slots[slot] &&
           t->pairs[t->pair_slots[slot] - 1].key != key)
        slot = (slot + 1) & (t->n_pair_slots - 1);
    return slot;
}

static void grow_pairs(struct trainer *t)
{
    t->n_pair_slots = t->n_pair_slots ? 2 * t->n_pair_slots : 4096;
    free(t->pair_slots);
    t->pair_slots = xcalloc(t->n_pair_slots, sizeof *t->pair_slots);
    for (size_t i = 0; i < t->n_pairs; i++)
        t->pair_slots[pair_slot(t, t->pairs[i].key)] = i + 1;
}

static struct pair *pair_of(struct trainer *t, uint32_t key)
{
    size_t slot;

    if (2 * t->n_pairs >= t->n_pair_slots)
        grow_pairs(t);
    slot = pair_slot(t, key);
    if (!t->pair_slots[slot]) {
        XGROW(t->pairs, t->n_pairs, t->cap_pairs);
        t->pairs[t->n_pairs++] = (struct pair){.key = key};
        t->pair_slots[slot] = t->n_pairs;
    }
    return &t->pairs[t->pair_slots[slot] - 1];
}

static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

HEAP_DEFINE(heap, struct candidate, better)

static void add_candidate(struct trainer *t, const struct pair *p)
{
    XGROW(t->heap, t->n_heap, t->cap_heap);
    heap_push(t->heap, &t->n_heap, (struct candidate){p->count, p->key});
}

static uint32_t key_at(const struct word *w, size_t i)
{
    return (uint32_t)w->ids[i] << 16 | w->ids[i + 1];
}

/* Adds the word's pairs to the counts. Each pair also notes the word. With
 * `only` >= 0, just the pairs with that id do so, and become candidates. */
static void add_pairs(struct trainer *t, uint32_t word, int64_t only)
{
    const struct word *w = &t->words[word];

    for (size_t i = 0; i + 1 < w->n_ids; i++) {
        struct pair *p = pair_of(t, key_at(w, i));

        p->count += w->count;
        if (only >= 0 && w->ids[i] != only && w->ids[i + 1] != only)
            continue;
        XGROW(p->words, p->n_words, p->cap_words);
        p->words[p->n_words++] = word;
        if (only >= 0)
            add_candidate(t, p);
    }
}

static void remove_pairs(struct trainer *t, const struct word *w)
{
    for (size_t i = 0; i + 1 < w->n_ids; i++)
        pair_of(t, key_at(w, i))->count -= w->count;
}

static bool has_pair(const struct word *w, uint32_t key)
{
    for (size_t i = 0; i + 1 < w->n_ids; i++)
        if (key_at(w, i) == key)
            return true;
    return false;
}

static void rewrite(struct word *w, uint32_t key, token_id result)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->n_ids; i++) {
        if (i + 1 < w->n_ids && key_at(w, i) == key) {
            w->ids[n++] = result;
            i++;
        } else {
            w->ids[n++] = w->ids[i];
        }
    }
    w->n_ids = n;
}

static void merge(struct trainer *t, uint32_t key, token_id result)
{
    struct pair *p = pair_of(t, key);
    uint32_t *words = p->words;
    size_t n_words = p->n_words;

    p->words = NULL;
    p->n_words = p->cap_words = 0;
    for (size_t i = 0; i < n_words; i++) {
        struct word *w = &t->words[words[i]];

        if (!has_pair(w, key))
            continue;
        remove_pairs(t, w);
        rewrite(w, key, result);
        add_pairs(t, words[i], result);
    }
    free(words);
}

/* Finds the most frequent pair; false if none occurs twice. */
static bool best_pair(struct trainer *t, uint32_t *key)
{
    while (t->n_heap) {
        struct candidate c = heap_pop(t->heap, &t->n_heap);
        const struct pair *p = pair_of(t, c.key);

        if (p->count == c.count && p->count >= 2) {
            *key = c.key;
            return true;
        }
        if (p->count >= 2 && p->count < c.count)
            add_candidate(t, p);
    }
    return false;
}

static void trainer_release(struct trainer *t)
{
    for (size_t i = 0; i < t->n_words; i++)
        free(t->words[i].ids);
    for (size_t i = 0; i < t->n_pairs; i++)
        free(t->pairs[i].words);
    free(t->words);
    free(t->word_slots);
    free(t->pairs);
    free(t->pair_slots);
    free(t->heap);
}

static void count_text(struct trainer *t, const char *text, size_t n_bytes)
{
    while (n_bytes) {
        size_t n = pretoken_next(PRETOKEN_SMOLLM, text, n_bytes);

        count_word(t, text, n);
        text += n;
        n_bytes -= n;
    }
    for (size_t i = 0; i < t->n_words; i++)
        add_pairs(t, (uint32_t)i, -1);
    for (size_t i = 0; i < t->n_pairs; i++)
        add_candidate(t, &t->pairs[i]);
}

int tokenizer_train(const char *text, size_t n_bytes, int vocab_size,
                    void (*progress)(int done, int total, void *arg),
                    void *arg, struct tokenizer **tokenizer, struct err *err)
{
    struct trainer t = {0};
    struct tokenizer_merge *merges;
    size_t wanted, n = 0;
    uint32_t key;

    if (vocab_size < TOKENIZER_FIRST_MERGE || vocab_size > 65536)
        return err_set(err, ERR_INVALID,
                       "a vocabulary of %d ids: must be 257 to 65536",
                       vocab_size);
    wanted = (size_t)vocab_size - TOKENIZER_FIRST_MERGE;
    merges = xreallocarray(NULL, wanted + 1, sizeof *merges);
    count_text(&t, text, n_bytes);
    while (n < wanted && best_pair(&t, &key)) {
        token_id result = (token_id)(TOKENIZER_FIRST_MERGE + n);

        merges[n++] = (struct tokenizer_merge){(token_id)(key >> 16),
                                               (token_id)(key & 0xffff),
                                               result};
        merge(&t, key, result);
        if (progress && n % PROGRESS_EVERY == 0)
            progress((int)n, (int)wanted, arg);
    }
    *tokenizer = tokenizer_build(merges, n, vocab_size);
    trainer_release(&t);
    free(merges);
    return 0;
}
