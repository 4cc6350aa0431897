/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/texture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define MATCH 8 /* bytes */
#define SLOTS 1024 /* a power of two */

static uint64_t eight_bytes(const char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof x);
    return x;
}

/* The number of equal bytes from text[a] and from text[b] on, a < b. */
static size_t match_length(const char *text, size_t a, size_t b,
                           size_t n_bytes)
{
    size_t n = 0;

    while (b + n < n_bytes && text[a + n] == text[b + n])
        n++;
    return n;
}

double texture_repeated(const char *text, size_t n_bytes)
{
    uint32_t slots[SLOTS] = {0}; /* last position of 8 bytes with this hash,
                                    + 1; 0: none */
    size_t at = 0, repeated = 0;

    while (at + MATCH <= n_bytes) {
        uint64_t x = eight_bytes(text + at);
        uint32_t *slot = &slots[(x * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
        size_t before = *slot, n;

        *slot = (uint32_t)(at + 1);
        if (before == 0 || eight_bytes(text + before - 1) != x) {
            at++;
            continue;
        }
        n = match_length(text, before - 1, at, n_bytes);
        repeated += n;
        at += n;
    }
    return n_bytes ? (double)repeated / (double)n_bytes : 0.0;
}

static void count_bytes(const char *text, size_t n_bytes, double counts[256])
{
    memset(counts, 0, 256 * sizeof *counts);
    for (size_t i = 0; i < n_bytes; i++)
        counts[(unsigned char)text[i]]++;
}

double texture_entropy(const char *text, size_t n_bytes)
{
    double counts[256], sum = 0.0;

    count_bytes(text, n_bytes, counts);
    for (int i = 0; i < 256; i++)
        if (counts[i] > 0)
            sum -= counts[i] * log2(counts[i] / (double)n_bytes);
    return n_bytes ? sum / (double)n_bytes : 0.0;
}

static int compare_pairs(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* The sum of c (c - 1) / 2 over the counts c of the pairs. */
static double same_pairs(const char *text, size_t n_bytes)
{
    size_t n = n_bytes - 1, run = 0;
    uint16_t *pairs = xcalloc(n, sizeof *pairs);
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        pairs[i] = (uint16_t)((unsigned char)text[i] << 8 |
                              (unsigned char)text[i + 1]);
    qsort(pairs, n, sizeof *pairs, compare_pairs);
    for (size_t i = 1; i < n; i++) {
        run = pairs[i] == pairs[i - 1] ? run + 1 : 0;
        sum += (double)run;
    }
    free(pairs);
    return sum;
}

double texture_pairs(const char *text, size_t n_bytes)
{
    double counts[256], n = (double)n_bytes, same = 0.0, expected;

    if (n_bytes < 3)
        return 0.0;
    count_bytes(text, n_bytes, counts);
    for (int i = 0; i < 256; i++)
        same += counts[i] * (counts[i] - 1);
    same /= n * (n - 1);
    expected = (n - 1) * (n - 2) / 2 * same * same;
    return (same_pairs(text, n_bytes) - expected) /
           fmax(sqrt(expected + 1), expected / 5);
}
