/* SPDX-License-Identifier: Apache-2.0 */
/*
 * half.h - 16-bit floats: IEEE 754 binary16 (F16) and bfloat16 (BF16).
 *
 * A conversion to 16 bits rounds to the nearest number, and from halfway to the
 * one whose last bit is 0. A number above the largest one becomes infinite. NaN
 * stays NaN. A conversion from 16 bits is exact.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_HALF_H
#define MNEME_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t half_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float half_of_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 31;
    uint32_t fraction = h & 0x3ff;

    if (exponent == 0) { /* zero and subnormal numbers: fraction / 2^24 */
        float f = (float)fraction / 16777216.0f;

        return sign ? -f : f;
    }
    if (exponent == 31)
        return half_of_bits(sign | 0x7f800000u | fraction << 13);
    return half_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t half_from_float(float f)
{
    uint32_t bits = half_bits(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t size = bits & 0x7fffffff;

    if (size > 0x7f800000)
        return sign | 0x7e00; /* NaN */
    if (size >= 0x477ff000) /* 65520: halfway between 65504 and 2^16 */
        return sign | 0x7c00;
    /* Below 2^-14 the step is 2^-24, as it is for floats from 0.5 to 1: the
     * addition rounds. */
    if (size < 0x38800000)
        return sign | (uint16_t)(half_bits(half_of_bits(size) + 0.5f) -
                                 0x3f000000);
    size += 0xfff + (size >> 13 & 1);
    return sign | (uint16_t)((size >> 13) - (112 << 10));
}

static inline float half_bf16_to_float(uint16_t b)
{
    return half_of_bits((uint32_t)b << 16);
}

static inline uint16_t half_bf16_from_float(float f)
{
    uint32_t bits = half_bits(f);

    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 64); /* NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
