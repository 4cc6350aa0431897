/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - the layers' arithmetic, forward and backward.
 *
 * Two implementations of one set of signatures: ops_ref.c in plain loops,
 * written to be read, and ops_blas.c, with OpenBLAS for the products and fused,
 * vectorised loops for the rest. Tests hold the second against the first at
 * odd shapes. ops_fast is what the model runs on: ops_blas, or ops_ref when
 * built --without-blas.
 *
 * Every matrix is row-major and dense. dX is the gradient of X; the way back
 * of products overwrites it unless told to accumulate, that of norms adds. Each
 * function is deterministic: the summing order depends on the shapes only.
 *
 * Threads: any; OpenBLAS is set to one thread once, at ops_init
 */
#ifndef MNEME_LEARNER_KERNELS_OPS_H
#define MNEME_LEARNER_KERNELS_OPS_H

#include <stddef.h>

#include "base/err.h"
#include <stdint.h>

struct ops {
    const char *name;

    /* y[N][O] = x[N][I] w[O][I]^T;  accumulate: y += */
    void (*linear)(float *y, const float *x, const float *w, size_t n,
                   size_t in, size_t out, int accumulate);
    /* dx[N][I] = dy[N][O] w[O][I];  accumulate: dx += */
    void (*linear_dx)(float *dx, const float *dy, const float *w, size_t n,
                      size_t in, size_t out, int accumulate);
    /* dw[O][I] = dy[N][O]^T x[N][I];  accumulate: dw += */
    void (*linear_dw)(float *dw, const float *dy, const float *x, size_t n,
                      size_t in, size_t out, int accumulate);

    /* y = x / rms(x) * w by rows of c; rstd[N] = 1 / rms is kept for the way
     * back. */
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w,
                    size_t n, size_t c, float eps);
    /* dx += ..., dw += ... */
    void (*rmsnorm_back)(float *dx, float *dw, const float *dy,
                         const float *x, const float *w, const float *rstd,
                         size_t n, size_t c);

    /* Rotates heads of head_dim in rows of `stride` floats in place, halves
     * layout; row i has position pos[i]; direction -1 is the way back. */
    void (*rope)(float *x, size_t stride, const float *table,
                 const uint32_t *pos, size_t n, size_t heads,
                 size_t head_dim, int direction);

    /*
     * Causal attention of t tokens, which follow `past` others of the same
     * segment: query i sees keys 0 to past + i.
     *   q, out   t rows of q_stride and o_stride floats
     *   k, v     past + t rows of kv_stride floats; head h reads key/value
     *            head h / (heads / kv_heads)
     *   lse      float[heads][t] out: log-sum-exp of each row of scores
     *   scratch  float[ops_attention_scratch(past + t, head_dim)]
     */
    void (*attention)(float *out, size_t o_stride, float *lse, const float *q,
                      size_t q_stride, const float *k, const float *v,
                      size_t kv_stride, size_t t, size_t past, size_t heads,
                      size_t kv_heads, size_t head_dim, float *scratch);
    /* The way back, with past 0: the scores are computed again from lse. dq,
     * dk, dv have the strides of q, k, v and are overwritten. */
    void (*attention_back)(float *dq, float *dk, float *dv,
                           const float *dout, const float *out,
                           size_t o_stride, const float *lse, const float *q,
                           size_t q_stride, const float *k, const float *v,
                           size_t kv_stride, size_t t, size_t heads,
                           size_t kv_heads, size_t head_dim, float *scratch);

    /* y[N][F] = silu(g) * u, where gu[N][2F] holds g then u in each row */
    void (*swiglu)(float *y, const float *gu, size_t n, size_t f);
    /* dgu[N][2F] from dy and gu; may not alias */
    void (*swiglu_back)(float *dgu, const float *dy, const float *gu,
                        size_t n, size_t f);

    /* loss[i] = logsumexp(logits[i]) - logits[i][target[i]]; logits become
     * probabilities in place. */
    void (*cross_entropy)(float *loss, float *logits, const uint16_t *target,
                          size_t n, size_t v);
    /* probabilities become gradients: scale * weight[i] * (p - onehot). */
    void (*cross_entropy_back)(float *probs, const uint16_t *target,
                               const float *weight, float scale, size_t n,
                               size_t v);
};

extern const struct ops ops_ref;
extern const struct ops ops_blas; /* absent --without-blas */
extern const struct ops *ops_fast; /* set only by `mneme bench`, which times
                                     them, while nothing runs on them */

/* Floats of scratch that attention over t tokens, there and back, needs. */
size_t ops_attention_scratch(size_t t, size_t head_dim);

/*
 * Call first in main, before any thread: starts the program again with
 * OPENBLAS_NUM_THREADS=1, unless that is set. When OpenBLAS is loaded, it
 * starts a thread for each core, which mneme never uses. Each maps a buffer
 * (128 MiB in Debian). If that fails, the thread spins, and exit() waits for
 * it. Only the environment prevents these threads. Returns when there is
 * nothing to do, or when the program cannot be started again.
 */
void ops_restart(char **argv);

/* Call once before anything else: OpenBLAS to one thread. */
void ops_init(void);

/*
 * Maps the buffers that n_threads threads need when they multiply at the same
 * time. OpenBLAS would map each at its first product, and spin for ever if that
 * fails. Untouched buffers take address space, but no memory. ERR_NOMEM,
 * ERR_IO.
 * Threads: one, before any other has been started; it forks.
 */
int ops_reserve(int n_threads, struct err *err);

/* What the products run on: OpenBLAS's core and version and the kernels of
 * attention, or "reference loops". */
const char *ops_kernels(void);

#endif
