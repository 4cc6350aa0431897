/* SPDX-License-Identifier: Apache-2.0 */
/*
 * products.h - products of whole matrices on the kernels of kernels.h.
 *
 * For processors where these kernels are faster than OpenBLAS's
 * (kernels.h, beats_blas). The right-hand side is laid out in panels a block at
 * a time, so that nothing of the size of a matrix is needed beside it.
 *
 * The summing order depends on the inner dimension only.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_PRODUCTS_H
#define MNEME_LEARNER_KERNELS_PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>

/* y[n][columns] = x[n][inner] b[inner][columns], y += with accumulate. */
struct product {
    float *y;
    size_t y_stride;
    const float *x; /* x[i][k] is x[i * x_stride + k * x_step] */
    size_t x_stride, x_step;
    const float *b;
    size_t b_stride;
    bool b_is_transposed; /* it lies as [columns][inner] */
    size_t n, inner, columns;
    bool accumulate;
};

/*
 * Returns how many columns it has done: those that fill panels, or none where
 * another way is faster. The rest is the caller's.
 */
size_t products_run(const struct product *p);

#endif
