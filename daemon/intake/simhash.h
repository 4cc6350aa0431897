/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simhash.h - a 64-bit hash of a text, which differs in few bits from the hash
 * of a similar text (Charikar 2002). Near-duplicates differ in at most 3 bits
 * (Manku, Jain, Das Sarma 2007).
 *
 * The features are the hashed word unigrams and bigrams of the text
 * (learner/tokenizer/grams.h). Bit i of the hash is set when bit i is set in
 * more than half of the hashes of the features.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_INTAKE_SIMHASH_H
#define MNEME_DAEMON_INTAKE_SIMHASH_H

#include <stddef.h>
#include <stdint.h>

/* 0 for a text without features. */
uint64_t simhash(const uint32_t *grams, size_t n);

/* The number of bits that differ. */
static inline int simhash_distance(uint64_t a, uint64_t b)
{
    return __builtin_popcountll(a ^ b);
}

#endif
