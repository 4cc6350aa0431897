/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The most likely tokens are popped from a heap. Building it costs O(V), each
 * pop O(ln V). Popped tokens lie behind the heap, the most likely at the end:
 *
 *     items  [ heap ............ | third second first ]
 *            0                   n                   v
 *
 * Sampling without top_k and top_p needs no order and builds no heap.
 *
 * Loops over the vocabulary are vectorised and use the single-precision exp of
 * vexp.h. Sums are in double.
 */
#include "config.h"

#include "learner/infer/sample.h"

#include <math.h>

#include "base/heap.h"
#include "learner/infer/frozen.h"
#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/vexp.h"

/* --- a heap of tokens --------------------------------------------------- */

static bool better(const struct infer_alternative *a,
                   const struct infer_alternative *b)
{
    return a->logprob != b->logprob ? a->logprob > b->logprob : a->id < b->id;
}

HEAP_DEFINE(heap, struct infer_alternative, better)

static void make_heap(const float *logprobs, size_t v,
                      struct infer_alternative *items)
{
    for (size_t i = 0; i < v; i++)
        items[i] = (struct infer_alternative){(token_id)i, logprobs[i]};
    for (size_t i = v / 2; i-- > 0;)
        heap_sink(items, v, i);
}

/* Moves the most likely of n items to index n - 1. */
static void pop_best(struct infer_alternative *items, size_t n)
{
    size_t n_heap = n;

    items[n - 1] = heap_pop(items, &n_heap);
}

/* --- probabilities ------------------------------------------------------ */

HOT static float largest(const float *x, size_t v)
{
    float most = -INFINITY;

#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < v; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* Returns the sum of exp((x - most) / temperature). */
HOT static double sum_exps(const float *x, size_t v, float most,
                           float temperature)
{
    double sum = 0.0;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < v; i++)
        sum += (double)vexp((x[i] - most) / temperature);
    return sum;
}

bool sample_logprobs(float *logits, size_t v)
{
    float lse;

    if (!block_finite(logits, v))
        return false;
    lse = frozen_lse(logits, v);
    for (size_t i = 0; i < v; i++)
        logits[i] -= lse;
    return true;
}

/* Returns the most likely token; v > 0. */
static token_id most_likely(const float *logprobs, size_t v)
{
    size_t best = 0;

    for (size_t i = 1; i < v; i++)
        if (logprobs[i] > logprobs[best])
            best = i;
    return (token_id)best;
}

/* Returns a token's probability relative to the most likely one. */
static double weight(float logprob, float most, float temperature)
{
    return (double)vexp((logprob - most) / temperature);
}

static token_id sample_from_all(const float *logprobs, size_t v,
                                float temperature, double u)
{
    float most = largest(logprobs, v);
    double total = sum_exps(logprobs, v, most, temperature), sum = 0.0;
    size_t last = 0;

    for (size_t i = 0; i < v; i++) {
        double w = weight(logprobs[i], most, temperature);

        if (!(w > 0.0))
            continue;
        last = i; /* rounding may leave the sum a little short of u */
        sum += w;
        if (sum > u * total)
            break;
    }
    return (token_id)last;
}

/* --- the most likely tokens --------------------------------------------- */

/* Pops the k most likely tokens, and returns the sum of their weights. */
static double pop_k(struct infer_alternative *items, size_t v, size_t k,
                    float most, float temperature)
{
    double total = 0.0;

    for (size_t i = 0; i < k; i++) {
        pop_best(items, v - i);
        total += weight(items[v - 1 - i].logprob, most, temperature);
    }
    return total;
}

/* Pops tokens until their weights reach `wanted`. Returns how many tokens are
 * kept; *kept is the sum of their weights. */
static size_t pop_top_p(struct infer_alternative *items, size_t v, size_t taken,
                        double wanted, float most, float temperature,
                        double *kept)
{
    size_t limit = taken ? taken : v, n = 0;

    *kept = 0.0;
    while (n < limit && (n == 0 || *kept < wanted)) {
        if (n >= taken)
            pop_best(items, v - n);
        *kept += weight(items[v - 1 - n].logprob, most, temperature);
        n++;
    }
    return n;
}

static token_id sample_from_best(const float *logprobs, size_t v,
                                 const struct infer_sampling *s, double u,
                                 struct infer_alternative *items)
{
    size_t k = s->top_k > 0 && (size_t)s->top_k < v ? (size_t)s->top_k : 0;
    float most = largest(logprobs, v);
    double total, share, kept, sum = 0.0;
    size_t n;

    make_heap(logprobs, v, items);
    if (k)
        total = pop_k(items, v, k, most, s->temperature);
    else
        total = sum_exps(logprobs, v, most, s->temperature);
    share = s->top_p < 1.0f ? (double)s->top_p : 1.0;
    n = pop_top_p(items, v, k, share * total, most, s->temperature, &kept);
    for (size_t i = 0; i < n; i++) {
        sum += weight(items[v - 1 - i].logprob, most, s->temperature);
        if (sum > u * kept)
            return items[v - 1 - i].id;
    }
    return items[v - n].id;
}

void sample_adjust(const float *logprobs, size_t v,
                   const struct infer_sampling *sampling, const uint32_t *count,
                   float *adjusted)
{
    for (size_t i = 0; i < v; i++) {
        adjusted[i] = logprobs[i];
        if (count[i])
            adjusted[i] -= (float)count[i] * sampling->frequency_penalty +
                           sampling->presence_penalty;
    }
    for (size_t i = 0; i < sampling->n_bias; i++)
        adjusted[sampling->bias[i].id] += sampling->bias[i].bias;
}

token_id sample_token(const float *logprobs, size_t v,
                      const struct infer_sampling *sampling, double u,
                      struct infer_alternative *scratch)
{
    bool all = sampling->top_k <= 0 || (size_t)sampling->top_k >= v;

    if (!(sampling->temperature > 0.0f) || sampling->top_k == 1)
        return most_likely(logprobs, v);
    if (all && sampling->top_p >= 1.0f)
        return sample_from_all(logprobs, v, sampling->temperature, u);
    return sample_from_best(logprobs, v, sampling, u, scratch);
}

void sample_best(const float *logprobs, size_t v, size_t n,
                 struct infer_alternative *scratch,
                 struct infer_alternative *best)
{
    if (n == 0)
        return;
    make_heap(logprobs, v, scratch);
    for (size_t i = 0; i < n; i++) {
        pop_best(scratch, v - i);
        best[i] = scratch[v - 1 - i];
    }
}
