/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/rng.h"

#include <math.h>

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t rng_u64(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                 uint64_t index)
{
    uint64_t x = mix(seed);

    x = mix(x ^ (uint64_t)purpose);
    x = mix(x ^ step);
    return mix(x ^ index);
}

double rng_unit(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                uint64_t index)
{
    return (double)(rng_u64(seed, purpose, step, index) >> 11) * 0x1p-53;
}

uint64_t rng_below(uint64_t n, uint64_t seed, enum rng_purpose purpose,
                   uint64_t step, uint64_t index)
{
    unsigned __int128 wide = rng_u64(seed, purpose, step, index);

    return (uint64_t)((wide * n) >> 64);
}

double rng_normal(uint64_t seed, enum rng_purpose purpose, uint64_t step,
                  uint64_t index)
{
    double u = 1.0 - rng_unit(seed, purpose, step, 2 * index);
    double v = rng_unit(seed, purpose, step, 2 * index + 1);

    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}
