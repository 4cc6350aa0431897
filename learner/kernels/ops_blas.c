/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of the layers, on OpenBLAS.
 *
 * Each product is one sgemm, with two exceptions. Products of attention are
 * too small for sgemm (attention.c). Where mneme's kernels are faster
 * (products.h), sgemm computes only the columns that they leave.
 *
 * The other loops are written for the vectoriser: `omp simd` allows the
 * reordering of the sum that it names, and nothing else. HOT functions are
 * compiled for several processors; the loader chooses. A loop in a HOT
 * function calls only helpers that are always inlined, since a call would
 * prevent vectorisation.
 *
 * The order of a sum depends on the shapes and the processor, never on the
 * values, the thread or the alignment.
 */
#include "config.h"

#include "learner/kernels/ops.h"

#include <cblas.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "learner/kernels/attention.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/packed.h"
#include "learner/kernels/products.h"
#include "learner/kernels/vexp.h"

/* --- products ----------------------------------------------------------- */

static void product(float *c, size_t ldc, const float *a, size_t lda,
                    CBLAS_TRANSPOSE ta, const float *b, size_t ldb,
                    CBLAS_TRANSPOSE tb, size_t m, size_t n, size_t k,
                    float alpha, float beta)
{
    cblas_sgemm(CblasRowMajor, ta, tb, (blasint)m, (blasint)n, (blasint)k,
                alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

/* Multiplies a single row: sgemm would copy the whole matrix first. */
static void row_product(float *y, const float *x, const float *w,
                        CBLAS_TRANSPOSE t, size_t rows, size_t columns,
                        size_t ldw, float alpha, float beta)
{
    cblas_sgemv(CblasRowMajor, t, (blasint)rows, (blasint)columns, alpha, w,
                (blasint)ldw, x, 1, beta, y, 1);
}

static void linear(float *y, const float *x, const float *w, size_t n,
                   size_t in, size_t out, int accumulate)
{
    float beta = accumulate ? 1.0f : 0.0f;
    size_t done = products_run(&(struct product){.y = y,
                                                 .y_stride = out,
                                                 .x = x,
                                                 .x_stride = in,
                                                 .x_step = 1,
                                                 .b = w,
                                                 .b_stride = in,
                                                 .b_is_transposed = true,
                                                 .n = n,
                                                 .inner = in,
                                                 .columns = out,
                                                 .accumulate = accumulate});

    if (n == 1)
        row_product(y, x, w, CblasNoTrans, out, in, in, 1.0f, beta);
    else if (done < out)
        product(y + done, out, x, in, CblasNoTrans, w + done * in, in,
                CblasTrans, n, out - done, in, 1.0f, beta);
}

static void linear_dx(float *dx, const float *dy, const float *w, size_t n,
                      size_t in, size_t out, int accumulate)
{
    size_t done = products_run(&(struct product){.y = dx,
                                                 .y_stride = in,
                                                 .x = dy,
                                                 .x_stride = out,
                                                 .x_step = 1,
                                                 .b = w,
                                                 .b_stride = in,
                                                 .n = n,
                                                 .inner = out,
                                                 .columns = in,
                                                 .accumulate = accumulate});

    if (done < in)
        product(dx + done, in, dy, out, CblasNoTrans, w + done, in,
                CblasNoTrans, n, in - done, out, 1.0f,
                accumulate ? 1.0f : 0.0f);
}

static void linear_dw(float *dw, const float *dy, const float *x, size_t n,
                      size_t in, size_t out, int accumulate)
{
    size_t done = products_run(&(struct product){.y = dw,
                                                 .y_stride = in,
                                                 .x = dy,
                                                 .x_stride = 1,
                                                 .x_step = out,
                                                 .b = x,
                                                 .b_stride = in,
                                                 .n = out,
                                                 .inner = n,
                                                 .columns = in,
                                                 .accumulate = accumulate});

    if (done < in)
        product(dw + done, in, dy, out, CblasTrans, x + done, in, CblasNoTrans,
                out, in - done, n, 1.0f, accumulate ? 1.0f : 0.0f);
}

/* --- norms and positions ------------------------------------------------ */

HOT static void rmsnorm(float *y, float *rstd, const float *x, const float *w,
                        size_t n, size_t c, float eps)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = x + i * c;
        float *out = y + i * c;
        float sum = 0.0f, r;

#pragma omp simd reduction(+ : sum)
        for (size_t j = 0; j < c; j++)
            sum += row[j] * row[j];
        r = 1.0f / sqrtf(sum / (float)c + eps);
        rstd[i] = r;
#pragma omp simd
        for (size_t j = 0; j < c; j++)
            out[j] = row[j] * r * w[j];
    }
}

HOT static void rmsnorm_backward(float *dx, float *dw, const float *dy,
                                 const float *x, const float *w,
                                 const float *rstd, size_t n, size_t c)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = x + i * c, *up = dy + i * c;
        float *down = dx + i * c;
        float r = rstd[i], s = 0.0f;

#pragma omp simd reduction(+ : s)
        for (size_t j = 0; j < c; j++)
            s += up[j] * w[j] * row[j];
        s *= r * r * r / (float)c;
#pragma omp simd
        for (size_t j = 0; j < c; j++) {
            down[j] += r * w[j] * up[j] - row[j] * s;
            dw[j] += up[j] * row[j] * r;
        }
    }
}

HOT static void rope(float *x, size_t stride, const float *table,
                     const uint32_t *pos, size_t n, size_t heads,
                     size_t head_dim, int direction)
{
    size_t half = head_dim / 2;
    float sign = (float)direction;

    for (size_t i = 0; i < n; i++) {
        const float *turn = table + pos[i] * head_dim;

        for (size_t h = 0; h < heads; h++) {
            float *a = x + i * stride + h * head_dim, *b = a + half;

#pragma omp simd
            for (size_t j = 0; j < half; j++) {
                float c = turn[2 * j], s = turn[2 * j + 1] * sign;
                float a0 = a[j], b0 = b[j];

                a[j] = a0 * c - b0 * s;
                b[j] = b0 * c + a0 * s;
            }
        }
    }
}

/* --- feed-forward and loss ---------------------------------------------- */

HOT static void swiglu(float *y, const float *gu, size_t n, size_t f)
{
    for (size_t i = 0; i < n; i++) {
        const float *g = gu + 2 * f * i, *u = g + f;
        float *out = y + i * f;

#pragma omp simd
        for (size_t j = 0; j < f; j++)
            out[j] = g[j] / (1.0f + vexp(-g[j])) * u[j];
    }
}

HOT static void swiglu_backward(float *dgu, const float *dy, const float *gu,
                                size_t n, size_t f)
{
    for (size_t i = 0; i < n; i++) {
        const float *g = gu + 2 * f * i, *u = g + f, *d = dy + i * f;
        float *dg = dgu + 2 * f * i, *du = dg + f;

#pragma omp simd
        for (size_t j = 0; j < f; j++) {
            float s = 1.0f / (1.0f + vexp(-g[j]));

            dg[j] = d[j] * u[j] * s * (1.0f + g[j] * (1.0f - s));
            du[j] = d[j] * g[j] * s;
        }
    }
}

/* Computes softmax of one row of n scores in place. Returns log-sum-exp. */
HOT static float softmax_row(float *row, size_t n)
{
    float max = -INFINITY, sum = 0.0f, inverse;

#pragma omp simd reduction(max : max)
    for (size_t j = 0; j < n; j++)
        max = row[j] > max ? row[j] : max;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) {
        row[j] = vexp(row[j] - max);
        sum += row[j];
    }
    inverse = 1.0f / sum;
#pragma omp simd
    for (size_t j = 0; j < n; j++)
        row[j] *= inverse;
    return max + logf(sum);
}

static void cross_entropy(float *loss, float *logits, const token_id *target,
                          size_t n, size_t v)
{
    for (size_t i = 0; i < n; i++) {
        float *row = logits + i * v, wanted = row[target[i]];

        loss[i] = softmax_row(row, v) - wanted;
    }
}

HOT static void cross_entropy_backward(float *probs, const token_id *target,
                                       const float *weight, float scale,
                                       size_t n, size_t v)
{
    for (size_t i = 0; i < n; i++) {
        float *row = probs + i * v, factor = scale * weight[i];

        row[target[i]] -= 1.0f;
#pragma omp simd
        for (size_t j = 0; j < v; j++)
            row[j] *= factor;
    }
}

const struct ops ops_blas = {
    .name = "blas",
    .linear = linear,
    .linear_dx = linear_dx,
    .linear_dw = linear_dw,
    .rmsnorm = rmsnorm,
    .rmsnorm_backward = rmsnorm_backward,
    .rope = rope,
    .attention = attention_forward,
    .attention_backward = attention_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .cross_entropy = cross_entropy,
    .cross_entropy_backward = cross_entropy_backward,
};

const struct ops *ops_fast = &ops_blas;

/* --- threads and buffers of OpenBLAS ------------------------------------ */

#define ONE_THREAD "OPENBLAS_NUM_THREADS"

void ops_restart(char **argv)
{
    const char *threads = getenv(ONE_THREAD);
    char path[PATH_MAX];
    ssize_t n;

    if (threads && strcmp(threads, "1") == 0)
        return;
    n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0 || setenv(ONE_THREAD, "1", 1) != 0)
        return;
    path[n] = '\0';
    execv(path, argv); /* returns only when it fails */
}

void ops_init(void)
{
    openblas_set_num_threads(1);
}

#ifdef HAVE_BLAS_MEMORY_ALLOC

/* OpenBLAS exports these, but no header of it declares them. */
void *blas_memory_alloc(int kind);
void blas_memory_free(void *buffer);

/* Its table has at least 50 entries, however it was built. */
#define MOST_BUFFERS 48

/* Buffers that are freed stay mapped for later products. */
static void map_buffers(int n)
{
    void *buffers[MOST_BUFFERS];

    for (int i = 0; i < n; i++)
        buffers[i] = blas_memory_alloc(0);
    for (int i = 0; i < n; i++)
        blas_memory_free(buffers[i]);
}

/* Runs in a child: maps the buffers and answers. If OpenBLAS spins, the limit
 * of one second of processor time ends the child, so the answer does not depend
 * on how busy the machine is. */
static _Noreturn void try_to_map(int n, int answer)
{
    const struct rlimit none = {0, 0}, seconds = {1, 2};

    /* If the parent is killed now, a lock on an inherited descriptor must not
     * outlive it. */
    close_range(STDERR_FILENO + 1, (unsigned)answer - 1, 0);
    close_range((unsigned)answer + 1, ~0U, 0);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_CPU, &seconds);
    map_buffers(n);
    _exit(write(answer, "", 1) == 1 ? 0 : 1);
}

int ops_reserve(int n_threads, struct err *err)
{
    int n = n_threads < MOST_BUFFERS ? n_threads : MOST_BUFFERS;
    int answer[2], errnum;
    ssize_t mapped;
    pid_t child;

    if (pipe(answer) != 0)
        return err_set_errno(err, ERR_IO, errno, "cannot make a pipe");
    child = fork();
    errnum = errno;
    if (child == 0)
        try_to_map(n, answer[1]);
    close(answer[1]);
    if (child < 0) {
        close(answer[0]);
        return err_set_errno(err, ERR_IO, errnum, "cannot start a process");
    }
    do
        mapped = read(answer[0], (char[1]){0}, 1);
    while (mapped < 0 && errno == EINTR);
    close(answer[0]);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    if (mapped != 1)
        return err_set(err, ERR_NOMEM,
                       "no room for OpenBLAS's buffers, %d of about 128 MiB: "
                       "raise the limit on address space (ulimit -v), or set "
                       "a lower learner.threads",
                       n);
    map_buffers(n);
    return 0;
}

#else

int ops_reserve(int n_threads, struct err *err)
{
    (void)n_threads;
    (void)err;
    return 0;
}

#endif

static char kernels[256];

static void describe(void)
{
    snprintf(kernels, sizeof kernels, "%s: %s; %s", openblas_get_corename(),
             openblas_get_config(), packed_kernels()->name);
}

const char *ops_kernels(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, describe);
    return kernels;
}
