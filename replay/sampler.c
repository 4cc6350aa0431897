/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "replay/sampler.h"

#include <math.h>

#include "base/err.h"

#define BUCKET_BITS 5
#define PICK_TRIES 16

uint64_t sampler_below(struct sampler_stream *s, uint64_t n)
{
    return rng_below(n, s->seed, s->purpose, s->step, s->next++);
}

double sampler_unit(struct sampler_stream *s)
{
    return rng_unit(s->seed, s->purpose, s->step, s->next++);
}

int64_t sampler_bucket(int64_t n)
{
    int shift = 64 - BUCKET_BITS;

    if (n <= 0)
        return 0;
    shift -= __builtin_clzll((unsigned long long)n);
    return shift <= 0 ? n : (n >> shift) << shift;
}

void sampler_quotas(const int64_t *seen, size_t n, int64_t capacity,
                    double exponent, double *quota)
{
    double floor = SAMPLER_FLOOR * (1.0 - exponent), total = 0.0;
    size_t n_seen = 0;

    for (size_t d = 0; d < n; d++) {
        quota[d] = 0.0;
        if (seen[d] == 0)
            continue;
        quota[d] = pow((double)sampler_bucket(seen[d]), exponent);
        total += quota[d];
        n_seen++;
    }
    if (n_seen == 0)
        return;
    for (size_t d = 0; d < n; d++)
        if (seen[d] > 0)
            quota[d] = (double)capacity * (floor / (double)n_seen +
                                           (1.0 - floor) * quota[d] / total);
}

size_t sampler_fullest(const int64_t *kept, const double *quota, size_t n)
{
    size_t fullest = SAMPLER_NONE;
    double most = 0.0;

    for (size_t d = 0; d < n; d++) {
        if (kept[d] > 0 && (double)kept[d] / quota[d] > most) {
            most = (double)kept[d] / quota[d];
            fullest = d;
        }
    }
    return fullest;
}

enum sampler_fate sampler_decide(struct sampler_stream *s, int64_t seen,
                                 int64_t kept, double quota, int64_t n_free)
{
    double room = fmax(quota, (double)(kept + n_free));

    if ((double)sampler_below(s, (uint64_t)seen) >= room)
        return SAMPLER_REJECT;
    if (n_free > 0)
        return SAMPLER_ADD;
    return (double)kept < quota ? SAMPLER_GROW : SAMPLER_REPLACE;
}

size_t sampler_pick(struct sampler_stream *s, const uint32_t *slots, size_t n,
                    size_t first, const uint32_t *marks, uint32_t mark)
{
    size_t start = 0;

    for (int try = 0; try < PICK_TRIES; try++) {
        start = sampler_below(s, n);
        if (marks[slots[(first + start) % n]] != mark)
            return start;
    }
    for (size_t i = 1; i < n; i++) {
        size_t next = (start + i) % n;

        if (marks[slots[(first + next) % n]] != mark)
            return next;
    }
    BUG("nothing left to pick among %zu", n);
}
