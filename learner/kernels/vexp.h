/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vexp.h - exp in single precision, for loops that GCC vectorises.
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

#endif
