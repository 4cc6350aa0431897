/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grams.h - the hashed word uni- and bigrams of a text, and the hashed runs of
 * three letters.
 *
 * A word is a run of letters and digits; the case of ASCII letters does not
 * matter. Each punctuation mark is a word. So is each character of three or
 * four bytes in UTF-8, since most of them belong to scripts without spaces
 * between words. Any bytes are accepted: a text may begin or end within a
 * character.
 *
 * Owner:   the caller owns the list
 * Threads: any; one at a time for a list
 */
#ifndef MNEME_LEARNER_TOKENIZER_GRAMS_H
#define MNEME_LEARNER_TOKENIZER_GRAMS_H

#include <stddef.h>
#include <stdint.h>

/* A growable list of hashes, in the order of the text. */
struct gram_list {
    uint32_t *items;
    size_t n, cap;
};

#define GRAM_LIST_INIT {NULL, 0, 0}

/* Appends the hashes of a text. Never change the hash: stored class heads
 * depend on it. */
void gram_list_add_text(struct gram_list *l, const char *text, size_t n_bytes);

/*
 * Appends a hash for each three neighbouring letters of a word, of which `<`
 * and `>` mark the ends: "Tea" has <te, tea and ea>. So words of one stem have
 * something in common. A letter is a byte. A character of three or four bytes
 * is a word of its own, and has none. Never change the hash, either.
 */
void gram_list_add_letters(struct gram_list *l, const char *text,
                           size_t n_bytes);

/* Appends hashes that were computed before. */
void gram_list_add(struct gram_list *l, const uint32_t *items, size_t n);

void gram_list_release(struct gram_list *l);

#endif
