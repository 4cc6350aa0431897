/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packed.h - a matrix of weights in panels (kernels.h), as float or int8.
 *
 * In int8, each output's row of weights is round(w / s), where s is the largest
 * |w| / 127. Each row of inputs is rounded in the same way when it is used:
 * y = sum(q_x q_w) s_x s_w. An input row that is not finite gives NaN.
 *
 * Use:     packed_lay_out, then packed_fill for every row; then, for some rows
 *          of inputs, packed_input once and packed_product for some panels
 * Owner:   the caller owns the memory of the matrix
 * Threads: any, once it is filled
 */
#ifndef MNEME_LEARNER_KERNELS_PACKED_H
#define MNEME_LEARNER_KERNELS_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "learner/kernels/kernels.h"

struct packed {
    size_t in, out;
    bool bytes;
    struct kernel_panels panels; /* the whole matrix */
    float *w;                    /* float weights, or */
    int8_t *w8;                  /* int8 weights */
    float *scale;
    int32_t *sums;
};

/* Returns n rounded up to whole panels, the columns that an output needs. */
size_t packed_columns(size_t n);

/*
 * Places a matrix of `out` rows of `in` weights at `block`, which is zeroed and
 * 64-byte aligned. Returns its bytes, a multiple of 64. Without a block it only
 * counts.
 */
size_t packed_lay_out(struct packed *p, size_t in, size_t out, bool bytes,
                      void *block);

/* Sets rows [from, from + n) from w[n][in]. */
void packed_fill(struct packed *p, size_t from, const float *w, size_t n);

/* Reads a row as float; from a float matrix exactly what was set. */
void packed_row(const struct packed *p, size_t row, float *w);

/* Returns the bytes of scratch for n rows of inputs; 0 for float. */
size_t packed_scratch(const struct packed *p, size_t n);

/*
 * Prepares n rows of inputs x. x and the scratch must stay. The caller sets y,
 * y_stride and accumulate of the result.
 */
struct kernel_rows packed_input(const struct packed *p, const float *x,
                                size_t x_stride, size_t n, void *scratch);

/* Computes y = x w^T for n_panels panels from `first` on. y starts at the first
 * of these columns. */
void packed_product(const struct packed *p, const struct kernel_rows *rows,
                    size_t first, size_t n_panels);

/* Chooses the kernels of all products; NULL: the fastest. For tests and
 * benchmarks, before other threads start. */
void packed_use(const struct kernels *k);
const struct kernels *packed_kernels(void);

#endif
