/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each record changes the sorted copy of a ring by one removal and one
 * insertion. So the median needs no sorting, and the MAD takes one walk from
 * the middle outwards.
 */
#include "config.h"

#include "daemon/intake/surprise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define LOW_SHARE 0.25 /* of the median */

enum { N_LEARNED, N_RUN, N_COUNTERS };

void surprise_init(struct surprise *s)
{
    memset(s, 0, sizeof *s);
}

void surprise_release(struct surprise *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->domains[i]);
    free(s->domains);
    memset(s, 0, sizeof *s);
}

static struct surprise_domain *domain_of(struct surprise *s, int32_t domain)
{
    size_t i = (size_t)domain;

    if (i >= s->n) {
        s->domains = xreallocarray(s->domains, i + 1, sizeof *s->domains);
        memset(s->domains + s->n, 0, (i + 1 - s->n) * sizeof *s->domains);
        s->n = i + 1;
    }
    if (!s->domains[i])
        s->domains[i] = xcalloc(1, sizeof *s->domains[i]);
    return s->domains[i];
}

static size_t kept(const struct surprise_domain *d)
{
    return d->n < SURPRISE_KEPT ? (size_t)d->n : SURPRISE_KEPT;
}

/* --- median and MAD ----------------------------------------------------- */

static double middle(const float *sorted, size_t n)
{
    return 0.5 * ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]);
}

/* Half of the values are within this distance of the median m. The walk goes
 * outwards from m, always to the nearer value. */
static double mad(const float *sorted, size_t n, double m)
{
    size_t up = 0, down;
    double distance = 0.0;

    while (up < n && (double)sorted[up] < m)
        up++;
    down = up;
    for (size_t k = 0; k < n / 2 + 1 && (up < n || down > 0); k++) {
        double above = up < n ? (double)sorted[up] - m : INFINITY;
        double below = down > 0 ? m - (double)sorted[down - 1] : INFINITY;

        distance = fmin(above, below);
        if (above <= below)
            up++;
        else
            down--;
    }
    return distance;
}

enum surprise_level surprise_compare(const struct surprise *s, int32_t domain,
                                     double bits_per_byte, double mads,
                                     int64_t history)
{
    const struct surprise_domain *d =
        (size_t)domain < s->n ? s->domains[domain] : NULL;
    double m, width;

    if (!d || d->n < history || d->n == 0)
        return SURPRISE_NONE;
    m = middle(d->sorted, kept(d));
    width = mads * mad(d->sorted, kept(d), m);
    if (bits_per_byte > m + width)
        return SURPRISE_HIGH;
    if (bits_per_byte < m - width && bits_per_byte < LOW_SHARE * m)
        return SURPRISE_LOW;
    return SURPRISE_NONE;
}

/* --- counting ----------------------------------------------------------- */

/* The first index in sorted[n] whose value is at least x. */
static size_t lower_bound(const float *sorted, size_t n, float x)
{
    size_t i = 0;

    while (i < n && sorted[i] < x)
        i++;
    return i;
}

static void add_level(struct surprise_domain *d, float x)
{
    float *slot = &d->levels[d->n % SURPRISE_KEPT];
    size_t n = kept(d), i;

    if (n == SURPRISE_KEPT) {
        i = lower_bound(d->sorted, n--, *slot);
        memmove(d->sorted + i, d->sorted + i + 1,
                (n - i) * sizeof *d->sorted);
    }
    i = lower_bound(d->sorted, n, x);
    memmove(d->sorted + i + 1, d->sorted + i, (n - i) * sizeof *d->sorted);
    d->sorted[i] = x;
    *slot = x;
    d->n++;
}

void surprise_learned(struct surprise *s, int32_t domain, double bits_per_byte)
{
    struct surprise_domain *d = domain_of(s, domain);

    d->run = 0;
    if (isfinite(bits_per_byte))
        add_level(d, (float)bits_per_byte);
}

void surprise_refused(struct surprise *s, int32_t domain, int64_t accept_after)
{
    struct surprise_domain *d = domain_of(s, domain);

    d->run++;
    if (accept_after > 0 && d->run >= accept_after)
        memset(d, 0, sizeof *d);
}

bool surprise_has_run(const struct surprise *s, int32_t domain)
{
    return domain >= 0 && (size_t)domain < s->n && s->domains[domain] &&
           s->domains[domain]->run > 0;
}

/* --- a version's state -------------------------------------------------- */

void surprise_export(const struct surprise *s, struct tensor_list *out)
{
    const size_t levels_shape[] = {s->n, SURPRISE_KEPT};
    const size_t counters_shape[] = {s->n, N_COUNTERS};
    int64_t *counters;
    float *levels;

    if (s->n == 0)
        return;
    levels = tensor_add_copy(out, "filter.surprise.levels", TENSOR_F32, 2,
                             levels_shape, NULL);
    counters = tensor_add_copy(out, "filter.surprise.counters", TENSOR_I64, 2,
                               counters_shape, NULL);
    for (size_t i = 0; i < s->n; i++) {
        const struct surprise_domain *d = s->domains[i];

        if (!d)
            continue;
        memcpy(levels + i * SURPRISE_KEPT, d->levels, sizeof d->levels);
        counters[i * N_COUNTERS + N_LEARNED] = d->n;
        counters[i * N_COUNTERS + N_RUN] = d->run;
    }
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static bool are_valid(const struct tensor *levels,
                      const struct tensor *counters)
{
    const float *x = levels->data;
    const int64_t *c = counters->data;

    for (size_t i = 0; i < tensor_count(levels); i++)
        if (!isfinite(x[i]))
            return false;
    for (size_t i = 0; i < tensor_count(counters); i++)
        if (c[i] < 0 || c[i] > TENSOR_COUNTER_MOST)
            return false;
    return true;
}

int surprise_import(struct surprise *s, const struct tensor_list *in,
                    struct err *err)
{
    const struct tensor *levels, *counters;
    size_t n;
    int rc;

    if (!tensor_find(in, "filter.surprise.levels")) {
        surprise_release(s);
        return 0;
    }
    rc = tensor_expect(in, "filter.surprise.levels", TENSOR_F32, SIZE_MAX,
                       &levels, err);
    if (rc)
        return rc;
    n = tensor_count(levels) / SURPRISE_KEPT;
    rc = tensor_expect(in, "filter.surprise.counters", TENSOR_I64,
                       n * N_COUNTERS, &counters, err);
    if (rc)
        return rc;
    if (tensor_count(levels) != n * SURPRISE_KEPT ||
        !are_valid(levels, counters))
        return err_set(err, ERR_CORRUPT,
                       "tensors filter.surprise: values out of range");
    surprise_release(s);
    for (size_t i = 0; i < n; i++) {
        struct surprise_domain *d = domain_of(s, (int32_t)i);
        const int64_t *c = (const int64_t *)counters->data + i * N_COUNTERS;

        memcpy(d->levels, (const float *)levels->data + i * SURPRISE_KEPT,
               sizeof d->levels);
        d->n = c[N_LEARNED];
        d->run = c[N_RUN];
        memcpy(d->sorted, d->levels, sizeof d->sorted);
        qsort(d->sorted, kept(d), sizeof *d->sorted, compare_floats);
    }
    return 0;
}
