/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - the arithmetic of the layers, forward and backward.
 *
 * There are two implementations. ops_ref.c has plain loops, written to be
 * read. ops_blas.c uses OpenBLAS for products and vectorised loops for the
 * rest. Tests compare the second with the first at odd shapes. The model runs
 * on ops_fast: ops_blas, or ops_ref when built --without-blas.
 *
 * Every matrix is row-major and dense. dX is the gradient of X. The backward
 * functions of products overwrite dX unless told to accumulate; those of norms
 * add to it. Each function is deterministic: the shapes alone decide the order
 * of sums.
 *
 * Threads: any; ops_init sets OpenBLAS to one thread
 */
#ifndef MNEME_LEARNER_KERNELS_OPS_H
#define MNEME_LEARNER_KERNELS_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/segment.h"

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

    /* y = x / rms(x) * w, by rows of c. rstd[N] = 1 / rms, for the backward
     * pass. */
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w,
                    size_t n, size_t c, float eps);
    /* dx += ..., dw += ... */
    void (*rmsnorm_backward)(float *dx, float *dw, const float *dy,
                             const float *x, const float *w, const float *rstd,
                             size_t n, size_t c);

    /* Rotates heads of head_dim in place, in rows of `stride` floats (halves
     * layout). Row i has position pos[i]. direction is 1, or -1 for the
     * gradient. */
    void (*rope)(float *x, size_t stride, const float *table,
                 const uint32_t *pos, size_t n, size_t heads,
                 size_t head_dim, int direction);

    /*
     * Causal attention of t tokens that follow `past` tokens of the same
     * segment. Query i sees keys 0 to past + i. q, out   t rows of q_stride and
     * o_stride floats k, v     past + t rows of kv_stride floats; head h reads
     * key/value head h / (heads / kv_heads) lse      float[heads][t] out:
     * log-sum-exp of each row of scores scratch
     * float[ops_attention_scratch(past + t, head_dim)]
     */
    void (*attention)(float *out, size_t o_stride, float *lse, const float *q,
                      size_t q_stride, const float *k, const float *v,
                      size_t kv_stride, size_t t, size_t past, size_t heads,
                      size_t kv_heads, size_t head_dim, float *scratch);
    /* Computes the gradient of attention with past 0. The scores are recomputed
     * from lse. dq, dk, dv have the strides of q, k, v and are overwritten. */
    void (*attention_backward)(float *dq, float *dk, float *dv,
                               const float *dout, const float *out,
                               size_t o_stride, const float *lse,
                               const float *q, size_t q_stride, const float *k,
                               const float *v, size_t kv_stride, size_t t,
                               size_t heads, size_t kv_heads, size_t head_dim,
                               float *scratch);

    /* y[N][F] = silu(g) * u, where each row of gu[N][2F] holds g, then u */
    void (*swiglu)(float *y, const float *gu, size_t n, size_t f);
    /* dgu[N][2F] from dy and gu; may not alias */
    void (*swiglu_backward)(float *dgu, const float *dy, const float *gu,
                            size_t n, size_t f);

    /* loss[i] = logsumexp(logits[i]) - logits[i][target[i]]. Turns logits into
     * probabilities in place. */
    void (*cross_entropy)(float *loss, float *logits, const token_id *target,
                          size_t n, size_t v);
    /* Turns probabilities into gradients: scale * weight[i] * (p - onehot). */
    void (*cross_entropy_backward)(float *probs, const token_id *target,
                                   const float *weight, float scale, size_t n,
                                   size_t v);
};

extern const struct ops ops_ref;
extern const struct ops ops_blas; /* absent --without-blas */
extern const struct ops *ops_fast; /* only `mneme bench` changes it, to time the
                                      operations */

/* Returns the floats of scratch that attention over t tokens needs, forward and
 * backward. */
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

/* Sets OpenBLAS to one thread. Call it once, before the other functions. */
void ops_init(void);

/*
 * Maps the buffers that n_threads threads need when they multiply at the same
 * time. OpenBLAS would map each at its first product, and spin for ever if that
 * fails. Untouched buffers take address space, but no memory. ERR_NOMEM,
 * ERR_IO.
 * Threads: one, before any other has been started; it forks.
 */
int ops_reserve(int n_threads, struct err *err);

/* Returns the kernels in use: OpenBLAS's core and version and the kernels of
 * attention, or "reference loops". */
const char *ops_kernels(void);

#endif
