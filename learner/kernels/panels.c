/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/kernels/panels.h"

#include <string.h>

#include "learner/kernels/hot.h"
#include "learner/kernels/kernels.h"

/* Writes n rows, at most PANEL, as columns of a panel. */
static void lay_panel(float *to, size_t width, const float *x,
                      size_t x_stride, size_t n)
{
    for (size_t j = 0; j < width; j++)
#pragma GCC unroll 4 /* without this the short loop takes a third longer */
        for (size_t i = 0; i < n; i++)
            to[j * PANEL + i] = x[i * x_stride + j];
}

void panels_lay_columns(float *panels, size_t width, size_t at, const float *x,
                        size_t x_stride, size_t n)
{
    for (size_t i = 0, some; i < n; i += some) {
        size_t row = at + i, column = row % PANEL;

        some = n - i < PANEL - column ? n - i : PANEL - column;
        lay_panel(panels + row / PANEL * width * PANEL + column, width,
                  x + i * x_stride, x_stride, some);
    }
}

HOT static void copy_rows(float *to, const float *x, size_t x_stride, size_t n,
                          size_t width)
{
    for (size_t i = 0; width == PANEL && i < n; i++)
#pragma omp simd
        for (size_t j = 0; j < PANEL; j++)
            to[i * PANEL + j] = x[i * x_stride + j];
    for (size_t i = 0; width < PANEL && i < n; i++)
        memcpy(to + i * PANEL, x + i * x_stride, width * sizeof *x);
}

void panels_lay_rows(float *panels, size_t cap, size_t width, size_t at,
                     const float *x, size_t x_stride, size_t n)
{
    for (size_t j = 0; j < width; j += PANEL)
        copy_rows(panels + j * cap + at * PANEL, x + j, x_stride, n,
                  width - j < PANEL ? width - j : PANEL);
}
