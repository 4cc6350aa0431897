/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of the layers, written to be read: one loop for each sum, sums
 * in double. Tests compare ops_blas.c with it. It also runs when mneme is built
 * --without-blas, for example under ThreadSanitizer, which cannot see into
 * OpenBLAS.
 */
#include "config.h"

#include "learner/kernels/ops.h"

#include <math.h>
#include <string.h>

static void linear(float *y, const float *x, const float *w, size_t n,
                   size_t in, size_t out, int accumulate)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t o = 0; o < out; o++) {
            double sum = accumulate ? y[i * out + o] : 0.0;

            for (size_t j = 0; j < in; j++)
                sum += (double)x[i * in + j] * w[o * in + j];
            y[i * out + o] = (float)sum;
        }
    }
}

static void linear_dx(float *dx, const float *dy, const float *w, size_t n,
                      size_t in, size_t out, int accumulate)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < in; j++) {
            double sum = accumulate ? dx[i * in + j] : 0.0;

            for (size_t o = 0; o < out; o++)
                sum += (double)dy[i * out + o] * w[o * in + j];
            dx[i * in + j] = (float)sum;
        }
    }
}

static void linear_dw(float *dw, const float *dy, const float *x, size_t n,
                      size_t in, size_t out, int accumulate)
{
    for (size_t o = 0; o < out; o++) {
        for (size_t j = 0; j < in; j++) {
            double sum = accumulate ? dw[o * in + j] : 0.0;

            for (size_t i = 0; i < n; i++)
                sum += (double)dy[i * out + o] * x[i * in + j];
            dw[o * in + j] = (float)sum;
        }
    }
}

static void rmsnorm(float *y, float *rstd, const float *x, const float *w,
                    size_t n, size_t c, float eps)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = x + i * c;
        double sum = 0.0;

        for (size_t j = 0; j < c; j++)
            sum += (double)row[j] * row[j];
        rstd[i] = (float)(1.0 / sqrt(sum / (double)c + eps));
        for (size_t j = 0; j < c; j++)
            y[i * c + j] = row[j] * rstd[i] * w[j];
    }
}

/* With r = rstd and s = sum_k dy_k w_k x_k:
 * dx_j = r w_j dy_j - x_j r^3 s / c. */
static void rmsnorm_backward(float *dx, float *dw, const float *dy,
                             const float *x, const float *w, const float *rstd,
                             size_t n, size_t c)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i * c;
        double r = rstd[i], s = 0.0;

        for (size_t j = 0; j < c; j++)
            s += (double)dy[at + j] * w[j] * x[at + j];
        s *= r * r * r / (double)c;
        for (size_t j = 0; j < c; j++) {
            dx[at + j] += (float)(r * w[j] * dy[at + j] - x[at + j] * s);
            dw[j] += (float)(dy[at + j] * x[at + j] * r);
        }
    }
}

static void rope(float *x, size_t stride, const float *table,
                 const uint32_t *pos, size_t n, size_t heads, size_t head_dim,
                 int direction)
{
    size_t half = head_dim / 2;

    for (size_t i = 0; i < n; i++) {
        const float *turn = table + pos[i] * head_dim;

        for (size_t h = 0; h < heads; h++) {
            float *a = x + i * stride + h * head_dim, *b = a + half;

            for (size_t j = 0; j < half; j++) {
                float c = turn[2 * j], s = turn[2 * j + 1] * (float)direction;
                float a0 = a[j], b0 = b[j];

                a[j] = a0 * c - b0 * s;
                b[j] = b0 * c + a0 * s;
            }
        }
    }
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0.0;

    for (size_t j = 0; j < n; j++)
        sum += (double)a[j] * b[j];
    return sum;
}

/* Computes attention of one query over n_keys keys; scratch: float[n_keys].
 * Returns log-sum-exp. */
static float attend(float *out, const float *q, const float *k, const float *v,
                    size_t kv_stride, size_t n_keys, size_t head_dim,
                    float *scratch)
{
    double scale = 1.0 / sqrt((double)head_dim), max = -INFINITY, sum = 0.0;

    for (size_t j = 0; j < n_keys; j++) {
        scratch[j] = (float)(scale * dot(q, k + j * kv_stride, head_dim));
        if (!(scratch[j] <= max))
            max = scratch[j];
    }
    for (size_t j = 0; j < n_keys; j++)
        sum += exp(scratch[j] - max);
    for (size_t d = 0; d < head_dim; d++) {
        double o = 0.0;

        for (size_t j = 0; j < n_keys; j++)
            o += exp(scratch[j] - max) * v[j * kv_stride + d];
        out[d] = (float)(o / sum);
    }
    return (float)(max + log(sum));
}

static void attention(float *out, size_t o_stride, float *lse, const float *q,
                      size_t q_stride, const float *k, const float *v,
                      size_t kv_stride, size_t t, size_t past, size_t heads,
                      size_t kv_heads, size_t head_dim, float *scratch)
{
    for (size_t h = 0; h < heads; h++) {
        size_t kv = h / (heads / kv_heads) * head_dim;

        for (size_t i = 0; i < t; i++)
            lse[h * t + i] =
                attend(out + i * o_stride + h * head_dim,
                       q + i * q_stride + h * head_dim, k + kv, v + kv,
                       kv_stride, past + i + 1, head_dim, scratch);
    }
}

/*
 * Computes the gradient of one query, with p = exp(scale q k^T - lse), o = p v:
 *     dv += p dout;  dp = dout v^T;  ds = p (dp - dout o)
 *     dq = scale ds k;  dk += scale ds q
 */
static void attend_backward(float *dq, float *dk, float *dv, const float *dout,
                            const float *out, float lse, const float *q,
                            const float *k, const float *v, size_t kv_stride,
                            size_t n_keys, size_t head_dim)
{
    double scale = 1.0 / sqrt((double)head_dim);
    double od = dot(dout, out, head_dim);

    for (size_t j = 0; j < n_keys; j++) {
        size_t row = j * kv_stride;
        double p = exp(scale * dot(q, k + row, head_dim) - lse);
        double ds = p * (dot(dout, v + row, head_dim) - od) * scale;

        for (size_t d = 0; d < head_dim; d++) {
            dv[row + d] += (float)(p * dout[d]);
            dk[row + d] += (float)(ds * q[d]);
            dq[d] += (float)(ds * k[row + d]);
        }
    }
}

static void clear_rows(float *x, size_t stride, size_t n, size_t width)
{
    for (size_t i = 0; i < n; i++)
        memset(x + i * stride, 0, width * sizeof *x);
}

static void attention_backward(float *dq, float *dk, float *dv,
                               const float *dout, const float *out,
                               size_t o_stride, const float *lse,
                               const float *q, size_t q_stride, const float *k,
                               const float *v, size_t kv_stride, size_t t,
                               size_t heads, size_t kv_heads, size_t head_dim,
                               float *scratch)
{
    (void)scratch;
    clear_rows(dq, q_stride, t, heads * head_dim);
    clear_rows(dk, kv_stride, t, kv_heads * head_dim);
    clear_rows(dv, kv_stride, t, kv_heads * head_dim);
    for (size_t h = 0; h < heads; h++) {
        size_t kv = h / (heads / kv_heads) * head_dim;

        for (size_t i = 0; i < t; i++) {
            size_t o = i * o_stride + h * head_dim;
            size_t at = i * q_stride + h * head_dim;

            attend_backward(dq + at, dk + kv, dv + kv, dout + o, out + o,
                            lse[h * t + i], q + at, k + kv, v + kv, kv_stride,
                            i + 1, head_dim);
        }
    }
}

static void swiglu(float *y, const float *gu, size_t n, size_t f)
{
    for (size_t i = 0; i < n; i++) {
        const float *g = gu + 2 * f * i, *u = g + f;

        for (size_t j = 0; j < f; j++)
            y[i * f + j] = (float)(g[j] / (1.0 + exp(-(double)g[j])) * u[j]);
    }
}

static void swiglu_backward(float *dgu, const float *dy, const float *gu,
                            size_t n, size_t f)
{
    for (size_t i = 0; i < n; i++) {
        const float *g = gu + 2 * f * i, *u = g + f;
        float *dg = dgu + 2 * f * i, *du = dg + f;

        for (size_t j = 0; j < f; j++) {
            double s = 1.0 / (1.0 + exp(-(double)g[j]));
            double d = dy[i * f + j];

            dg[j] = (float)(d * u[j] * s * (1.0 + g[j] * (1.0 - s)));
            du[j] = (float)(d * g[j] * s);
        }
    }
}

static void cross_entropy(float *loss, float *logits, const token_id *target,
                          size_t n, size_t v)
{
    for (size_t i = 0; i < n; i++) {
        float *row = logits + i * v;
        double max = -INFINITY, sum = 0.0;

        for (size_t j = 0; j < v; j++)
            if (!(row[j] <= max))
                max = row[j];
        for (size_t j = 0; j < v; j++)
            sum += exp(row[j] - max);
        loss[i] = (float)(max + log(sum) - row[target[i]]);
        for (size_t j = 0; j < v; j++)
            row[j] = (float)(exp(row[j] - max) / sum);
    }
}

static void cross_entropy_backward(float *probs, const token_id *target,
                                   const float *weight, float scale, size_t n,
                                   size_t v)
{
    for (size_t i = 0; i < n; i++) {
        float *row = probs + i * v;

        row[target[i]] -= 1.0f;
        for (size_t j = 0; j < v; j++)
            row[j] *= scale * weight[i];
    }
}

const struct ops ops_ref = {
    .name = "ref",
    .linear = linear,
    .linear_dx = linear_dx,
    .linear_dw = linear_dw,
    .rmsnorm = rmsnorm,
    .rmsnorm_backward = rmsnorm_backward,
    .rope = rope,
    .attention = attention,
    .attention_backward = attention_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .cross_entropy = cross_entropy,
    .cross_entropy_backward = cross_entropy_backward,
};

#ifndef HAVE_OPENBLAS

const struct ops *ops_fast = &ops_ref;

void ops_restart(char **argv)
{
    (void)argv;
}

void ops_init(void)
{
}

int ops_reserve(int n_threads, struct err *err)
{
    (void)n_threads;
    (void)err;
    return 0;
}

const char *ops_kernels(void)
{
    return "reference loops";
}

#endif
