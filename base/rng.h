/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h - counter-based random numbers.
 *
 * A random number is a pure function of (seed, purpose, step, index). It does
 * not depend on earlier random numbers. So a restart needs only the step, and
 * threads share no state. The mixing function is the finaliser of SplitMix64
 * (Steele, Lea, Flood 2014), applied to each word.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_RNG_H
#define MNEME_BASE_RNG_H

#include <stdint.h>

/* The numbers never change, since the learned weights depend on them. 4 was
 * used by earlier programs. */
enum rng_purpose {
    RNG_INIT = 1,      /* first weights; step: tensor, index: element */
    RNG_REPLAY = 2,    /* which rows are replayed */
    RNG_RESERVOIR = 3, /* which row leaves the reservoir */
    RNG_GATE = 5,      /* which holdout segments are scored */
    RNG_SAMPLE = 6,    /* generation; seed: of the request */
    RNG_HOLDOUT = 7,   /* which holdout row leaves */
    RNG_BEHIND = 8,    /* which records are learned when the lag is large */
    RNG_AVERAGE = 9,   /* which segments the moving average scores */
    RNG_EVAL = 16      /* the order of records in `mneme eval` */
};

uint64_t rng_u64(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                 uint64_t index);

/* In [0, 1), 53 bits. */
double rng_unit(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                uint64_t index);

/* In [0, n), n > 0. The bias is negligible for n far below 2^64. */
uint64_t rng_below(uint64_t n, uint64_t seed, enum rng_purpose purpose,
                   uint64_t step, uint64_t index);

/* A standard normal value (Box and Muller 1958). */
double rng_normal(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                  uint64_t index);

#endif
