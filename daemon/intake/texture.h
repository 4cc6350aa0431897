/* SPDX-License-Identifier: Apache-2.0 */
/*
 * texture.h - what a text is like, told from its bytes alone.
 *
 * Threads: any; pure functions
 */
#ifndef MNEME_DAEMON_INTAKE_TEXTURE_H
#define MNEME_DAEMON_INTAKE_TEXTURE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The share of the text, 0 to 1, that repeats what came before in it: a greedy
 * parse as in LZ77, with matches of 8 bytes or more at any distance. One pass,
 * about a byte a cycle.
 */
double texture_repeated(const char *text, size_t n_bytes);

/* Entropy of its bytes one by one, in bits a byte: what a code would cost that
 * knows only how often each occurs in it. */
double texture_entropy(const char *text, size_t n_bytes);

/*
 * How much more often pairs of neighbouring bytes come again than in the same
 * bytes shuffled:
 *     (observed - expected) / max(sqrt(expected + 1), expected / 5)
 *     observed = sum over pairs of c (c - 1) / 2
 *     expected = (n - 1) (n - 2) / 2
 *                (sum over bytes of c (c - 1) / n (n - 1))^2
 * Language, code and logs in any script are far above 2, most of 96 bytes
 * too; shuffled letters and encoded random bytes are below (nearly Poisson; in
 * long texts runs of one byte weigh more than that, hence the fifth).
 */
double texture_pairs(const char *text, size_t n_bytes);

#endif
