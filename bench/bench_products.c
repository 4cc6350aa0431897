/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_products - measures matrix products on each set of kernels.
 *
 * The first table is inference: all products of a model of 6 layers of 256
 * (feed-forward 688), for 1, 2, 6 and 48 rows, in fp32 and int8, on each set of
 * kernels of this processor and on OpenBLAS. The second table is training: the
 * three products of a linear layer, at layers of the comparison shapes, on
 * OpenBLAS and on the fastest kernels, whose time includes packing
 * (products.h). Figures are medians of 15, by processor time, on one thread.
 *
 *     bench/bench_products
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/xalloc.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/packed.h"

#define LAYERS 6
#define ROUNDS 15
#define MOST 1376

static const size_t dims[][2] = {{256, 768}, {256, 256}, {256, 1376},
                                 {688, 256}};
static const size_t rows[] = {1, 2, 6, 48};
static struct packed packed[LAYERS][4];
static float *x, *y, *plain;
static void *scratch;

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t place(bool bytes, char *block)
{
    size_t used = 0;

    for (size_t i = 0; i < LAYERS * 4; i++)
        used +=
            packed_lay_out(&packed[i / 4][i % 4], dims[i % 4][0],
                           dims[i % 4][1], bytes, block ? block + used : NULL);
    return used;
}

static void pass_packed(size_t n)
{
    for (size_t i = 0; i < LAYERS * 4; i++) {
        struct packed *p = &packed[i / 4][i % 4];
        struct kernel_rows r = packed_input(p, x, p->in, n, scratch);

        r.y = y;
        r.y_stride = MOST;
        packed_product(p, &r, 0, p->panels.n_panels);
    }
}

static void pass_plain(size_t n)
{
    float *w = plain;

    for (size_t i = 0; i < LAYERS * 4; i++) {
        size_t in = dims[i % 4][0], out = dims[i % 4][1];

        ops_fast->linear(y, x, w, n, in, out, 0);
        w += in * out;
    }
}

static int by_value(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;

    return (p > q) - (p < q);
}

static void measure(const char *name, const char *type, void (*pass)(size_t))
{
    double took[ROUNDS], flop = 0.0;

    for (size_t i = 0; i < 4; i++)
        flop += 2.0 * LAYERS * (double)(dims[i][0] * dims[i][1]);
    printf("%-12s %-5s", name, type);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int r = 0; r < ROUNDS; r++) {
            double from = cpu_seconds();

            pass(rows[i]);
            took[r] = cpu_seconds() - from;
        }
        qsort(took, ROUNDS, sizeof *took, by_value);
        printf(" %8.1f", flop * (double)rows[i] / took[ROUNDS / 2] * 1e-9);
        fflush(stdout);
    }
    printf("\n");
}

/* --- training ----------------------------------------------------------- */

static const size_t layers[][3] = {{512, 128, 384},   {512, 352, 128},
                                   {512, 256, 1376},  {512, 688, 256},
                                   {1024, 384, 1152}, {1024, 384, 4096},
                                   {256, 768, 4096},  {256, 768, 50256}};

struct layer {
    size_t n, in, out;
    float *x, *w, *y, *dw, *dx;
};

static void forward(const struct layer *l)
{
    ops_blas.linear(l->y, l->x, l->w, l->n, l->in, l->out, 0);
}

static void linear_dx(const struct layer *l)
{
    ops_blas.linear_dx(l->dx, l->y, l->w, l->n, l->in, l->out, 0);
}

static void linear_dw(const struct layer *l)
{
    ops_blas.linear_dw(l->dw, l->y, l->x, l->n, l->in, l->out, 0);
}

static double gflops(const struct layer *l,
                     void (*run)(const struct layer *l))
{
    double took[ROUNDS];

    for (int r = 0; r < ROUNDS; r++) {
        double from = cpu_seconds();

        run(l);
        took[r] = cpu_seconds() - from;
    }
    qsort(took, ROUNDS, sizeof *took, by_value);
    return 2e-9 * (double)(l->n * l->in * l->out) / took[ROUNDS / 2];
}

static float *make_floats(size_t n)
{
    float *p = xfloats(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i % 97) * 0.01f - 0.5f;
    return p;
}

static void measure_layer(const size_t *shape)
{
    size_t n = shape[0], in = shape[1], out = shape[2];
    struct layer l = {n,
                      in,
                      out,
                      make_floats(n * in),
                      make_floats(in * out),
                      make_floats(n * out),
                      make_floats(in * out),
                      make_floats(n * in)};
    void (*const products[])(const struct layer *) = {forward, linear_dx,
                                                      linear_dw};

    printf("%5zu x %4zu -> %5zu", n, in, out);
    for (size_t i = 0; i < 3; i++) {
        packed_use(kernels_get(0)); /* OpenBLAS computes the products */
        printf(" %8.1f", gflops(&l, products[i]));
        packed_use(NULL);
        printf(" %6.1f", gflops(&l, products[i]));
        fflush(stdout);
    }
    printf("\n");
    free(l.x);
    free(l.w);
    free(l.y);
    free(l.dw);
    free(l.dx);
}

int main(void)
{
    const struct kernels *k;

    ops_init();
    packed_use(kernels_get(0)); /* OpenBLAS computes the products */
    x = xfloats(48 * 688);
    y = xfloats(48 * MOST);
    scratch = xmalloc(48 * (688 + sizeof(float)));
    for (size_t i = 0; i < 48 * 688; i++)
        x[i] = (float)(i % 97) * 0.01f - 0.5f;
    plain = xalloc_large(place(false, NULL));
    printf("%-12s %-5s %8s %8s %8s %8s  rows, GFLOP/s\n", "kernels", "", "1",
           "2", "6", "48");
    measure(ops_fast->name, "float", pass_plain);
    for (int bytes = 0; bytes < 2; bytes++) {
        void *block = xalloc_large(place(bytes, NULL));

        place(bytes, block);
        for (size_t i = 0; (k = kernels_get(i)) != NULL; i++) {
            packed_use(k);
            measure(k->name, bytes ? "int8" : "float", pass_packed);
        }
        free(block);
    }
    packed_use(NULL);
    printf("\n%-20s %15s %15s %15s  OpenBLAS, %s: GFLOP/s\n", "training", "y",
           "dx", "dw", packed_kernels()->name);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        measure_layer(layers[i]);
    return 0;
}
