/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/kernels/packed.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"
#include "learner/kernels/hot.h"

#define MOST 127.0f /* -128 is not used, so that every sign can be changed */

static const struct kernels *kernels;

/* --- which kernels ------------------------------------------------------ */

static void choose(void)
{
    if (!kernels)
        kernels = kernels_best();
}

const struct kernels *packed_kernels(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose);
    return kernels;
}

void packed_use(const struct kernels *k)
{
    (void)packed_kernels();
    kernels = k ? k : kernels_best();
}

/* --- layout ------------------------------------------------------------- */

size_t packed_columns(size_t n)
{
    return (n + PANEL - 1) / PANEL * PANEL;
}

/* Returns the next n bytes of the block, 64-byte aligned. */
static void *alloc(char *block, size_t *used, size_t n)
{
    void *p = block ? block + *used : NULL;

    *used += (n + 63) / 64 * 64;
    return p;
}

size_t packed_lay_out(struct packed *p, size_t in, size_t out, bool bytes,
                      void *block)
{
    size_t columns = packed_columns(out), in4 = (in + 3) / 4 * 4, used = 0;

    *p = (struct packed){.in = in, .out = out, .bytes = bytes};
    if (bytes) {
        p->w8 = alloc(block, &used, columns * in4);
        p->scale = alloc(block, &used, columns * sizeof *p->scale);
        p->sums = alloc(block, &used, columns * sizeof *p->sums);
    } else {
        p->w = alloc(block, &used, columns * in * sizeof *p->w);
    }
    p->panels = (struct kernel_panels){
        .w = p->w,
        .w_stride = in * PANEL,
        .w8 = p->w8,
        .w8_scale = p->scale,
        .w8_sums = p->sums,
        .in = bytes ? in4 : in,
        .n_panels = columns / PANEL,
    };
    return used;
}

/*
 * Rounds x[n] to bytes and returns the scale. Adding 1.5 * 2^23 rounds to
 * nearest even and leaves the integer in the low bits. If x has an infinity or
 * a NaN, the scale is NaN.
 */
HOT static float to_bytes(int8_t *q, const float *x, size_t n)
{
    float most = 0.0f, wrong = 0.0f, inverse;

#pragma omp simd reduction(max : most) reduction(+ : wrong)
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);

        most = size > most ? size : most;
        wrong += x[i] * 0.0f;
    }
    inverse = most > 1e-30f && isfinite(most) ? MOST / most : 0.0f;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        union float_bits shifted = {.f = x[i] * inverse + 0x1.8p23f};

        q[i] = (int8_t)(shifted.bits & 0xff);
    }
    return most / MOST + wrong;
}

static void fill_bytes(struct packed *p, size_t o, const float *w)
{
    size_t in4 = p->panels.in;
    int8_t *panel = p->w8 + o / PANEL * in4 * PANEL + o % PANEL * 4;
    float most = 0.0f, inverse;
    int32_t sum = 0;

    for (size_t k = 0; k < p->in; k++)
        most = fabsf(w[k]) > most ? fabsf(w[k]) : most;
    inverse = most > 1e-30f ? MOST / most : 0.0f;
    for (size_t k = 0; k < p->in; k++) {
        int8_t b = (int8_t)lrintf(w[k] * inverse);

        panel[k / 4 * 4 * PANEL + k % 4] = b;
        sum += b;
    }
    p->scale[o] = most / MOST;
    p->sums[o] = sum * 128;
}

void packed_fill(struct packed *p, size_t from, const float *w, size_t n)
{
    BUG_ON(from + n > p->out);
    for (size_t i = 0; i < n; i++) {
        size_t o = from + i;
        const float *row = w + i * p->in;
        size_t at = o / PANEL * p->in * PANEL + o % PANEL;

        if (p->bytes)
            fill_bytes(p, o, row);
        for (size_t k = 0; !p->bytes && k < p->in; k++)
            p->w[at + k * PANEL] = row[k];
    }
}

void packed_row(const struct packed *p, size_t row, float *w)
{
    size_t at = row / PANEL * p->panels.in * PANEL;

    BUG_ON(row >= p->out);
    for (size_t k = 0; k < p->in; k++)
        w[k] = p->bytes ? p->scale[row] * p->w8[at + k / 4 * 4 * PANEL +
                                                row % PANEL * 4 + k % 4]
                        : p->w[at + k * PANEL + row % PANEL];
}

/* --- products ----------------------------------------------------------- */

size_t packed_scratch(const struct packed *p, size_t n)
{
    return p->bytes ? n * (sizeof(float) + p->panels.in) : 0;
}

struct kernel_rows packed_input(const struct packed *p, const float *x,
                                size_t x_stride, size_t n, void *scratch)
{
    struct kernel_rows r = {.x = x, .x_stride = x_stride, .x_step = 1, .n = n};
    size_t in4 = p->panels.in;
    float *scale = scratch;
    int8_t *q = (int8_t *)(scale + (p->bytes ? n : 0));

    if (!p->bytes)
        return r;
    for (size_t i = 0; i < n; i++) {
        scale[i] = to_bytes(q + i * in4, x + i * x_stride, p->in);
        memset(q + i * in4 + p->in, 0, in4 - p->in);
    }
    r.q = q;
    r.q_scale = scale;
    return r;
}

void packed_product(const struct packed *p, const struct kernel_rows *rows,
                    size_t first, size_t n_panels)
{
    const struct kernels *k = packed_kernels();
    struct kernel_panels some = p->panels;

    BUG_ON(first + n_panels > some.n_panels);
    some.n_panels = n_panels;
    if (p->bytes) {
        some.w8 += first * some.in * PANEL;
        some.w8_scale += first * PANEL;
        some.w8_sums += first * PANEL;
        k->s8(rows, &some);
    } else {
        some.w += first * some.w_stride;
        k->f32(rows, &some);
    }
}
