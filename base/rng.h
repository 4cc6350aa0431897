/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h - counter-based randomness.
 *
 * A draw is a pure function of (seed, purpose, step, index): it does not
 * depend on how many draws came before, so that a restart needs only the
 * step, and threads need no shared state. The mixing function is the
 * finaliser of SplitMix64 (Steele, Lea, Flood 2014) applied to each word.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_RNG_H
#define MNEME_BASE_RNG_H

#include <stdint.h>

/* Never renumber: what is learned depends on them. */
enum rng_purpose {
    RNG_INIT = 1,      /* weights at birth; step: tensor, index: element */
    RNG_REPLAY = 2,    /* which rows are replayed */
    RNG_RESERVOIR = 3, /* which row leaves the reservoir */
    RNG_FISHER = 4,    /* which rows, and labels drawn from the model */
    RNG_GATE = 5,      /* which holdout segments are scored */
    RNG_SAMPLE = 6,    /* generation; seed: the request's */
    RNG_HOLDOUT = 7,   /* which holdout row leaves */
    RNG_BEHIND = 8     /* which records are taken when behind */
};

uint64_t rng_u64(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                 uint64_t index);

/* In [0, 1), 53 bits. */
double rng_unit(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                uint64_t index);

/* In [0, n), unbiased enough for n far below 2^64; n > 0. */
uint64_t rng_below(uint64_t n, uint64_t seed, enum rng_purpose purpose,
                   uint64_t step, uint64_t index);

/* Standard normal (Box and Muller 1958), one value a call. */
double rng_normal(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                  uint64_t index);

#endif
