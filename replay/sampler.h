/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.h - the arithmetic of the replay buffer: quotas, acceptance, sampling
 * without repetition. Pure functions over the caller's arrays.
 *
 * D domains share a reservoir of `capacity` rows. If n_d rows of domain d have
 * been offered, its quota is
 *
 *     capacity * (f / D + (1 - f) * w_d / sum w),   w_d = bucket(n_d)^a
 *
 * with f = SAMPLER_FLOOR (1 - a). So every domain gets some rows, unless shares
 * are to be proportional (a = 1: one reservoir for all). The quota follows n_d
 * in steps of about 6 % (sampler_bucket). It is a function of the counts alone
 * and needs no running sums, whose rounding would differ after a restart.
 *
 * The sample of a domain stays uniform over its past although its quota
 * k(n) = c n^a grows. A new row is accepted with probability k(n)/n. An
 * accepted row replaces a random one, unless the domain is below its quota.
 * Acceptance minus growth, k/n - dk/dn, is exactly the rate at which old rows
 * must leave for each to be kept with probability k(n)/n. With a = 0 or one
 * domain this is algorithm R (Vitter 1985). Shrinking removes random rows.
 *
 * Threads: any
 */
#ifndef MNEME_REPLAY_SAMPLER_H
#define MNEME_REPLAY_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

/* share of the capacity that is divided equally, for a = 0 */
#define SAMPLER_FLOOR 0.25
#define SAMPLER_NONE SIZE_MAX

/* A sequence of random numbers, which depends only on its four fields. */
struct sampler_stream {
    uint64_t seed;
    enum rng_purpose purpose;
    uint64_t step;
    uint64_t next; /* index of the next number */
};

uint64_t sampler_below(struct sampler_stream *s, uint64_t n); /* [0, n) */
double sampler_unit(struct sampler_stream *s);                /* [0, 1) */

/* Clears all but the five leading bits of n. */
int64_t sampler_bucket(int64_t n);

/* Sets quota[n] of domains of which seen[n] rows were offered; 0 for a domain
 * without any. The quotas add up to capacity. */
void sampler_quotas(const int64_t *seen, size_t n, int64_t capacity,
                    double exponent, double *quota);

/* Returns the domain with the most rows relative to its quota, the first among
 * equals; SAMPLER_NONE when the reservoir is empty. */
size_t sampler_fullest(const int64_t *kept, const double *quota, size_t n);

/*
 * Decides what happens to row number `seen` (from 1) of a domain, in a
 * reservoir with room for n_free more rows.
 */
enum sampler_fate {
    SAMPLER_REJECT,  /* the row is not kept */
    SAMPLER_ADD,     /* the row uses free room */
    SAMPLER_REPLACE, /* the row replaces a random one of its own domain */
    SAMPLER_GROW     /* the row replaces a random one of the fullest domain */
};
enum sampler_fate sampler_decide(struct sampler_stream *s, int64_t seen,
                                 int64_t kept, double quota, int64_t n_free);

/*
 * Returns a random i in [0, n) whose row slots[(first + i) % n] is not marked:
 * marks[slot] != mark. At least one must be unmarked. After a few tries it
 * takes the next unmarked row: the time is bounded, and the choice is uneven
 * only when nearly all rows are marked.
 */
size_t sampler_pick(struct sampler_stream *s, const uint32_t *slots, size_t n,
                    size_t first, const uint32_t *marks, uint32_t mark);

#endif
