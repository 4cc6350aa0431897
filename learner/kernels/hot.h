/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot.h - loops over whole parameter blocks, compiled for several processors.
 *
 * The compiler makes one copy of a HOT function for each processor; the loader
 * chooses one. With -ffp-contract=off, elementwise results are the same in all
 * copies; only the order of a sum differs. The library is compiled with
 * -fno-math-errno and -fno-trapping-math. They change no result, but without
 * them a square root could set errno and a comparison could raise a flag, and
 * GCC would not vectorise the loop.
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

/* A float and its bits. With _FORTIFY_SOURCE, GCC 12 does not vectorise a loop
 * that converts with memcpy. */
union float_bits {
    float f;
    uint32_t bits;
};

#endif
