/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of the layers: gradients of the reference loops against
 * central differences, ops_blas against the reference loops at odd shapes.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/packed.h"
#include "learner/kernels/vexp.h"
#include "tests/util/near_util.h"

#define MAX_BLOCKS 64

/* Blocks of the current test, freed together. */
static float *blocks[MAX_BLOCKS];
static size_t n_blocks;

static float *zeros(size_t n)
{
    assert_true(n_blocks < MAX_BLOCKS);
    return blocks[n_blocks++] = xfloats(n);
}

/* Fills a block with numbers in [-1, 1), different for each block. */
static float *noise(size_t n)
{
    uint64_t seed = n_blocks;
    float *x = zeros(n);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2.0 * rng_unit(seed, RNG_INIT, 0, i) - 1.0);
    return x;
}

static int release_blocks(void **state)
{
    (void)state;
    while (n_blocks)
        free(blocks[--n_blocks]);
    return 0;
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* --- reference against central differences ------------------------------ */

/*
 * The function under test as a scalar: f(arg) = <weights, output>.
 * check_gradient moves each x[i] by h both ways. It compares the slope with
 * dx[i], the gradient computed from dy = weights.
 */
struct probe {
    double (*f)(void *arg);
    void *arg;
};

static void check_gradient(const char *what, struct probe p, float *x,
                           const float *dx, size_t n)
{
    const float h = 1.0f / 256.0f;

    for (size_t i = 0; i < n; i++) {
        float was = x[i];
        double up, down, slope;

        x[i] = was + h;
        up = p.f(p.arg);
        x[i] = was - h;
        down = p.f(p.arg);
        x[i] = was;
        slope = (up - down) / (2.0 * h);
        if (!(fabs(slope - dx[i]) <= 3e-4 * (1.0 + fabs(slope))))
            fail_msg("%s[%zu]: gradient %.7g, slope %.7g", what, i,
                     (double)dx[i], slope);
    }
}

struct linear_case {
    size_t n, in, out;
    float *x, *w, *y;
    const float *dy;
};

static double linear_f(void *arg)
{
    struct linear_case *c = arg;

    ops_ref.linear(c->y, c->x, c->w, c->n, c->in, c->out, 0);
    return dot(c->y, c->dy, c->n * c->out);
}

static void ref_linear_gradients(void **state)
{
    struct linear_case c = {3,         5,         7,        noise(15),
                            noise(35), zeros(21), noise(21)};
    struct probe p = {linear_f, &c};
    float *dx = zeros(15), *dw = zeros(35);

    (void)state;
    ops_ref.linear_dx(dx, c.dy, c.w, 3, 5, 7, 0);
    ops_ref.linear_dw(dw, c.dy, c.x, 3, 5, 7, 0);
    check_gradient("x", p, c.x, dx, 15);
    check_gradient("w", p, c.w, dw, 35);
}

struct norm_case {
    size_t n, c;
    float *x, *w, *y, *rstd;
    const float *dy;
};

static double norm_f(void *arg)
{
    struct norm_case *c = arg;

    ops_ref.rmsnorm(c->y, c->rstd, c->x, c->w, c->n, c->c, 1e-5f);
    return dot(c->y, c->dy, c->n * c->c);
}

static void ref_rmsnorm_gradients(void **state)
{
    struct norm_case c = {4,         9,        noise(36), noise(9),
                          zeros(36), zeros(4), noise(36)};
    struct probe p = {norm_f, &c};
    float *dx = zeros(36), *dw = zeros(9);

    (void)state;
    norm_f(&c);
    ops_ref.rmsnorm_backward(dx, dw, c.dy, c.x, c.w, c.rstd, 4, 9);
    check_gradient("x", p, c.x, dx, 36);
    check_gradient("w", p, c.w, dw, 9);
}

struct attention_case {
    size_t t, past, heads, kv_heads, hd, q_stride, kv_stride, o_stride;
    float *q, *k, *v, *out, *lse, *scratch;
    const float *dout;
};

/* Strides are wider than the rows, so that a wrong stride shows. */
static struct attention_case attention_case(size_t t, size_t past, size_t heads,
                                            size_t kv_heads, size_t hd)
{
    size_t q = heads * hd + 3, kv = kv_heads * hd + 5, o = heads * hd + 1;
    struct attention_case c = {.t = t,
                               .past = past,
                               .heads = heads,
                               .kv_heads = kv_heads,
                               .hd = hd,
                               .q_stride = q,
                               .kv_stride = kv,
                               .o_stride = o,
                               .q = noise(t * q),
                               .k = noise((past + t) * kv),
                               .v = noise((past + t) * kv),
                               .out = zeros(t * o),
                               .lse = zeros(heads * t),
                               .scratch =
                                   zeros(ops_attention_scratch(past + t, hd)),
                               .dout = noise(t * o)};

    return c;
}

static void attend(const struct ops *ops, struct attention_case *c)
{
    ops->attention(c->out, c->o_stride, c->lse, c->q, c->q_stride, c->k, c->v,
                   c->kv_stride, c->t, c->past, c->heads, c->kv_heads, c->hd,
                   c->scratch);
}

static double attention_f(void *arg)
{
    struct attention_case *c = arg;

    attend(&ops_ref, c);
    return dot(c->out, c->dout, c->t * c->o_stride);
}

static void attend_backward(const struct ops *ops, struct attention_case *c,
                            float *dq, float *dk, float *dv)
{
    ops->attention_backward(dq, dk, dv, c->dout, c->out, c->o_stride, c->lse,
                            c->q, c->q_stride, c->k, c->v, c->kv_stride, c->t,
                            c->heads, c->kv_heads, c->hd, c->scratch);
}

static void ref_attention_gradients(void **state)
{
    struct attention_case c = attention_case(5, 0, 4, 2, 6);
    struct probe p = {attention_f, &c};
    float *dq = zeros(5 * c.q_stride), *dk = zeros(5 * c.kv_stride);
    float *dv = zeros(5 * c.kv_stride);

    (void)state;
    attention_f(&c);
    attend_backward(&ops_ref, &c, dq, dk, dv);
    check_gradient("q", p, c.q, dq, 5 * c.q_stride);
    check_gradient("k", p, c.k, dk, 5 * c.kv_stride);
    check_gradient("v", p, c.v, dv, 5 * c.kv_stride);
}

struct swiglu_case {
    size_t n, f;
    float *gu, *y;
    const float *dy;
};

static double swiglu_f(void *arg)
{
    struct swiglu_case *c = arg;

    ops_ref.swiglu(c->y, c->gu, c->n, c->f);
    return dot(c->y, c->dy, c->n * c->f);
}

static void ref_swiglu_gradients(void **state)
{
    struct swiglu_case c = {3, 7, noise(42), zeros(21), noise(21)};
    struct probe p = {swiglu_f, &c};
    float *dgu = zeros(42);

    (void)state;
    ops_ref.swiglu_backward(dgu, c.dy, c.gu, 3, 7);
    check_gradient("gu", p, c.gu, dgu, 42);
}

static const token_id targets[] = {0, 10, 4, 7, 7};

struct loss_case {
    size_t n, v;
    float *logits, *probs, *loss;
    const float *weight;
};

static double loss_f(void *arg)
{
    struct loss_case *c = arg;

    memcpy(c->probs, c->logits, c->n * c->v * sizeof *c->probs);
    ops_ref.cross_entropy(c->loss, c->probs, targets, c->n, c->v);
    return 0.7 * dot(c->loss, c->weight, c->n);
}

static void ref_cross_entropy_gradients(void **state)
{
    struct loss_case c = {5, 11, noise(55), zeros(55), zeros(5), noise(5)};
    struct probe p = {loss_f, &c};
    float *dx = zeros(55);

    (void)state;
    ops_ref.cross_entropy(c.loss, memcpy(dx, c.logits, 55 * sizeof *dx),
                          targets, 5, 11);
    ops_ref.cross_entropy_backward(dx, targets, c.weight, 0.7f, 5, 11);
    check_gradient("logits", p, c.logits, dx, 55);
}

/* Rotation keeps lengths; direction -1 undoes it; it turns halves, not
 * pairs. */
static void ref_rope_turns(void **state)
{
    const float table[] = {1, 0, 1, 0, 0, 1, 0.6f, 0.8f};
    const uint32_t pos[] = {1, 0};
    float x[] = {1, 2, 3, 4, 5, 6, 7, 8}, was[8];
    const float want[] = {-3, 2 * 0.6f - 4 * 0.8f, 1, 4 * 0.6f + 2 * 0.8f};

    (void)state;
    memcpy(was, x, sizeof x);
    ops_ref.rope(x, 4, table, pos, 2, 1, 4, 1);
    util_expect_near("turned", x, want, 4, 1e-6);
    util_expect_near("position 0", x + 4, was + 4, 4, 0.0);
    ops_ref.rope(x, 4, table, pos, 2, 1, 4, -1);
    util_expect_near("back", x, was, 8, 1e-6);
}

/* --- BLAS against the reference ----------------------------------------- */

#ifdef HAVE_OPENBLAS

static float *copy_of(const float *x, size_t n)
{
    float *y = zeros(n);

    memcpy(y, x, n * sizeof *y);
    return y;
}

static const size_t counts[] = {1, 2, 7, 65, 129};

/* The error of a sum of n random products in single precision. */
static double rounding(size_t n)
{
    return 1e-5 * fmax(1.0, sqrt((double)n) / 4.0);
}

static void check_linear(size_t n, size_t in, size_t out)
{
    float *x = noise(n * in), *w = noise(out * in), *dy = noise(n * out);
    float *y0 = noise(n * out), *y1 = copy_of(y0, n * out);
    float *dx0 = noise(n * in), *dx1 = copy_of(dx0, n * in);
    float *dw0 = noise(out * in), *dw1 = copy_of(dw0, out * in);

    for (int accumulate = 0; accumulate < 2; accumulate++) {
        ops_ref.linear(y0, x, w, n, in, out, accumulate);
        ops_blas.linear(y1, x, w, n, in, out, accumulate);
        util_expect_near("y", y1, y0, n * out, rounding(in));
        ops_ref.linear_dx(dx0, dy, w, n, in, out, accumulate);
        ops_blas.linear_dx(dx1, dy, w, n, in, out, accumulate);
        util_expect_near("dx", dx1, dx0, n * in, rounding(out));
        ops_ref.linear_dw(dw0, dy, x, n, in, out, accumulate);
        ops_blas.linear_dw(dw1, dy, x, n, in, out, accumulate);
        util_expect_near("dw", dw1, dw0, out * in, rounding(n));
    }
    release_blocks(NULL);
}

/* On every set of kernels: fewer and more rows than the layout needs, whole and
 * partial panels, and inner dimensions and rows beyond a block. */
static void blas_linear(void **state)
{
    static const size_t shapes[][2] = {
        {37, 21}, {64, 48}, {530, 17}, {20, 800}};
    const struct kernels *k;

    (void)state;
    for (size_t i = 0; (k = kernels_get(i / 2)) != NULL; i++) {
        struct kernels set = *k;

        set.beats_blas = i % 2; /* whether it is faster on this processor or
                                   not */
        packed_use(&set);
        for (size_t s = 0; s < 5; s++)
            for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++)
                check_linear(counts[s], shapes[j][0], shapes[j][1]);
        check_linear(1100, 33, 40);
    }
    packed_use(NULL);
}

static void blas_rmsnorm(void **state)
{
    static const size_t widths[] = {1, 6, 37, 320};

    (void)state;
    for (size_t s = 0; s < 4; s++) {
        size_t n = 7, c = widths[s];
        float *x = noise(n * c), *w = noise(c), *dy = noise(n * c);
        float *y0 = zeros(n * c), *y1 = zeros(n * c);
        float *r0 = zeros(n), *r1 = zeros(n);
        float *dx0 = noise(n * c), *dx1 = copy_of(dx0, n * c);
        float *dw0 = noise(c), *dw1 = copy_of(dw0, c);

        ops_ref.rmsnorm(y0, r0, x, w, n, c, 1e-5f);
        ops_blas.rmsnorm(y1, r1, x, w, n, c, 1e-5f);
        util_expect_near("y", y1, y0, n * c, 2e-6);
        util_expect_near("rstd", r1, r0, n, 2e-6);
        ops_ref.rmsnorm_backward(dx0, dw0, dy, x, w, r0, n, c);
        ops_blas.rmsnorm_backward(dx1, dw1, dy, x, w, r0, n, c);
        util_expect_near("dx", dx1, dx0, n * c, 1e-5);
        util_expect_near("dw", dw1, dw0, c, 1e-5);
    }
}

static void blas_rope(void **state)
{
    static const size_t dims[] = {2, 6, 38};
    const uint32_t pos[] = {0, 3, 1, 4, 2};

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        size_t hd = dims[s], stride = 3 * hd + 7;
        float *table = noise(5 * hd), *x0 = noise(5 * stride);
        float *x1 = copy_of(x0, 5 * stride);

        ops_ref.rope(x0, stride, table, pos, 5, 3, hd, 1);
        ops_blas.rope(x1, stride, table, pos, 5, 3, hd, 1);
        util_expect_near("there", x1, x0, 5 * stride, 1e-6);
        ops_ref.rope(x0, stride, table, pos, 5, 3, hd, -1);
        ops_blas.rope(x1, stride, table, pos, 5, 3, hd, -1);
        util_expect_near("back", x1, x0, 5 * stride, 1e-6);
    }
}

/* Runs both implementations on one case; with past 0 also the gradients. */
static void compare_attention(size_t t, size_t past, size_t heads,
                              size_t kv_heads, size_t hd)
{
    struct attention_case a = attention_case(t, past, heads, kv_heads, hd);
    struct attention_case b = a;
    size_t n_q = t * a.q_stride, n_kv = t * a.kv_stride;
    float *dq0 = zeros(n_q), *dk0 = zeros(n_kv), *dv0 = zeros(n_kv);
    float *dq1 = zeros(n_q), *dk1 = zeros(n_kv), *dv1 = zeros(n_kv);

    b.out = zeros(t * b.o_stride);
    b.lse = zeros(heads * t);
    /* The scratch may hold anything, even NaN. */
    memset(b.scratch, 0xff,
           ops_attention_scratch(past + t, hd) * sizeof *b.scratch);
    attend(&ops_ref, &a);
    memset(b.scratch, 0xff,
           ops_attention_scratch(past + t, hd) * sizeof *b.scratch);
    attend(&ops_blas, &b);
    util_expect_near("out", b.out, a.out, t * a.o_stride, 1e-5);
    util_expect_near("lse", b.lse, a.lse, heads * t, 1e-5);
    if (past)
        return;
    attend_backward(&ops_ref, &a, dq0, dk0, dv0);
    attend_backward(&ops_blas, &b, dq1, dk1, dv1);
    util_expect_near("dq", dq1, dq0, n_q, 2e-5);
    util_expect_near("dk", dk1, dk0, n_kv, 2e-5);
    util_expect_near("dv", dv1, dv0, n_kv, 2e-5);
}

/* Sizes around the blocks and panels of attention.c: 12 and 48 queries, 16
 * keys, 16 floats of a head. Tokens, past, heads, key/value heads, head
 * size. */
static const size_t attention_cases[][5] = {
    {1, 0, 1, 1, 2},    {1, 0, 3, 1, 6},    {2, 0, 4, 2, 10},
    {12, 0, 2, 1, 16},  {13, 0, 2, 2, 15},  {16, 0, 1, 1, 17},
    {17, 0, 2, 1, 8},   {48, 0, 2, 2, 24},  {49, 0, 4, 2, 40},
    {61, 0, 2, 1, 64},  {64, 0, 2, 2, 8},   {65, 0, 3, 1, 6},
    {96, 0, 2, 1, 72},  {129, 0, 4, 2, 18}, {129, 0, 1, 1, 1},
    {100, 0, 2, 2, 16}, {150, 0, 4, 1, 32}, {259, 0, 2, 1, 64},
    {1, 15, 2, 1, 16},  {1, 128, 3, 1, 6},  {7, 60, 4, 2, 10},
    {30, 17, 4, 2, 32}, {66, 63, 2, 1, 34},
};

/* Runs on every set of kernels that this processor supports. */
static void each_attention(void (*check)(const size_t *c))
{
    const struct kernels *k;

    for (size_t i = 0; (k = kernels_get(i)) != NULL; i++) {
        packed_use(k);
        for (size_t j = 0; j < sizeof attention_cases / sizeof *attention_cases;
             j++) {
            check(attention_cases[j]);
            release_blocks(NULL);
        }
    }
    packed_use(NULL);
}

static void check_attention(const size_t *c)
{
    compare_attention(c[0], c[1], c[2], c[3], c[4]);
}

static void blas_attention(void **state)
{
    (void)state;
    each_attention(check_attention);
}

/* One query at a time gives the same bytes as all at once. */
static void check_attention_alone(const size_t *c)
{
    struct attention_case all = attention_case(c[0], c[1], c[2], c[3], c[4]);
    struct attention_case one = all;
    float *lse = zeros(all.heads);

    attend(&ops_blas, &all);
    one.out = zeros(all.o_stride);
    one.lse = lse;
    one.t = 1;
    for (size_t i = 0; i < all.t; i++) {
        one.q = all.q + i * all.q_stride;
        one.past = all.past + i;
        attend(&ops_blas, &one);
        assert_memory_equal(one.out, all.out + i * all.o_stride,
                            all.heads * all.hd * sizeof *one.out);
        for (size_t h = 0; h < all.heads; h++)
            assert_true(lse[h] == all.lse[h * all.t + i]);
    }
}

static void attention_alone(void **state)
{
    (void)state;
    each_attention(check_attention_alone);
}

static void blas_swiglu(void **state)
{
    const size_t n = 5, f = 37;
    float *gu = noise(n * 2 * f), *dy = noise(n * f);
    float *y0 = zeros(n * f), *y1 = zeros(n * f);
    float *d0 = zeros(n * 2 * f), *d1 = zeros(n * 2 * f);

    (void)state;
    for (size_t i = 0; i < n * 2 * f; i++)
        gu[i] *= 20.0f;
    gu[0] = -200.0f; /* where exp(-g) would overflow */
    gu[1] = 200.0f;
    ops_ref.swiglu(y0, gu, n, f);
    ops_blas.swiglu(y1, gu, n, f);
    util_expect_near("y", y1, y0, n * f, 1e-6);
    ops_ref.swiglu_backward(d0, dy, gu, n, f);
    ops_blas.swiglu_backward(d1, dy, gu, n, f);
    util_expect_near("dgu", d1, d0, n * 2 * f, 2e-6);
}

static void blas_cross_entropy(void **state)
{
    static const size_t vocabs[] = {11, 37, 257, 4099};

    (void)state;
    for (size_t s = 0; s < 4; s++) {
        size_t n = 5, v = vocabs[s];
        float *x0 = noise(n * v), *x1, *weight = noise(n);
        float l0[5], l1[5];

        for (size_t i = 0; i < n * v; i++)
            x0[i] *= 30.0f;
        x1 = copy_of(x0, n * v);
        ops_ref.cross_entropy(l0, x0, targets, n, v);
        ops_blas.cross_entropy(l1, x1, targets, n, v);
        util_expect_near("loss", l1, l0, n, 2e-6);
        util_expect_near("probabilities", x1, x0, n * v, 1e-6);
        ops_ref.cross_entropy_backward(x0, targets, weight, 0.3f, n, v);
        ops_blas.cross_entropy_backward(x1, targets, weight, 0.3f, n, v);
        util_expect_near("gradient", x1, x0, n * v, 1e-6);
    }
}

/* NaN must stay NaN: the learner checks the loss for it. */
static void not_a_number_shows(void **state)
{
    float x[37] = {0}, y[37], gu[6] = {NAN, 1, 1, 1, 1, 1}, loss;
    const token_id target = 3;

    (void)state;
    x[20] = NAN;
    memcpy(y, x, sizeof y);
    ops_blas.cross_entropy(&loss, x, &target, 1, 37);
    assert_true(isnan(loss));
    ops_ref.cross_entropy(&loss, y, &target, 1, 37);
    assert_true(isnan(loss));
    ops_blas.swiglu(y, gu, 1, 3);
    assert_true(isnan(y[0]) && !isnan(y[1]));
}

/* The result does not depend on the alignment of the block. */
static void alignment_changes_nothing(void **state)
{
    const size_t n = 9, v = 261;
    float *a = noise(n * v + 16), *b = zeros(n * v + 16), la[9], lb[9];
    const token_id t[] = {0, 1, 2, 3, 4, 5, 6, 7, 260};

    (void)state;
    memcpy(b + 3, a, n * v * sizeof *a);
    ops_blas.cross_entropy(la, a, t, n, v);
    ops_blas.cross_entropy(lb, b + 3, t, n, v);
    assert_memory_equal(la, lb, sizeof la);
    assert_memory_equal(a, b + 3, n * v * sizeof *a);
}

static void kernels_are_named(void **state)
{
    (void)state;
    assert_non_null(strstr(ops_kernels(), "OpenBLAS"));
    assert_ptr_equal(ops_fast, &ops_blas);
}

#endif

/* Checks the error bound that vexp.h states, and its limits. */
static void vexp_is_close(void **state)
{
    double worst = 0.0;

    (void)state;
    for (int i = -8733000; i <= 8837000; i += 7) {
        float x = (float)(i * 1e-5);
        double want = exp((double)x), off = fabs(vexp(x) - want) / want;

        if (x >= VEXP_LEAST && x <= VEXP_MOST && off > worst)
            worst = off;
    }
    if (!(worst < 2e-7))
        fail_msg("relative error %.3g", worst);
    assert_true(vexp(0.0f) == 1.0f);
    assert_true(vexp(-88.0f) == 0.0f && vexp(-INFINITY) == 0.0f);
    assert_true(isfinite(vexp(1000.0f)) && vexp(INFINITY) > 2e38f);
    assert_true(isnan(vexp(NAN)));
}

static void vlog_is_close(void **state)
{
    (void)state;
    for (double x = 1.2e-38; x < 3e38; x *= 1.0007) {
        double want = log((double)(float)x);
        double off = fabs((double)vlog((float)x) - want);

        assert_true(off < 2e-7 * fmax(1.0, fabs(want)));
    }
    for (float x = 0.5f; x < 2.0f; x += 1e-4f)
        assert_true(fabs((double)vlog(x) - log((double)x)) < 2e-7);
    assert_true(vlog(1.0f) == 0.0f);
}

#if defined(HAVE_BLAS_MEMORY_ALLOC) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TRIES_NO_ROOM

static size_t mapped_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Runs ops_reserve() in a process that may map only so much more. Returns 0 or
 * its error. */
static int reserve_within(size_t more_bytes, int n_threads)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        struct rlimit limit = {mapped_bytes() + more_bytes, RLIM_INFINITY};
        struct err err = ERR_INIT;

        if (setrlimit(RLIMIT_AS, &limit) != 0)
            _exit(100);
        _exit(-ops_reserve(n_threads, &err));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

/* OpenBLAS alone would spin for ever if its buffers cannot be mapped. */
static void buffers_are_mapped_or_refused(void **state)
{
    (void)state;
    assert_int_equal(reserve_within((size_t)4 << 30, 3), 0);
    assert_int_equal(reserve_within((size_t)1 << 20, 3), ERR_NOMEM);
    assert_int_equal(reserve_within((size_t)1 << 30, 48), ERR_NOMEM);
}
#endif

#define T(f) cmocka_unit_test_teardown(f, release_blocks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(ref_linear_gradients),
        T(ref_rmsnorm_gradients),
        T(ref_attention_gradients),
        T(ref_swiglu_gradients),
        T(ref_cross_entropy_gradients),
        T(ref_rope_turns),
#ifdef HAVE_OPENBLAS
        T(blas_linear),
        T(blas_rmsnorm),
        T(blas_rope),
        T(blas_attention),
        T(attention_alone),
        T(blas_swiglu),
        T(blas_cross_entropy),
        T(not_a_number_shows),
        T(alignment_changes_nothing),
        T(kernels_are_named),
#ifdef TRIES_NO_ROOM
        T(buffers_are_mapped_or_refused),
#endif
#endif
        T(vexp_is_close),
        T(vlog_is_close),
    };

    ops_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
