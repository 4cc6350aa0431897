/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfc_tables.h - what Unicode 14 says about composing characters.
 * nfc_tables.py makes the tables. Hangul syllables are computed, and are in
 * none of them.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_TOKENIZER_NFC_TABLES_H
#define MNEME_LEARNER_TOKENIZER_NFC_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters that may change, or move, when a text is normalized. All others
 * are starters that stay as they are. */
struct nfc_range {
    uint32_t first, last; /* ascending, no overlaps */
    uint8_t order;        /* canonical combining class */
    bool unsure;          /* NFC_Quick_Check is No or Maybe */
};

#define NFC_MOST_PARTS 4

/* The full canonical decomposition of a character. */
struct nfc_parts {
    uint32_t code_point;            /* ascending */
    uint32_t parts[NFC_MOST_PARTS]; /* zeros follow the last one */
};

/* The composite of two characters. */
struct nfc_pair {
    uint32_t first, second; /* ascending by first, then by second */
    uint32_t composite;
};

extern const struct nfc_range nfc_ranges[];
extern const size_t nfc_ranges_n;
extern const struct nfc_parts nfc_parts[];
extern const size_t nfc_parts_n;
extern const struct nfc_pair nfc_pairs[];
extern const size_t nfc_pairs_n;

#endif
