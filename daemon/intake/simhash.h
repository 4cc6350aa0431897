/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simhash.h - 64 bits of a text, most of them alike for texts that are
 * (Charikar 2002; 64 bits and a distance of 3 for near-duplicates: Manku, Jain,
 * Das Sarma 2007).
 *
 * The features are the text's hashed word uni- and bigrams (learner/tokenizer/grams.h);
 * bit i is set when it is in more than half of the features' hashes. Counting
 * is done for all 64 bits at once, a machine word for each digit of the
 * counters.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_INTAKE_SIMHASH_H
#define MNEME_DAEMON_INTAKE_SIMHASH_H

#include <stddef.h>
#include <stdint.h>

/* No features: 0. */
uint64_t simhash(const uint32_t *grams, size_t n);

/* Bits that differ. */
static inline int simhash_distance(uint64_t a, uint64_t b)
{
    return __builtin_popcountll(a ^ b);
}

#endif
