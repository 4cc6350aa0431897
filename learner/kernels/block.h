/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - blocks of floats: checks for tensors from files, and division of a
 * block into parts.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_BLOCK_H
#define MNEME_LEARNER_KERNELS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/tensor.h"

/* Returns true if x[n] has no infinity and no NaN. */
bool block_finite(const float *x, size_t n);

/* Finds the F32 tensor of that name with n elements (SIZE_MAX: any number).
 * ERR_CORRUPT if it is missing, has another shape, or is not finite. */
int block_expect(const struct tensor_list *l, const char *name, size_t n,
                 const struct tensor **t, struct err *err);

/* The same for sums or means of squares: none may be negative. */
int block_expect_squares(const struct tensor_list *l, const char *name,
                         size_t n, const struct tensor **t, struct err *err);

/* Returns the next n floats of a block, 64-byte aligned, and raises *used by
 * them. Without a block it only counts. */
float *block_alloc(float *block, size_t *used, size_t n);

#endif
