/* SPDX-License-Identifier: Apache-2.0 */
/*
 * texture.h - measures of a text that depend on its bytes alone.
 *
 * Threads: any; pure functions
 */
#ifndef MNEME_DAEMON_INTAKE_TEXTURE_H
#define MNEME_DAEMON_INTAKE_TEXTURE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The share of the text, 0 to 1, that repeats earlier bytes of it: a greedy
 * parse as in LZ77, with matches of at least 8 bytes at any distance. One pass,
 * about a byte a cycle.
 */
double texture_repeated(const char *text, size_t n_bytes);

/* The entropy of the single bytes, in bits a byte. A code that knows the
 * frequency of each byte, and nothing else, needs that much. */
double texture_entropy(const char *text, size_t n_bytes);

/*
 * How much more often pairs of neighbouring bytes repeat than in the same bytes
 * shuffled:
 *     (observed - expected) / max(sqrt(expected + 1), expected / 5)
 *     observed = sum over pairs of c (c - 1) / 2
 *     expected = (n - 1) (n - 2) / 2
 *                (sum over bytes of c (c - 1) / n (n - 1))^2
 * Language, code and logs in any script are far above 2, and so are most such
 * texts of 96 bytes. Shuffled letters and encoded random bytes are below 2:
 * their repeats are nearly Poisson. In long texts runs of one byte weigh more,
 * hence the fifth.
 */
double texture_pairs(const char *text, size_t n_bytes);

#endif
