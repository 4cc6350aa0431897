/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panels.h - lays out a matrix in panels, for the products of kernels.h.
 *
 * There are two layouts for a matrix of rows of `width` floats, with room for
 * `cap` rows; cap is a multiple of PANEL in the first:
 *
 *     columns  [cap / PANEL][width][PANEL]    for x rows^T
 *     rows     [width / PANEL][cap][PANEL]    for x rows
 *
 * In the second, width is rounded up to PANEL. Padding behind the last row or
 * column is not written.
 *
 * Threads: any
 */
#ifndef MNEME_LEARNER_KERNELS_PANELS_H
#define MNEME_LEARNER_KERNELS_PANELS_H

#include <stddef.h>

/* Sets rows [at, at + n) from x, whose rows are x_stride floats apart. */
void panels_lay_columns(float *panels, size_t width, size_t at, const float *x,
                        size_t x_stride, size_t n);
void panels_lay_rows(float *panels, size_t cap, size_t width, size_t at,
                     const float *x, size_t x_stride, size_t n);

#endif
