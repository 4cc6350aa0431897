/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packed.h - a matrix of weights laid out for reading (kernels.h), in float or
 * in bytes.
 *
 * In bytes each output's row of weights is round(w / s) with s the largest
 * |w| / 127, and so is each row of inputs, on the fly: y = sum(q_x q_w) s_x
 * s_w. An input row that is not finite gives outputs that are NaN.
 *
 * Use:     packed_place, packed_fill until every row is there; then, for some
 *          rows of inputs, packed_input once and packed_product for the
 *          panels that are wanted
 * Owner:   struct packed lies in memory that the caller owns
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
    struct kernel_panels panels; /* of all of it */
    float *w;                    /* the one or */
    int8_t *w8;                  /* the other */
    float *scale;
    int32_t *sums;
};

/* n, rounded up to whole panels: outputs have so many columns. */
size_t packed_columns(size_t n);

/*
 * Makes it a matrix of `out` rows of `in` weights at `block`, which is zeroed
 * and 64-byte aligned; returns the bytes it takes, a multiple of 64. With no
 * block it only counts.
 */
size_t packed_place(struct packed *p, size_t in, size_t out, bool bytes,
                    void *block);

/* Rows [from, from + n) from w[n][in]. */
void packed_fill(struct packed *p, size_t from, const float *w, size_t n);

/* A row in float again: of a matrix in float exactly what was filled in. */
void packed_row(const struct packed *p, size_t row, float *w);

/* Bytes of scratch that n rows of inputs take; 0 in float. */
size_t packed_scratch(const struct packed *p, size_t n);

/*
 * Inputs x, n rows of x_stride floats; they and the scratch must stay. The
 * outputs' place (y, y_stride, accumulate) is the caller's to set.
 */
struct kernel_rows packed_input(const struct packed *p, const float *x,
                                size_t x_stride, size_t n, void *scratch);

/* y = x w^T for n_panels panels from `first` on: y's columns begin with
 * theirs. */
void packed_product(const struct packed *p, const struct kernel_rows *rows,
                    size_t first, size_t n_panels);

/* Products run on these from now on; NULL: the best there are. For tests and
 * benchmarks, before other threads begin. */
void packed_use(const struct kernels *k);
const struct kernels *packed_kernels(void);

#endif
