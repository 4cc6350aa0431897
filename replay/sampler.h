/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.h - the arithmetic of keeping and drawing: quotas, acceptance,
 * picking without repetition. Pure functions over the caller's arrays.
 *
 * A reservoir of `capacity` rows is shared by D domains. Of domain d, n_d rows
 * have been seen; its quota is
 *
 *     capacity * (f / D + (1 - f) * w_d / sum w),   w_d = bucket(n_d)^a
 *
 * with f = SAMPLER_FLOOR (1 - a), so that no domain is starved unless shares
 * are to be proportional (a = 1: one reservoir for all). The quota follows n_d
 * in steps of about 6 % (sampler_bucket): it is a function of the counts alone
 * and needs no running sums, whose rounding would differ after a restart.
 *
 * Why the sample of a domain stays uniform over its past although its quota
 * k(n) = c n^a grows: a new row is accepted with probability k(n)/n, and an
 * accepted one replaces a random one unless the domain is below its quota.
 * Acceptance less growth, k/n - dk/dn, is then exactly the rate at which old
 * rows must go for each to be kept with probability k(n)/n. With a = 0 or one
 * domain it is algorithm R (Vitter 1985); shrinking takes random rows.
 *
 * Threads: any
 */
#ifndef MNEME_REPLAY_SAMPLER_H
#define MNEME_REPLAY_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

#define SAMPLER_FLOOR 0.25 /* of the capacity, shared equally when a = 0 */
#define SAMPLER_NONE SIZE_MAX

/* A sequence of draws that depends on nothing but its four words. */
struct sampler_stream {
    uint64_t seed;
    enum rng_purpose purpose;
    uint64_t step;
    uint64_t next; /* index of the next draw */
};

uint64_t sampler_below(struct sampler_stream *s, uint64_t n); /* [0, n) */
double sampler_unit(struct sampler_stream *s);                /* [0, 1) */

/* n with all but its five leading bits cleared. */
int64_t sampler_bucket(int64_t n);

/* quota[n] of domains of which seen[n] rows were offered; 0 for a domain of
 * which none was. They add up to capacity. */
void sampler_quotas(const int64_t *seen, size_t n, int64_t capacity,
                    double exponent, double *quota);

/* The domain with the most rows held for its quota, the first of equals;
 * SAMPLER_NONE when nothing is held. */
size_t sampler_fullest(const int64_t *held, const double *quota, size_t n);

/*
 * Where row number `seen` (from 1) of a domain goes, in a reservoir with
 * n_free places that nobody holds.
 */
enum sampler_fate {
    SAMPLER_REJECT,  /* nowhere */
    SAMPLER_ADD,     /* into a free place */
    SAMPLER_REPLACE, /* in place of a random row of its own domain */
    SAMPLER_GROW     /* in place of a random row of the fullest domain */
};
enum sampler_fate sampler_decide(struct sampler_stream *s, int64_t seen,
                                 int64_t held, double quota, int64_t n_free);

/*
 * A random i in [0, n) whose row slots[(first + i) % n] is not marked:
 * marks[slot] != mark. There has to be one. A few tries, then the next that
 * is free: bounded, and uneven only when nearly all are marked.
 */
size_t sampler_pick(struct sampler_stream *s, const uint32_t *slots, size_t n,
                    size_t first, const uint32_t *marks, uint32_t mark);

#endif
