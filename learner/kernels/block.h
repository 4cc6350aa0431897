/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - blocks of floats: checked when they come from files, and handed
 * out in parts.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_BLOCK_H
#define MNEME_LEARNER_KERNELS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/tensor.h"

/* No infinity and no NaN in x[n]. */
bool block_finite(const float *x, size_t n);

/* The F32 tensor of that name with n elements (SIZE_MAX: any number), all of
 * them finite; else ERR_CORRUPT with what is wrong. */
int block_expect(const struct tensor_list *l, const char *name, size_t n,
                 const struct tensor **t, struct err *err);

/* The next n floats of a block, on a 64-byte boundary; *used goes on. With no
 * block it only counts. */
float *block_take(float *block, size_t *used, size_t n);

#endif
