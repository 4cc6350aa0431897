/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.h - matrix products with weights in panels, a few rows at a time.
 *
 * A matrix w[O][I] lies in panels of PANEL outputs. So a vector register holds
 * the weights of one input for PANEL outputs, and no sum crosses lanes:
 *
 *     float   [O / PANEL][I][PANEL]
 *     int8    [O / PANEL][I / 4][PANEL][4]   four inputs a lane, for integer
 *                                            dot products
 *
 * O is rounded up to PANEL and, for int8, I to 4; the padding is zero. The
 * product of a row does not depend on how many rows go together, nor on
 * n_panels. So a prompt gives the same numbers when it is read at once and
 * token by token. Integer sums are exact, and the steps after them are
 * elementwise, so int8 products are the same on every processor. Float
 * products add inputs in ascending order, with or without fused multiply-add.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_KERNELS_H
#define MNEME_LEARNER_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PANEL 16

/*
 * The rows of y[n][n_panels * PANEL] = x[n][in] w^T; accumulate: y +=.
 * y_stride and x_stride are the floats from one row to the next. x_step is the
 * floats from one element of a row of x to the next: with x_stride 1 and x_step
 * the length of a row, x is read transposed.
 */
struct kernel_rows {
    float *y;
    size_t y_stride;
    const float *x; /* for float products */
    size_t x_stride, x_step;
    const int8_t *q; /* for int8 products: rows of in4 bytes, and their
                        scales */
    const float *q_scale;
    size_t n;
    bool accumulate;
};

struct kernel_panels {
    const float *w;
    size_t w_stride; /* floats from one panel to the next, at least in *
                        PANEL */
    const int8_t *w8;
    const float *w8_scale;  /* [n_panels * PANEL] */
    const int32_t *w8_sums; /* 128 times the sum of a row's weights */
    size_t in;              /* for int8 a multiple of 4 */
    size_t n_panels;
};

struct kernels {
    const char *name; /* "plain", "avx2", "avx512", "avx512vnni" */
    /* f32, including the layout in panels, is faster than sgemm of OpenBLAS
     * 0.3.21 on whole matrices (measured, bench/NOTES.md). */
    bool beats_blas;
    void (*f32)(const struct kernel_rows *r, const struct kernel_panels *p);
    void (*s8)(const struct kernel_rows *r, const struct kernel_panels *p);
};

/* Returns the fastest kernels for this processor. */
const struct kernels *kernels_best(void);

/* Returns set i of the kernels that this processor supports, slowest first;
 * NULL past the last. */
const struct kernels *kernels_get(size_t i);

#endif
