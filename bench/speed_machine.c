/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peak is measured by independent chains of fused multiply-adds. A core
 * that starts two in a cycle, each of which takes four cycles, needs eight
 * chains; twelve leave room. A processor without fused multiply-adds
 * multiplies and adds.
 *
 * Memory bandwidth is McCalpin's triad, which counts two reads and a write.
 */
#include "config.h"

#include "bench/speed.h"

#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

#include "base/xalloc.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/workers.h"

#define GEMM_SIDE 1024
#define TRIAD_FLOATS ((size_t)8 << 20) /* in each of three blocks a thread */
#define FMA_ROUNDS 500000L
#define CHAINS 12

/* --- multiply-adds ------------------------------------------------------ */

#define EACH_CHAIN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) \
    X(11)

#if defined(__x86_64__)

__attribute__((target("avx512f"))) static float fma_avx512(long n)
{
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
#define BEGIN(i) __m512 x##i = _mm512_set1_ps(0.1f * i);
#define ROUND(i) x##i = _mm512_fmadd_ps(x##i, a, b);
#define SUM(i) sum = _mm512_add_ps(sum, x##i);
    __m512 sum = _mm512_setzero_ps();

    EACH_CHAIN(BEGIN)
    for (long k = 0; k < n; k++) {
        EACH_CHAIN(ROUND)
    }
    EACH_CHAIN(SUM)
    return _mm512_cvtss_f32(sum);
#undef BEGIN
#undef ROUND
#undef SUM
}

__attribute__((target("avx2,fma"))) static float fma_avx2(long n)
{
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
#define BEGIN(i) __m256 x##i = _mm256_set1_ps(0.1f * i);
#define ROUND(i) x##i = _mm256_fmadd_ps(x##i, a, b);
#define SUM(i) sum = _mm256_add_ps(sum, x##i);
    __m256 sum = _mm256_setzero_ps();

    EACH_CHAIN(BEGIN)
    for (long k = 0; k < n; k++) {
        EACH_CHAIN(ROUND)
    }
    EACH_CHAIN(SUM)
    return _mm256_cvtss_f32(sum);
#undef BEGIN
#undef ROUND
#undef SUM
}

#endif

/* Vectors of four floats, for every other processor. The operations are fused
 * where the compiler may assume such instructions, as on 64-bit ARM. */
typedef float four __attribute__((vector_size(16)));

static inline four multiply_add(four x, four a, four b)
{
#ifdef __FP_FAST_FMAF
    for (int i = 0; i < 4; i++)
        x[i] = __builtin_fmaf(x[i], a[i], b[i]);
    return x;
#else
    return x * a + b;
#endif
}

static float fma_plain(long n)
{
    const four a = {0.999f, 0.999f, 0.999f, 0.999f};
    const four b = {0.001f, 0.001f, 0.001f, 0.001f};
#define BEGIN(i) four x##i = a * (0.1f * i);
#define ROUND(i) x##i = multiply_add(x##i, a, b);
#define SUM(i) sum += x##i;
    four sum = {0};

    EACH_CHAIN(BEGIN)
    for (long k = 0; k < n; k++) {
        EACH_CHAIN(ROUND)
    }
    EACH_CHAIN(SUM)
    return sum[0] + sum[1] + sum[2] + sum[3];
#undef BEGIN
#undef ROUND
#undef SUM
}

struct fma_kind {
    const char *name;
    float (*run)(long n);
    int lanes;
};

static struct fma_kind choose_fma(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return (struct fma_kind){"AVX-512", fma_avx512, 16};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (struct fma_kind){"AVX2", fma_avx2, 8};
#endif
    return (struct fma_kind){"128 bits", fma_plain, 4};
}

/* --- measuring on one or all threads ------------------------------------ */

struct limits {
    struct workers *workers;
    size_t n_pieces; /* one for each thread */
    workers_fn *fn;
    struct fma_kind fma;
    float **blocks; /* [threads][3], of TRIAD_FLOATS */
    _Atomic float sink; /* keeps the compiler from removing the work */
};

static void fma_piece(void *arg, size_t piece)
{
    struct limits *l = arg;

    (void)piece;
    l->sink = l->fma.run(FMA_ROUNDS);
}

/* The three blocks hold the three matrices. */
static void gemm_piece(void *arg, size_t piece)
{
    struct limits *l = arg;
    float **b = l->blocks + 3 * piece;
    size_t n = GEMM_SIDE;

#ifdef HAVE_OPENBLAS
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n,
                (int)n, 1.0f, b[1], (int)n, b[2], (int)n, 0.0f, b[0], (int)n);
#else
    ops_ref.linear(b[0], b[1], b[2], n, n, n, 0);
#endif
}

HOT static void triad(float *restrict a, const float *restrict b,
                      const float *restrict c, float s, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        a[i] = b[i] + s * c[i];
}

static void triad_piece(void *arg, size_t piece)
{
    struct limits *l = arg;
    float **b = l->blocks + 3 * piece;

    triad(b[0], b[1], b[2], 0.5f, TRIAD_FLOATS);
}

/* Each thread fills its own blocks, so that their memory is near it. */
static void fill_piece(void *arg, size_t piece)
{
    struct limits *l = arg;

    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < TRIAD_FLOATS; i++)
            l->blocks[3 * piece + k][i] = 1e-3f * (float)(i % 1000);
}

static int run_pieces(void *arg, struct err *err)
{
    struct limits *l = arg;

    (void)err;
    workers_run(l->workers, l->fn, l, l->n_pieces);
    return 0;
}

/* work: of one piece. */
static int measure(const struct speed_options *o, struct limits *l,
                   workers_fn *fn, double work, struct speed_pair *pair,
                   struct err *err)
{
    int rc;

    l->fn = fn;
    l->n_pieces = 1;
    rc = speed_windows(o, run_pieces, l, work, &pair->one, err);
    l->n_pieces = (size_t)o->threads;
    if (rc == 0)
        rc = speed_windows(o, run_pieces, l, work * o->threads, &pair->all,
                           err);
    return rc;
}

/* --- the public function ------------------------------------------------ */

static float *block(void)
{
    float *p = aligned_alloc(64, TRIAD_FLOATS * sizeof *p);

    BUG_ON(p == NULL);
    return p;
}

int speed_machine(const struct speed_options *o, struct speed_machine *m,
                  struct err *err)
{
    size_t n_blocks = 3 * (size_t)o->threads;
    double side = GEMM_SIDE;
    struct limits l = {.fma = choose_fma()};
    int rc = workers_create(o->threads, &l.workers, err);

    if (rc)
        return rc;
    ops_init();
    m->fma_kind = l.fma.name;
    l.blocks = xcalloc(n_blocks, sizeof *l.blocks);
    for (size_t i = 0; i < n_blocks; i++)
        l.blocks[i] = block();
    workers_run(l.workers, fill_piece, &l, (size_t)o->threads);
    rc = measure(o, &l, fma_piece,
                 2e-9 * CHAINS * l.fma.lanes * (double)FMA_ROUNDS, &m->fma,
                 err);
    if (rc == 0)
        rc = measure(o, &l, gemm_piece, 2e-9 * side * side * side, &m->sgemm,
                     err);
    if (rc == 0)
        rc = measure(o, &l, triad_piece,
                     3e-9 * (double)(TRIAD_FLOATS * sizeof(float)), &m->triad,
                     err);
    workers_free(l.workers);
    for (size_t i = 0; i < n_blocks; i++)
        free(l.blocks[i]);
    free(l.blocks);
    return rc;
}
