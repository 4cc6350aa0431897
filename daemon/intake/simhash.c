/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One counter for each of the 64 bits, and all counters are added to at once:
 * digit d of the counter of bit i is bit i of digits[d].
 *
 * Seven carry-save adders add eight hashes, so that the carry runs through the
 * higher digits once for eight hashes. It runs through all used digits: a test
 * whether any carry is left would be mispredicted half of the time.
 */
#include "config.h"

#include "daemon/intake/simhash.h"

#include <string.h>

#define DIGITS 64

struct counters {
    uint64_t digits[DIGITS];
    int used; /* digits that the number of features needs */
};

/* Hashes 32 bits to 64. */
static uint64_t spread(uint32_t gram)
{
    uint64_t x = (gram + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);

    return x ^ x >> 32;
}

/* Bitwise *sum + a + b: sets *sum to the sum bits, returns the carries. */
static inline uint64_t add3(uint64_t *sum, uint64_t a, uint64_t b)
{
    uint64_t x = *sum ^ a, carry = (*sum & a) | (x & b);

    *sum = x ^ b;
    return carry;
}

/* Adds x to the digits from d on. */
static inline void ripple(struct counters *c, int d, uint64_t x)
{
    for (; d < c->used; d++) {
        uint64_t carry = c->digits[d] & x;

        c->digits[d] ^= x;
        x = carry;
    }
}

static inline void add_eight(struct counters *c, const uint32_t *g)
{
    uint64_t *d = c->digits, two[4], four[2];

    for (int i = 0; i < 4; i++)
        two[i] = add3(&d[0], spread(g[2 * i]), spread(g[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        four[i] = add3(&d[1], two[2 * i], two[2 * i + 1]);
    ripple(c, 3, add3(&d[2], four[0], four[1]));
}

/* The bits whose counters exceed limit. */
static uint64_t above(const struct counters *c, uint64_t limit)
{
    uint64_t more = 0, equal = ~UINT64_C(0);

    for (int d = c->used - 1; d >= 0; d--) {
        if (limit >> d & 1) {
            equal &= c->digits[d];
        } else {
            more |= equal & c->digits[d];
            equal &= ~c->digits[d];
        }
    }
    return more;
}

uint64_t simhash(const uint32_t *grams, size_t n)
{
    struct counters c;
    size_t i = 0;

    if (n == 0)
        return 0;
    c.used = 64 - __builtin_clzll(n);
    if (c.used < 3)
        c.used = 3;
    memset(c.digits, 0, (size_t)c.used * sizeof *c.digits);
    for (; i + 8 <= n; i += 8)
        add_eight(&c, grams + i);
    for (; i < n; i++)
        ripple(&c, 0, spread(grams[i]));
    return above(&c, n / 2);
}
