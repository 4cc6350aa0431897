/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panels.h - lays a matrix out in panels, for the products of kernels.h.
 *
 * A matrix of rows of `width` floats can be laid out in two ways, with room for
 * `cap` rows, a multiple of PANEL in the first:
 *
 *     columns  [cap / PANEL][width][PANEL]    for x rows^T
 *     rows     [width / PANEL][cap][PANEL]    for x rows
 *
 * where width is rounded up to PANEL in the second. What lies behind the last
 * row or column is left as it is.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_PANELS_H
#define MNEME_LEARNER_KERNELS_PANELS_H

#include <stddef.h>

/* Rows [at, at + n), from x, rows of x_stride floats. */
void panels_lay_columns(float *panels, size_t width, size_t at, const float *x,
                        size_t x_stride, size_t n);
void panels_lay_rows(float *panels, size_t cap, size_t width, size_t at,
                     const float *x, size_t x_stride, size_t n);

#endif
