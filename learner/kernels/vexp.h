/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vexp.h - exp and ln in single precision, for loops that GCC vectorises.
 *
 *     x = n ln 2 + r,  |r| <= ln 2 / 2;  exp(x) = 2^n exp(r)
 *
 * n is x / ln 2, rounded to the nearest integer by adding and subtracting
 * 1.5 * 2^23. n ln 2 is subtracted in two parts (Cody, Waite 1980), of which
 * the first product is exact. exp(r) is the minimax polynomial of Cephes'
 * expf (Moshier 1989).
 *
 * The relative error is below 2e-7 (about 1.7 ulp) where the result is a
 * normal number and n at most 127: -87.33 <= x <= 88.37. Below that range the
 * result is 0, above it exp(88.37) = 2.4e38. NaN stays NaN. Small x go through
 * the same arithmetic and are masked at the end: a branch would make GCC mask
 * every operation.
 *
 *     x = 2^e m,  sqrt(1/2) <= m < sqrt(2);  ln(x) = e ln 2 + ln(m)
 *
 * ln(m) is the polynomial of Cephes' logf. The error is below 2e-7, or 2e-7 of
 * the result, where x is a normal number above 0. Other x give no number of
 * use.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_VEXP_H
#define MNEME_LEARNER_KERNELS_VEXP_H

#include <stdint.h>

#include "learner/kernels/hot.h"

#define VEXP_LEAST -87.33f
#define VEXP_MOST 88.37f

__attribute__((always_inline)) static inline float vexp(float x)
{
    const float magic = 0x1.8p23f;
    float clamped = x > VEXP_MOST ? VEXP_MOST : x;
    union float_bits shifted = {.f = clamped * 1.44269504f + magic};
    union float_bits scale, result;
    uint32_t kept = x < VEXP_LEAST ? 0 : UINT32_MAX;
    float n = shifted.f - magic;
    float r = clamped - n * 0.693359375f;
    float p = 1.9875691500e-4f;

    r = r + n * 2.12194440e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    /* The low bits of `shifted` are n. */
    scale.bits = (shifted.bits + 127) << 23;
    result.f = p * scale.f;
    result.bits &= kept;
    return result.f;
}

__attribute__((always_inline)) static inline float vlog(float x)
{
    const uint32_t root = 0x3f3504f3; /* the bits of sqrt(1/2) */
    union float_bits bits = {.f = x}, m;
    uint32_t from_root = bits.bits - root;
    float e = (float)((int32_t)from_root >> 23), z, y;

    m.bits = (from_root & 0x7fffff) + root;
    z = m.f - 1.0f;
    y = 7.0376836292e-2f;
    y = y * z - 1.1514610310e-1f;
    y = y * z + 1.1676998740e-1f;
    y = y * z - 1.2420140846e-1f;
    y = y * z + 1.4249322787e-1f;
    y = y * z - 1.6668057665e-1f;
    y = y * z + 2.0000714765e-1f;
    y = y * z - 2.4999993993e-1f;
    y = y * z + 3.3333331174e-1f;
    y = y * (z * z * z) - e * 2.12194440e-4f - 0.5f * (z * z);
    return z + y + e * 0.693359375f;
}

#endif
