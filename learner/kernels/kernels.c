/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain loops for any processor, and the choice of kernels.
 */
#include "config.h"

#include "learner/kernels/kernels.h"

#include <string.h>

#include "learner/kernels/kernels_x86.h"

/* --- plain -------------------------------------------------------------- */

static void put(float *y, const float *sums, bool accumulate)
{
    for (size_t j = 0; accumulate && j < PANEL; j++)
        y[j] += sums[j];
    if (!accumulate)
        memcpy(y, sums, PANEL * sizeof *y);
}

/* Four floats at any address. Every vector unit has them. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

#define FOURS (PANEL / 4)
#define MOST_ROWS 2 /* their sums fit into 16 registers */

/* Multiplies rows [i, i + rows) by a panel. `rows` is a constant, so that the
 * sums stay in registers. */
__attribute__((always_inline)) static inline void
f32_tile(const struct kernel_rows *r, const struct kernel_panels *p,
         size_t panel, size_t i, const size_t rows)
{
    const float *w = p->w + panel * p->w_stride;
    const float *x = r->x + i * r->x_stride;
    four sums[MOST_ROWS][FOURS] = {{{0.0f}}};

    for (size_t k = 0; k < p->in; k++)
#pragma GCC unroll 2
        for (size_t row = 0; row < rows; row++)
#pragma GCC unroll 4
            for (size_t j = 0; j < FOURS; j++)
                sums[row][j] += x[row * r->x_stride + k * r->x_step] *
                                *(const four *)(w + k * PANEL + 4 * j);
#pragma GCC unroll 2
    for (size_t row = 0; row < rows; row++)
        put(r->y + (i + row) * r->y_stride + panel * PANEL,
            (const float *)sums[row], r->accumulate);
}

static void f32_plain(const struct kernel_rows *r,
                      const struct kernel_panels *p)
{
    for (size_t panel = 0; panel < p->n_panels; panel++) {
        size_t i = 0;

        for (; i + MOST_ROWS <= r->n; i += MOST_ROWS)
            f32_tile(r, p, panel, i, MOST_ROWS);
        if (i < r->n)
            f32_tile(r, p, panel, i, 1);
    }
}

static void add_fours(int32_t *sums, const int8_t *w, const int8_t *q)
{
    int q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];

#pragma omp simd
    for (size_t j = 0; j < PANEL; j++)
        sums[j] += q0 * w[4 * j] + q1 * w[4 * j + 1] + q2 * w[4 * j + 2] +
                   q3 * w[4 * j + 3];
}

static void s8_panel(const struct kernel_rows *r,
                     const struct kernel_panels *p, size_t panel)
{
    const int8_t *w = p->w8 + panel * p->in * PANEL;

    for (size_t i = 0; i < r->n; i++) {
        const int8_t *q = r->q + i * p->in;
        int32_t sums[PANEL] = {0};
        float y[PANEL];

        for (size_t k = 0; k < p->in; k += 4)
            add_fours(sums, w + k * PANEL, q + k);
        for (size_t j = 0; j < PANEL; j++)
            y[j] = (float)sums[j] *
                   (r->q_scale[i] * p->w8_scale[panel * PANEL + j]);
        put(r->y + i * r->y_stride + panel * PANEL, y, r->accumulate);
    }
}

static void s8_plain(const struct kernel_rows *r, const struct kernel_panels *p)
{
    for (size_t panel = 0; panel < p->n_panels; panel++)
        s8_panel(r, p, panel);
}

/* --- the choice --------------------------------------------------------- */

static const struct kernels plain = {"plain", false, f32_plain, s8_plain};

#ifdef KERNELS_X86

static const struct kernels avx2 = {"avx2", false, kernels_f32_avx2,
                                    kernels_s8_avx2};
static const struct kernels avx512 = {"avx512", true, kernels_f32_avx512,
                                      kernels_s8_avx2};
static const struct kernels vnni = {"avx512vnni", true, kernels_f32_avx512,
                                    kernels_s8_vnni};

static size_t n_sets(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 1;
    if (!__builtin_cpu_supports("avx512f"))
        return 2;
    return __builtin_cpu_supports("avx512vnni") ? 4 : 3;
}

static const struct kernels *const sets[] = {&plain, &avx2, &avx512, &vnni};

#else

static const struct kernels *const sets[] = {&plain};

static size_t n_sets(void)
{
    return 1;
}

#endif

const struct kernels *kernels_get(size_t i)
{
    return i < n_sets() ? sets[i] : NULL;
}

const struct kernels *kernels_best(void)
{
    return sets[n_sets() - 1];
}
