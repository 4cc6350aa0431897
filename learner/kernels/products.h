/* SPDX-License-Identifier: Apache-2.0 */
/*
 * products.h - products of whole matrices on the kernels of kernels.h.
 *
 * They are used on processors where these kernels are faster than OpenBLAS
 * (kernels.h, beats_blas). The right-hand side is laid out in panels block by
 * block, so that no copy of a whole matrix is needed.
 *
 * The order of a sum depends only on the inner dimension.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_PRODUCTS_H
#define MNEME_LEARNER_KERNELS_PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>

/* y[n][columns] = x[n][inner] b[inner][columns]; accumulate: y +=. */
struct product {
    float *y;
    size_t y_stride;
    const float *x; /* x[i][k] is x[i * x_stride + k * x_step] */
    size_t x_stride, x_step;
    const float *b;
    size_t b_stride;
    bool b_is_transposed; /* b is stored as [columns][inner] */
    size_t n, inner, columns;
    bool accumulate;
};

/*
 * Returns how many columns it has computed: those that fill panels, or 0 where
 * OpenBLAS is faster. The caller computes the others.
 */
size_t products_run(const struct product *p);

#endif
