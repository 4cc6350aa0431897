/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot.h - loops over whole parameter blocks, compiled for several processors.
 *
 * A HOT function exists once for each of them and is picked at load time. With
 * -ffp-contract=off its elementwise results are the same in all; only the
 * order of a sum differs. (The library is compiled with -fno-math-errno and
 * -fno-trapping-math, which change no result: a square root that sets errno
 * would keep its loop from being vectorised, and so would a comparison that
 * may raise a flag, for all but AVX-512.)
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_HOT_H
#define MNEME_LEARNER_KERNELS_HOT_H

#include <stdint.h>

#ifdef HAVE_TARGET_CLONES
#define HOT                                                                    \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3",           \
                                 "default")))
#else
#define HOT
#endif

/* A float and its bits. With _FORTIFY_SOURCE, gcc 12 does not vectorise a loop
 * that copies between the two with memcpy. */
union float_bits {
    float f;
    uint32_t bits;
};

#endif
