/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.h - products with a matrix that was laid out for reading, a few rows
 * at a time.
 *
 * A matrix w[O][I] lies in panels of PANEL outputs, so that a vector register
 * holds one input's weights for as many outputs and no sum goes across lanes:
 *
 *     float   [O / PANEL][I][PANEL]
 *     int8    [O / PANEL][I / 4][PANEL][4]   four inputs a lane, for integer
 *                                            dot products
 *
 * O is rounded up to PANEL and I, for int8, to 4; the rest is zeros. Products
 * of a row do not depend on how many rows go together, nor on n_panels:
 * a prompt read at once and token by token gives the same numbers. The integer
 * sums are exact, and what follows them is elementwise: int8 products are the
 * same on every processor. Float products add inputs in ascending order, fused
 * or not as the processor has it.
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
 * y[n][n_panels * PANEL] = x[n][in] w^T, rows of y_stride and x_stride floats;
 * accumulate: y +=. Floats of a row of x are x_step apart: with a stride of 1
 * and the step of a row, x is read transposed.
 */
struct kernel_rows {
    float *y;
    size_t y_stride;
    const float *x; /* float products */
    size_t x_stride, x_step;
    const int8_t *q; /* int8 products: rows of in4 bytes, and the scales */
    const float *q_scale;
    size_t n;
    bool accumulate;
};

struct kernel_panels {
    const float *w;
    size_t w_stride; /* floats from a panel to the next, in * PANEL or more */
    const int8_t *w8;
    const float *w8_scale;  /* [n_panels * PANEL] */
    const int32_t *w8_sums; /* of a row's weights, times 128 */
    size_t in;              /* int8: a multiple of 4 */
    size_t n_panels;
};

struct kernels {
    const char *name; /* "plain", "avx2", "avx512", "avx512vnni" */
    /* f32, with the laying out, is faster than sgemm of OpenBLAS 0.3.21 on
     * whole matrices: measured, bench/NOTES.md. */
    bool beats_blas;
    void (*f32)(const struct kernel_rows *r, const struct kernel_panels *p);
    void (*s8)(const struct kernel_rows *r, const struct kernel_panels *p);
};

/* The fastest that this processor has. */
const struct kernels *kernels_best(void);

/* Number i of those that it has, slowest first; NULL past the last. */
const struct kernels *kernels_get(size_t i);

#endif
