/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products with packed weights, on every set of kernels that this processor
 * supports, at odd shapes. Float is compared with the reference loops, int8
 * with sums of integers. Rows must not depend on each other. Inputs that are
 * not finite give NaN.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/packed.h"

static const struct {
    size_t n, in, out;
} shapes[] = {
    {1, 1, 1},    {1, 5, 17},   {2, 12, 30},  {3, 31, 16},  {5, 33, 70},
    {6, 20, 129}, {7, 64, 64},  {13, 7, 65},  {48, 66, 33}, {1, 130, 200},
    {4, 3, 48},   {11, 256, 1}, {1, 688, 80},
};

#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* One product: x, w, and y in whole panels. */
struct problem {
    size_t n, in, out, columns;
    float *x, *w, *y;
    struct packed p;
    void *block, *scratch;
};

static float *noise(uint64_t seed, size_t n)
{
    float *x = xfloats(n);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2.0 * rng_unit(seed, RNG_INIT, 0, i) - 1.0);
    return x;
}

static struct problem problem(size_t i, bool bytes)
{
    struct problem q = {
        .n = shapes[i].n, .in = shapes[i].in, .out = shapes[i].out};

    q.columns = packed_columns(q.out);
    q.x = noise(2 * i, q.n * q.in);
    q.w = noise(2 * i + 1, q.out * q.in);
    q.y = xfloats(q.n * q.columns);
    q.block = xalloc_aligned(packed_lay_out(&q.p, q.in, q.out, bytes, NULL));
    packed_lay_out(&q.p, q.in, q.out, bytes, q.block);
    packed_fill(&q.p, 0, q.w, q.out / 2);
    packed_fill(&q.p, q.out / 2, q.w + q.out / 2 * q.in, q.out - q.out / 2);
    q.scratch = xmalloc(packed_scratch(&q.p, q.n));
    return q;
}

static void release(struct problem *q)
{
    free(q->x);
    free(q->w);
    free(q->y);
    free(q->block);
    free(q->scratch);
}

/* Computes rows [from, from + n), with the panels in two parts. */
static void run(struct problem *q, size_t from, size_t n, bool accumulate)
{
    size_t n_panels = q->p.panels.n_panels, half = n_panels / 2;
    struct kernel_rows r =
        packed_input(&q->p, q->x + from * q->in, q->in, n, q->scratch);

    r.y = q->y + from * q->columns;
    r.y_stride = q->columns;
    r.accumulate = accumulate;
    packed_product(&q->p, &r, 0, half);
    r.y += half * PANEL;
    packed_product(&q->p, &r, half, n_panels - half);
}

static void each_set(void (*check)(size_t shape))
{
    const struct kernels *k;

    for (size_t i = 0; (k = kernels_get(i)) != NULL; i++) {
        packed_use(k);
        for (size_t s = 0; s < N_SHAPES; s++)
            check(s);
    }
    packed_use(NULL);
    assert_ptr_equal(packed_kernels(), kernels_best());
}

/* --- in float ----------------------------------------------------------- */

static void expect(const struct problem *q, const float *want,
                   double tolerance)
{
    for (size_t i = 0; i < q->n; i++)
        for (size_t o = 0; o < q->columns; o++) {
            double got = q->y[i * q->columns + o];
            double wanted = o < q->out ? want[i * q->out + o] : 0.0;

            if (!(fabs(got - wanted) <= tolerance * (1.0 + fabs(wanted))))
                fail_msg("%s, %zu x %zu x %zu: [%zu][%zu] is %.9g, not %.9g",
                         packed_kernels()->name, q->n, q->in, q->out, i, o,
                         got, wanted);
        }
}

static void check_float(size_t shape)
{
    struct problem q = problem(shape, false);
    float *want = xfloats(q.n * q.out);

    ops_ref.linear(want, q.x, q.w, q.n, q.in, q.out, 0);
    run(&q, 0, q.n, false);
    expect(&q, want, 2e-6 * (1.0 + sqrt((double)q.in)));
    run(&q, 0, q.n, true);
    for (size_t i = 0; i < q.n * q.out; i++)
        want[i] *= 2.0f;
    expect(&q, want, 2e-6 * (1.0 + sqrt((double)q.in)));
    free(want);
    release(&q);
}

static void test_float(void **state)
{
    (void)state;
    each_set(check_float);
}

/* Reading x down the columns of its transpose gives the same bytes. */
static void check_transposed(size_t shape)
{
    struct problem q = problem(shape, false);
    size_t n_floats = q.n * q.columns;
    float *across = xfloats(q.n * q.in);
    float *want;
    struct kernel_rows r;

    run(&q, 0, q.n, false);
    want = xmemdup(q.y, n_floats * sizeof *want);
    memset(q.y, 0xff, n_floats * sizeof *q.y);
    for (size_t i = 0; i < q.n * q.in; i++)
        across[i % q.in * q.n + i / q.in] = q.x[i];
    r = packed_input(&q.p, across, 1, q.n, q.scratch);
    r.x_step = q.n;
    r.y = q.y;
    r.y_stride = q.columns;
    packed_product(&q.p, &r, 0, q.p.panels.n_panels);
    assert_memory_equal(q.y, want, n_floats * sizeof *want);
    free(across);
    free(want);
    release(&q);
}

static void test_transposed(void **state)
{
    (void)state;
    each_set(check_transposed);
}

/* --- in bytes ----------------------------------------------------------- */

/* Computes the formula of packed.h. */
static float rounded(int *q, const float *x, size_t n)
{
    float most = 0.0f;

    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    for (size_t i = 0; i < n; i++)
        q[i] = (int)lrintf(x[i] * (127.0f / most));
    return most / 127.0f;
}

static void by_hand(const struct problem *q, float *y)
{
    int *a = xcalloc(q->in, sizeof *a), *b = xcalloc(q->in, sizeof *b);

    for (size_t i = 0; i < q->n; i++)
        for (size_t o = 0; o < q->out; o++) {
            float s = rounded(a, q->x + i * q->in, q->in);
            float t = rounded(b, q->w + o * q->in, q->in);
            int sum = 0;

            for (size_t k = 0; k < q->in; k++)
                sum += a[k] * b[k];
            y[i * q->out + o] = (float)sum * (s * t);
        }
    free(a);
    free(b);
}

/* int8 gives the same bytes on every processor, close to the float product. */
static void check_bytes(size_t shape)
{
    struct problem q = problem(shape, true);
    float *want = xfloats(q.n * q.out);

    by_hand(&q, want);
    run(&q, 0, q.n, false);
    expect(&q, want, 0.0);
    run(&q, 0, q.n, true);
    for (size_t i = 0; i < q.n * q.out; i++)
        want[i] += want[i];
    expect(&q, want, 0.0);
    ops_ref.linear(want, q.x, q.w, q.n, q.in, q.out, 0);
    run(&q, 0, q.n, false);
    expect(&q, want, 0.01 * sqrt((double)q.in));
    free(want);
    release(&q);
}

static void test_bytes(void **state)
{
    (void)state;
    each_set(check_bytes);
}

/* The largest weights and inputs of both signs: no sum may overflow. */
static void test_extremes(void **state)
{
    const struct kernels *k;

    (void)state;
    for (size_t i = 0; (k = kernels_get(i)) != NULL; i++) {
        struct problem q = problem(N_SHAPES - 1, true);
        float *want = xfloats(q.n * q.out);

        for (size_t j = 0; j < q.in; j++)
            q.x[j] = j % 3 ? -1.0f : 1.0f;
        for (size_t j = 0; j < q.in * q.out; j++)
            q.w[j] = j / q.in % 2 ? q.x[j % q.in] : 1.0f;
        packed_fill(&q.p, 0, q.w, q.out);
        packed_use(k);
        by_hand(&q, want);
        run(&q, 0, q.n, false);
        expect(&q, want, 0.0);
        assert_true(fabsf(q.y[1] - (float)q.in) < 1e-3f * (float)q.in);
        free(want);
        release(&q);
    }
    packed_use(NULL);
}

/* --- rows --------------------------------------------------------------- */

static void check_alone(size_t shape)
{
    for (int bytes = 0; bytes < 2; bytes++) {
        struct problem q = problem(shape, bytes);
        size_t n_bytes = q.n * q.columns * sizeof(float);
        float *together;

        run(&q, 0, q.n, false);
        together = xmemdup(q.y, n_bytes);
        memset(q.y, 0xff, n_bytes);
        for (size_t i = 0, n = 1; i < q.n; i += n, n++)
            run(&q, i, n < q.n - i ? n : q.n - i, false);
        assert_memory_equal(q.y, together, n_bytes);
        free(together);
        release(&q);
    }
}

/* The result for a row does not depend on how many rows go together. */
static void test_alone(void **state)
{
    (void)state;
    each_set(check_alone);
}

static void test_row_again(void **state)
{
    (void)state;
    for (int bytes = 0; bytes < 2; bytes++) {
        struct problem q = problem(4, bytes);
        float *w = xfloats(q.in);

        for (size_t o = 0; o < q.out; o++) {
            packed_row(&q.p, o, w);
            for (size_t k = 0; k < q.in; k++)
                assert_true(fabsf(w[k] - q.w[o * q.in + k]) <=
                            (bytes ? 0.5f / 127.0f + 1e-6f : 0.0f));
        }
        free(w);
        release(&q);
    }
}

/* NaN in the last of three rows does not change the others. */
static void check_not_finite(float what)
{
    for (int bytes = 0; bytes < 2; bytes++) {
        struct problem q = problem(3, bytes);

        q.x[2 * q.in + 4] = what;
        run(&q, 0, q.n, false);
        for (size_t o = 0; o < q.out; o++) {
            assert_true(isfinite(q.y[o]));
            assert_true(isfinite(q.y[q.columns + o]));
            assert_false(isfinite(q.y[2 * q.columns + o]));
        }
        release(&q);
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    check_not_finite(NAN);
    check_not_finite(INFINITY);
    check_not_finite(-INFINITY);
}

/* A matrix of zeros causes no division by zero. */
static void test_zeros(void **state)
{
    struct problem q = problem(2, true);

    (void)state;
    memset(q.x, 0, q.n * q.in * sizeof *q.x);
    run(&q, 0, q.n, false);
    for (size_t i = 0; i < q.n * q.columns; i++)
        assert_true(q.y[i] == 0.0f);
    memset(q.w, 0, q.out * q.in * sizeof *q.w);
    q.x[0] = 1.0f;
    packed_fill(&q.p, 0, q.w, q.out);
    run(&q, 0, q.n, false);
    for (size_t i = 0; i < q.n * q.columns; i++)
        assert_true(q.y[i] == 0.0f);
    release(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float),      cmocka_unit_test(test_transposed),
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_alone),      cmocka_unit_test(test_row_again),
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_zeros),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
