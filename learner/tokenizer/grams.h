/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grams.h - the hashed word uni- and bigrams of a text.
 *
 * A word is a run of letters and digits, without regard to the case of ASCII;
 * a punctuation mark is a word, and so is each character of three or four
 * bytes in UTF-8, since those are mostly of scripts that put no spaces between
 * words. Any bytes will do: a text may begin or end within a character.
 *
 * Owner:   the caller has the list
 * Threads: any, one at a time for a list
 */
#ifndef MNEME_LEARNER_TOKENIZER_GRAMS_H
#define MNEME_LEARNER_TOKENIZER_GRAMS_H

#include <stddef.h>
#include <stdint.h>

/* Growable hashes, in the order of the text. */
struct gram_list {
    uint32_t *items;
    size_t n, cap;
};

#define GRAM_LIST_INIT {NULL, 0, 0}

/* Appends. Never change the hash: class heads that are stored depend on it. */
void gram_list_add_text(struct gram_list *l, const char *text, size_t n_bytes);

/* Appends hashes that were made before. */
void gram_list_add(struct gram_list *l, const uint32_t *items, size_t n);

void gram_list_release(struct gram_list *l);

#endif
