/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tile is a few rows by a few panels. Its sums stay in registers while the
 * panels are read once from end to end:
 *
 *     AVX2     6 rows x 1 panel   12 of 16 registers   one row: 4 panels
 *     AVX-512  6 rows x 4 panels  24 of 32 registers   one row: 4 panels
 *
 * The panels of a tile stay in the second-level cache while all rows are
 * multiplied. Each tile size is the same inline function with constant bounds.
 * The pragmas unroll its loops; without them the sums would lie in memory.
 *
 * int8: the AVX-512 instruction multiplies unsigned by signed bytes. So 128 is
 * added to the inputs, and 128 times the sum of the row's weights is
 * subtracted. The AVX2 instruction adds pairs into 16 bits, enough for
 * 2 * 127 * 127. It multiplies |x| by the weight with the sign of x.
 *
 * These are intrinsics because GCC neither kept a tile in registers nor found
 * the byte products by itself.
 */
#include "config.h"

#include "learner/kernels/kernels_x86.h"

#ifdef KERNELS_X86

#include <immintrin.h>
#include <string.h>

#define INLINE __attribute__((always_inline)) static inline
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))
#define VNNI __attribute__((target("avx512f,avx512vnni")))
#define MOST_ROWS 6

/* Rows [i, i + rows) and panels [at, at + panels) of a product. */
struct tile {
    const struct kernel_rows *r;
    const struct kernel_panels *p;
    size_t i, at;
};

INLINE float *tile_y(const struct tile *t, size_t row)
{
    return t->r->y + (t->i + row) * t->r->y_stride + t->at * PANEL;
}

/* Calls tile(t, rows, panels) with constants: rows 1 to 6. */
#define BY_ROWS(tile, t, rows, panels)                                         \
    switch (rows) {                                                            \
    case 1:                                                                    \
        tile(t, 1, panels);                                                    \
        break;                                                                 \
    case 2:                                                                    \
        tile(t, 2, panels);                                                    \
        break;                                                                 \
    case 3:                                                                    \
        tile(t, 3, panels);                                                    \
        break;                                                                 \
    case 4:                                                                    \
        tile(t, 4, panels);                                                    \
        break;                                                                 \
    case 5:                                                                    \
        tile(t, 5, panels);                                                    \
        break;                                                                 \
    default:                                                                   \
        tile(t, 6, panels);                                                    \
        break;                                                                 \
    }

#define BY_PANELS(tile, t, rows, panels)                                       \
    switch (panels) {                                                          \
    case 1:                                                                    \
        BY_ROWS(tile, t, rows, 1);                                             \
        break;                                                                 \
    case 2:                                                                    \
        BY_ROWS(tile, t, rows, 2);                                             \
        break;                                                                 \
    case 3:                                                                    \
        BY_ROWS(tile, t, rows, 3);                                             \
        break;                                                                 \
    default:                                                                   \
        BY_ROWS(tile, t, rows, 4);                                             \
        break;                                                                 \
    }

/* Divides rows evenly: 7 rows make tiles of 4 and 3, not 6 and 1. */
static size_t rows_of_tile(size_t left)
{
    size_t n_tiles = (left + MOST_ROWS - 1) / MOST_ROWS;

    return n_tiles ? (left + n_tiles - 1) / n_tiles : 0;
}

/* --- AVX-512 ------------------------------------------------------------ */

AVX512 INLINE void f32_tile_512(const struct tile *t, const size_t rows,
                                const size_t panels)
{
    const float *w = t->p->w + t->at * t->p->w_stride;
    const float *x = t->r->x + t->i * t->r->x_stride;
    size_t w_stride = t->p->w_stride, x_stride = t->r->x_stride;
    size_t x_step = t->r->x_step;
    __m512 sums[MOST_ROWS][4], v[4];

#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < panels; j++)
            sums[i][j] = _mm512_setzero_ps();
    for (size_t k = 0; k < t->p->in; k++) {
#pragma GCC unroll 4
        for (size_t j = 0; j < panels; j++) {
            const float *at = w + j * w_stride + k * PANEL;

            v[j] = _mm512_loadu_ps(at);
            if (rows == 1 && panels == 4)
                _mm_prefetch((const char *)(at + 4 * w_stride), _MM_HINT_T1);
        }
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++) {
            __m512 one = _mm512_set1_ps(x[i * x_stride + k * x_step]);

#pragma GCC unroll 4
            for (size_t j = 0; j < panels; j++)
                sums[i][j] = _mm512_fmadd_ps(one, v[j], sums[i][j]);
        }
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < panels; j++) {
            float *y = tile_y(t, i) + j * PANEL;

            if (t->r->accumulate)
                sums[i][j] = _mm512_add_ps(_mm512_loadu_ps(y), sums[i][j]);
            _mm512_storeu_ps(y, sums[i][j]);
        }
}

AVX512 void kernels_f32_avx512(const struct kernel_rows *r,
                               const struct kernel_panels *p)
{
    struct tile t = {.r = r, .p = p};

    for (size_t panels; t.at < p->n_panels; t.at += panels) {
        panels = p->n_panels - t.at < 4 ? p->n_panels - t.at : 4;
        if (r->n == 1 && p->in <= 64)
            panels = 1;
        t.i = 0;
        for (size_t rows; t.i < r->n; t.i += rows) {
            rows = rows_of_tile(r->n - t.i);
            BY_PANELS(f32_tile_512, &t, rows, panels);
        }
    }
}

VNNI INLINE void s8_store_512(const struct tile *t, size_t row, size_t panel,
                              __m512i sums)
{
    size_t o = (t->at + panel) * PANEL;
    __m512i less = _mm512_loadu_si512(t->p->w8_sums + o);
    __m512 scale = _mm512_mul_ps(_mm512_set1_ps(t->r->q_scale[t->i + row]),
                                 _mm512_loadu_ps(t->p->w8_scale + o));
    __m512 v = _mm512_mul_ps(
        _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, less)), scale);
    float *y = tile_y(t, row) + panel * PANEL;

    if (t->r->accumulate)
        v = _mm512_add_ps(_mm512_loadu_ps(y), v);
    _mm512_storeu_ps(y, v);
}

/* Replaces _mm512_dpbusd_epi32: for that, GCC 12 copies the sums and keeps some
 * in memory, at a third of the speed. */
VNNI INLINE void dot(__m512i *sums, __m512i x, __m512i w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sums) : "v"(x), "v"(w));
}

VNNI INLINE void s8_tile_vnni(const struct tile *t, const size_t rows,
                              const size_t panels)
{
    size_t in = t->p->in, w_stride = in * PANEL;
    const int8_t *w = t->p->w8 + t->at * w_stride, *q = t->r->q + t->i * in;
    const __m512i offset = _mm512_set1_epi8((char)0x80);
    __m512i sums[MOST_ROWS][4], v[4];

#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < panels; j++)
            sums[i][j] = _mm512_setzero_si512();
    for (size_t k = 0; k < in; k += 4) {
#pragma GCC unroll 4
        for (size_t j = 0; j < panels; j++)
            v[j] = _mm512_loadu_si512(w + j * w_stride + k * PANEL);
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++) {
            int four;
            __m512i x;

            memcpy(&four, q + i * in + k, sizeof four);
            x = _mm512_xor_si512(_mm512_set1_epi32(four), offset);
#pragma GCC unroll 4
            for (size_t j = 0; j < panels; j++)
                dot(&sums[i][j], x, v[j]);
        }
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < panels; j++)
            s8_store_512(t, i, j, sums[i][j]);
}

VNNI void kernels_s8_vnni(const struct kernel_rows *r,
                          const struct kernel_panels *p)
{
    struct tile t = {.r = r, .p = p};

    for (size_t panels; t.at < p->n_panels; t.at += panels) {
        panels = p->n_panels - t.at < 4 ? p->n_panels - t.at : 4;
        t.i = 0;
        for (size_t rows; t.i < r->n; t.i += rows) {
            rows = rows_of_tile(r->n - t.i);
            BY_PANELS(s8_tile_vnni, &t, rows, panels);
        }
    }
}

/* --- AVX2 --------------------------------------------------------------- */

AVX2 INLINE void f32_tile_256(const struct tile *t, const size_t rows,
                              const size_t panels)
{
    const float *w = t->p->w + t->at * t->p->w_stride;
    const float *x = t->r->x + t->i * t->r->x_stride;
    size_t w_stride = t->p->w_stride, x_stride = t->r->x_stride;
    size_t x_step = t->r->x_step;
    __m256 sums[MOST_ROWS][8], v[8];

#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (size_t j = 0; j < 2 * panels; j++)
            sums[i][j] = _mm256_setzero_ps();
    for (size_t k = 0; k < t->p->in; k++) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 2 * panels; j++)
            v[j] = _mm256_loadu_ps(w + j / 2 * w_stride + k * PANEL +
                                   j % 2 * 8);
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++) {
            __m256 one = _mm256_set1_ps(x[i * x_stride + k * x_step]);

#pragma GCC unroll 8
            for (size_t j = 0; j < 2 * panels; j++)
                sums[i][j] = _mm256_fmadd_ps(one, v[j], sums[i][j]);
        }
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (size_t j = 0; j < 2 * panels; j++) {
            float *y = tile_y(t, i) + j * 8;

            if (t->r->accumulate)
                sums[i][j] = _mm256_add_ps(_mm256_loadu_ps(y), sums[i][j]);
            _mm256_storeu_ps(y, sums[i][j]);
        }
}

AVX2 void kernels_f32_avx2(const struct kernel_rows *r,
                           const struct kernel_panels *p)
{
    struct tile t = {.r = r, .p = p};

    if (r->n == 1)
        for (; t.at + 4 <= p->n_panels; t.at += 4)
            f32_tile_256(&t, 1, 4);
    for (; t.at < p->n_panels; t.at++) {
        t.i = 0;
        for (size_t rows; t.i < r->n; t.i += rows) {
            rows = rows_of_tile(r->n - t.i);
            BY_ROWS(f32_tile_256, &t, rows, 1);
        }
    }
}

AVX2 INLINE void s8_store_256(const struct tile *t, size_t row, size_t half,
                              __m256i sums)
{
    size_t o = t->at * PANEL + half * 8;
    __m256 scale = _mm256_mul_ps(_mm256_set1_ps(t->r->q_scale[t->i + row]),
                                 _mm256_loadu_ps(t->p->w8_scale + o));
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale);
    float *y = tile_y(t, row) + half * 8;

    if (t->r->accumulate)
        v = _mm256_add_ps(_mm256_loadu_ps(y), v);
    _mm256_storeu_ps(y, v);
}

AVX2 INLINE void s8_tile_256(const struct tile *t, const size_t rows,
                             const size_t panels)
{
    size_t in = t->p->in, w_stride = in * PANEL;
    const int8_t *w = t->p->w8 + t->at * w_stride, *q = t->r->q + t->i * in;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[MOST_ROWS][8];

#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (size_t j = 0; j < 2 * panels; j++)
            sums[i][j] = _mm256_setzero_si256();
    for (size_t k = 0; k < in; k += 4) {
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++) {
            int four;
            __m256i x, size;

            memcpy(&four, q + i * in + k, sizeof four);
            x = _mm256_set1_epi32(four);
            size = _mm256_abs_epi8(x);
#pragma GCC unroll 8
            for (size_t j = 0; j < 2 * panels; j++) {
                const int8_t *at = w + j / 2 * w_stride + k * PANEL;
                __m256i v = _mm256_loadu_si256(
                    (const __m256i *)(const void *)(at + j % 2 * 32));
                __m256i pairs =
                    _mm256_maddubs_epi16(size, _mm256_sign_epi8(v, x));

                sums[i][j] = _mm256_add_epi32(
                    sums[i][j], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (size_t j = 0; j < 2 * panels; j++)
            s8_store_256(t, i, j, sums[i][j]);
}

AVX2 void kernels_s8_avx2(const struct kernel_rows *r,
                          const struct kernel_panels *p)
{
    struct tile t = {.r = r, .p = p};

    if (r->n == 1)
        for (; t.at + 4 <= p->n_panels; t.at += 4)
            s8_tile_256(&t, 1, 4);
    for (; t.at < p->n_panels; t.at++) {
        t.i = 0;
        for (size_t rows; t.i < r->n; t.i += rows) {
            rows = rows_of_tile(r->n - t.i);
            BY_ROWS(s8_tile_256, &t, rows, 1);
        }
    }
}

#else

typedef int kernels_x86_none; /* ISO C forbids an empty file */

#endif
