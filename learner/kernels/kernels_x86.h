/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels_x86.h - the products of kernels.h in AVX2 and AVX-512. The caller
 * checks that the processor supports them.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_KERNELS_X86_H
#define MNEME_LEARNER_KERNELS_KERNELS_X86_H

#include "learner/kernels/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define KERNELS_X86

void kernels_f32_avx2(const struct kernel_rows *r,
                      const struct kernel_panels *p);
void kernels_s8_avx2(const struct kernel_rows *r,
                     const struct kernel_panels *p);
void kernels_f32_avx512(const struct kernel_rows *r,
                        const struct kernel_panels *p);
void kernels_s8_vnni(const struct kernel_rows *r,
                     const struct kernel_panels *p);

#endif
#endif
