/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/xalloc.h"

#define LN2 0.69314718055994530942

const char *gate_verdict_name(enum gate_verdict v)
{
    static const char *const names[] = {"pass", "fail", "inconclusive"};

    return names[v];
}

/* --- the normal distribution -------------------------------------------- */

static double tail_quantile(double q)
{
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01,
                               2.445134137142996e+00, 3.754408661907416e+00};

    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q +
            c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
}

static double centre_quantile(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    double q = p - 0.5, r = q * q;

    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r +
            a[5]) *
           q /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

double gate_normal_quantile(double p)
{
    const double low = 0.02425;

    if (p < low)
        return tail_quantile(sqrt(-2 * log(p)));
    if (p > 1 - low)
        return -tail_quantile(sqrt(-2 * log(1 - p)));
    return centre_quantile(p);
}

/* --- Student's t -------------------------------------------------------- */

/* The continued fraction of the incomplete beta function, by Lentz's method
 * (Abramowitz, Stegun 1964, 26.5.8). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;

    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 500; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x /
                     ((a + 2 * m) * (a + 2 * m + 1));
        double last;

        d = 1 / (1 + even * d);
        c = 1 + even / c;
        f *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        last = c * d;
        f *= last;
        if (fabs(last - 1) < 1e-14)
            break;
    }
    return f;
}

/* I_x(a, b), regularised. */
static double incomplete_beta(double x, double a, double b)
{
    double front;

    if (x <= 0 || x >= 1)
        return x >= 1;
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) +
                b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(x, a, b) / a;
    return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double gate_student_tail(double t, double n)
{
    double both = incomplete_beta(n / (n + t * t), n / 2, 0.5);

    return t > 0 ? both / 2 : 1 - both / 2;
}

/* --- one test ----------------------------------------------------------- */

/* How likely the data would be if the regression were at its limit: small p
 * speaks for "below" or for "above". A test is a domain, or the pool of the
 * small ones. */
static double p_of(const struct gate_domain *d, double distance)
{
    if (d->error <= 0)
        return distance > 0 ? 0 : 1;
    return gate_student_tail(distance / d->error, (double)d->chunks - 1);
}

static double p_below(const struct gate_domain *d)
{
    return p_of(d, d->limit - d->regression);
}

static double p_above(const struct gate_domain *d)
{
    return p_of(d, d->regression - d->limit);
}

/* Ratio estimate over the chunks that `in` selects. */
static void estimate(const struct gate_chunk *chunks, size_t n,
                     const bool *in, struct gate_domain *d)
{
    double bits = 0, squares = 0, serving = 0, candidate = 0;

    d->chunks = 0;
    d->bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (!in[chunks[i].domain])
            continue;
        d->chunks++;
        d->bytes += chunks[i].bytes;
        serving += chunks[i].serving_nats / LN2;
        candidate += chunks[i].candidate_nats / LN2;
    }
    bits = candidate - serving;
    d->regression = d->bytes > 0 ? bits / d->bytes : NAN;
    d->serving = d->bytes > 0 ? serving / d->bytes : NAN;
    d->candidate = d->bytes > 0 ? candidate / d->bytes : NAN;
    for (size_t i = 0; i < n; i++) {
        double r;

        if (!in[chunks[i].domain])
            continue;
        r = (chunks[i].candidate_nats - chunks[i].serving_nats) / LN2 -
            d->regression * chunks[i].bytes;
        squares += r * r;
    }
    d->error = d->chunks > 1 ? sqrt(squares * (double)d->chunks /
                                    (double)(d->chunks - 1)) /
                                   d->bytes
                             : INFINITY;
}

static void estimate_domains(const struct gate_options *o,
                             const struct gate_chunk *chunks, size_t n,
                             struct gate_domain *domains, size_t n_domains)
{
    bool *in = xcalloc(n_domains, sizeof *in);

    for (size_t d = 0; d < n_domains; d++) {
        in[d] = true;
        estimate(chunks, n, in, &domains[d]);
        in[d] = false;
        domains[d].limit = o->max_regression * domains[d].serving;
        domains[d].pooled = domains[d].chunks < o->min_chunks;
    }
    free(in);
}

/* Domains large enough alone, then the pool of the others. Returns how many
 * tests there are. */
static size_t make_tests(const struct gate_options *o,
                         const struct gate_chunk *chunks, size_t n,
                         const struct gate_domain *domains, size_t n_domains,
                         struct gate_domain *tests)
{
    bool *in = xcalloc(n_domains, sizeof *in);
    struct gate_domain pool = {.name = ""};
    size_t n_tests = 0, n_pooled = 0;

    for (size_t d = 0; d < n_domains; d++) {
        in[d] = domains[d].pooled && domains[d].chunks > 0;
        if (!domains[d].pooled)
            tests[n_tests++] = domains[d];
        if (!in[d])
            continue;
        pool.is_protected |= domains[d].is_protected;
        pool.name = n_pooled++ ? "small domains together" : domains[d].name;
    }
    estimate(chunks, n, in, &pool);
    pool.limit = o->max_regression * pool.serving;
    if (pool.chunks >= GATE_FEWEST_CHUNKS)
        tests[n_tests++] = pool;
    free(in);
    return n_tests;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Holm: are all (of those that must be) shown to be below the limit; is any
 * shown to be above it? */
static enum gate_verdict holm(const struct gate_domain *tests, size_t n,
                              bool only_protected, double alpha)
{
    double *below = xcalloc(n + 1, sizeof *below);
    double *above = xcalloc(n + 1, sizeof *above);
    enum gate_verdict verdict = GATE_PASS;
    size_t m = 0;

    for (size_t i = 0; i < n; i++) {
        if (only_protected && !tests[i].is_protected)
            continue;
        below[m] = p_below(&tests[i]);
        above[m++] = p_above(&tests[i]);
    }
    qsort(below, m, sizeof *below, by_value);
    qsort(above, m, sizeof *above, by_value);
    for (size_t k = 0; k < m; k++)
        if (below[k] > alpha / (double)(m - k))
            verdict = GATE_INCONCLUSIVE;
    if (m && above[0] <= alpha / (double)m)
        verdict = GATE_FAIL;
    free(below);
    free(above);
    return verdict;
}

/* The mean over domains, weighted by what the stream brings. */
static void weigh(const struct gate_options *o,
                  const struct gate_domain *domains, size_t n,
                  struct gate_decision *decision)
{
    double total = 0, mean = 0, variance = 0;

    for (size_t d = 0; d < n; d++)
        if (domains[d].chunks > 1)
            total += domains[d].traffic;
    for (size_t d = 0; d < n && total > 0; d++) {
        double w = domains[d].traffic / total;

        if (domains[d].chunks < 2)
            continue;
        mean += w * domains[d].regression;
        variance += w * w * domains[d].error * domains[d].error;
    }
    decision->mean_regression = total > 0 ? mean : NAN;
    decision->mean_bound =
        total > 0 ? mean + gate_normal_quantile(o->confidence) *
                               sqrt(variance)
                  : NAN;
}

/* The test that is farthest above its limit, for the reason. */
static const struct gate_domain *worst(const struct gate_domain *tests,
                                       size_t n)
{
    const struct gate_domain *w = &tests[0];

    for (size_t i = 1; i < n; i++)
        if (tests[i].regression - tests[i].limit > w->regression - w->limit)
            w = &tests[i];
    return w;
}

static void explain(const struct gate_domain *tests, size_t n,
                    struct gate_decision *decision)
{
    const struct gate_domain *w;
    char *out = decision->reason;
    size_t size = sizeof decision->reason;

    if (n == 0) {
        snprintf(out, size, "too few held-out segments yet (fewer than %d)",
                 GATE_FEWEST_CHUNKS);
        return;
    }
    w = worst(tests, n);
    if (decision->waived)
        snprintf(out, size,
                 "the mean over domains improves by %.4f bits per byte; %s "
                 "moves by %+.4f",
                 -decision->mean_regression, w->name, w->regression);
    else
        snprintf(out, size,
                 "%s: %+.4f bits per byte (from %.4f to %.4f), limit %+.4f, "
                 "%lld segments",
                 w->name, w->regression, w->serving, w->candidate, w->limit,
                 (long long)w->chunks);
}

void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *decision)
{
    struct gate_domain *tests = xcalloc(n_domains + 1, sizeof *tests);
    double alpha = 1 - options->confidence;
    size_t n_tests;

    memset(decision, 0, sizeof *decision);
    estimate_domains(options, chunks, n_chunks, domains, n_domains);
    n_tests = make_tests(options, chunks, n_chunks, domains, n_domains, tests);
    weigh(options, domains, n_domains, decision);
    decision->verdict = n_tests ? holm(tests, n_tests, false, alpha)
                                : GATE_INCONCLUSIVE;
    if (n_tests && decision->verdict != GATE_PASS &&
        n_chunks >= (size_t)options->min_chunks &&
        decision->mean_bound < 0 &&
        holm(tests, n_tests, true, alpha) == GATE_PASS) {
        decision->verdict = GATE_PASS;
        decision->waived = true;
    }
    explain(tests, n_tests, decision);
    free(tests);
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

void gate_to_json(const struct gate_options *options,
                  const struct gate_domain *domains, size_t n_domains,
                  const struct gate_decision *decision, int64_t against,
                  struct buf *out)
{
    json_t *list = json_array();
    json_t *root;
    char *text;

    for (size_t d = 0; d < n_domains; d++) {
        const struct gate_domain *g = &domains[d];

        if (g->chunks == 0)
            continue;
        json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:b, s:b}",
                      "domain", g->name, "chunks", (json_int_t)g->chunks,
                      "serving", number(g->serving), "candidate",
                      number(g->candidate), "regression",
                      number(g->regression), "error", number(g->error),
                      "limit", number(g->limit), "protected", g->is_protected,
                      "pooled", g->pooled));
    }
    root = json_pack("{s:s, s:s, s:I, s:f, s:f, s:o, s:o, s:b, s:o}",
                     "verdict", gate_verdict_name(decision->verdict),
                     "reason", decision->reason, "against",
                     (json_int_t)against, "max_regression",
                     options->max_regression, "confidence",
                     options->confidence, "mean_regression",
                     number(decision->mean_regression), "mean_bound",
                     number(decision->mean_bound), "waived",
                     decision->waived, "domains", list);
    text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(8));
    buf_adds(out, text);
    free(text);
    json_decref(root);
}
