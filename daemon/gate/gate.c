/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate_decide, at the end, is the decision from top to bottom. Before it: the
 * estimates, the tests that combine them, and the sentences about the outcome.
 */
#include "config.h"

#include "daemon/gate/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/gate/tails.h"

#define LN2 0.69314718055994530942

/* --- estimates ---------------------------------------------------------- */

/* The segments of one estimate. */
struct selection {
    const bool *domains; /* [n_domains]; NULL: all */
    enum { EVEN_SAMPLE, BEFORE, RECENT, SINCE } role;
    bool over_serving; /* compare with the serving version */
};

static bool is_selected(const struct gate_chunk *c, const struct selection *s)
{
    if (s->domains && !s->domains[c->domain])
        return false;
    switch (s->role) {
    case RECENT:
        return c->recent;
    case SINCE:
        return !c->before;
    case BEFORE:
        return c->before && !c->only_recent;
    default:
        return !c->only_recent;
    }
}

static struct gate_part estimate(const struct gate_options *o,
                                 const struct gate_chunk *chunks, size_t n,
                                 struct selection s)
{
    struct gate_part p = {0};
    double candidate = 0, older = 0, squares = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!is_selected(c, &s))
            continue;
        p.chunks++;
        p.bytes += c->bytes;
        candidate += c->candidate_nats / LN2;
        older += (s.over_serving ? c->serving_nats : c->reference_nats) / LN2;
    }
    p.reference = p.bytes > 0 ? older / p.bytes : NAN;
    p.candidate = p.bytes > 0 ? candidate / p.bytes : NAN;
    p.regression = p.bytes > 0 ? (candidate - older) / p.bytes : NAN;
    p.limit = o->max_regression * p.reference;
    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];
        double nats = s.over_serving ? c->serving_nats : c->reference_nats;
        double r = (c->candidate_nats - nats) / LN2 - p.regression * c->bytes;

        if (is_selected(c, &s))
            squares += r * r;
    }
    p.error = p.chunks > 1
                  ? sqrt(squares * (double)p.chunks / (double)(p.chunks - 1)) /
                        p.bytes
                  : INFINITY;
    return p;
}

static void estimate_domains(const struct gate_options *o,
                             const struct gate_chunk *chunks, size_t n,
                             struct gate_domain *domains, size_t n_domains)
{
    bool *in = xcalloc(n_domains + 1, sizeof *in);

    for (size_t i = 0; i < n_domains; i++) {
        struct gate_domain *d = &domains[i];

        in[i] = true;
        d->all = estimate(o, chunks, n, (struct selection){in, EVEN_SAMPLE, 0});
        d->before = estimate(o, chunks, n, (struct selection){in, BEFORE, 0});
        if (d->served_only)
            d->gain = estimate(o, chunks, n,
                               (struct selection){in, EVEN_SAMPLE, true});
        d->pooled = d->all.chunks < o->min_chunks;
        in[i] = false;
    }
    free(in);
}

/* The `before` segments of all domains that have too few of them. */
static struct gate_part estimate_few_before(const struct gate_options *o,
                                            const struct gate_chunk *chunks,
                                            size_t n,
                                            const struct gate_domain *domains,
                                            size_t n_domains)
{
    bool *in = xcalloc(n_domains + 1, sizeof *in);
    struct gate_part p;

    for (size_t d = 0; d < n_domains; d++)
        in[d] = domains[d].before.chunks < o->min_chunks;
    p = estimate(o, chunks, n, (struct selection){in, BEFORE, 0});
    free(in);
    return p;
}

/* One test for each large domain, and one for the pool of the others. Leaves
 * domains without a loss (preset linear) out. Returns how many tests. */
static size_t make_tests(const struct gate_options *o,
                         const struct gate_chunk *chunks, size_t n,
                         const struct gate_domain *domains, size_t n_domains,
                         struct gate_domain *tests)
{
    bool *in = xcalloc(n_domains + 1, sizeof *in);
    struct gate_domain pool = {0};
    size_t n_tests = 0, n_pooled = 0;

    for (size_t d = 0; d < n_domains; d++) {
        if (!domains[d].pooled && domains[d].all.bytes > 0)
            tests[n_tests++] = domains[d];
        in[d] = domains[d].pooled && domains[d].all.chunks > 0;
        if (!in[d])
            continue;
        pool.is_protected |= domains[d].is_protected;
        pool.name = n_pooled++ ? "small domains together" : domains[d].name;
    }
    pool.all = estimate(o, chunks, n, (struct selection){in, EVEN_SAMPLE, 0});
    pool.before = estimate(o, chunks, n, (struct selection){in, BEFORE, 0});
    if (pool.all.chunks >= GATE_FEWEST_CHUNKS && pool.all.bytes > 0)
        tests[n_tests++] = pool;
    free(in);
    return n_tests;
}

static struct gate_accuracy count_labels(const struct gate_options *o,
                                         const struct gate_chunk *chunks,
                                         size_t n, bool only_before)
{
    struct gate_accuracy a = {0};
    double reference = 0, candidate = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!c->labelled || c->only_recent || (only_before && !c->before))
            continue;
        a.labelled++;
        reference += c->reference_right;
        candidate += c->candidate_right;
        a.lost += c->reference_right && !c->candidate_right;
        a.gained += !c->reference_right && c->candidate_right;
    }
    a.reference = a.labelled ? reference / (double)a.labelled : NAN;
    a.candidate = a.labelled ? candidate / (double)a.labelled : NAN;
    a.limit = o->max_regression * a.reference;
    a.p = tails_coin(a.lost, a.lost + a.gained);
    return a;
}

/* Is the candidate better than the reference on the newest segments? Labels
 * decide where there is no loss. */
static bool is_better_on_newest(const struct gate_chunk *chunks, size_t n)
{
    double nats = 0;
    int gained = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!c->newest || c->before)
            continue;
        if (c->bytes > 0)
            nats += c->candidate_nats - c->reference_nats;
        if (c->labelled)
            gained += c->candidate_right - c->reference_right;
    }
    return nats < 0 || (!(nats > 0) && gained > 0);
}

/* The part of a domain that counts in the mean. False: the domain does not. */
static bool mean_part(const struct gate_domain *d, enum gate_patience patience,
                      struct gate_part *part)
{
    *part = d->all;
    if (patience != GATE_CHANGED_STREAM) {
        if (d->before.chunks >= GATE_FEWEST_CHUNKS)
            *part = d->before;
        else if (d->served_only)
            *part = d->gain;
    }
    return part->chunks >= GATE_FEWEST_CHUNKS && part->bytes > 0;
}

/* The mean over domains, weighted by traffic; returns its upper bound. */
static double bound_mean(const struct gate_options *o,
                         const struct gate_domain *domains, size_t n,
                         enum gate_patience patience, double *mean)
{
    double total = 0, sum = 0, variance = 0;
    struct gate_part part;

    for (size_t d = 0; d < n; d++) {
        double w = domains[d].traffic;

        if (!mean_part(&domains[d], patience, &part))
            continue;
        total += w;
        sum += w * part.regression;
        variance += w * w * part.error * part.error;
    }
    *mean = total > 0 ? sum / total : NAN;
    return total > 0 ? *mean + tails_normal_quantile(o->confidence) *
                                   sqrt(variance) / total
                     : NAN;
}

/* The mean over the `before` segments; new domains do not count. */
static double mean_before(const struct gate_domain *domains, size_t n)
{
    double total = 0, sum = 0;

    for (size_t d = 0; d < n; d++) {
        if (!(domains[d].before.bytes > 0))
            continue;
        total += domains[d].traffic;
        sum += domains[d].traffic * domains[d].before.regression;
    }
    return total > 0 ? sum / total : NAN;
}

/* --- tests -------------------------------------------------------------- */

/* The one-sided p-value if D is at its limit. sign 1: a small value shows that
 * D is above the limit; -1: below it. */
static double p_value(const struct gate_part *p, double sign)
{
    double distance = sign * (p->regression - p->limit);

    if (p->chunks < GATE_FEWEST_CHUNKS)
        return 1;
    if (p->error <= 0)
        return distance > 0 ? 0 : 1;
    return tails_student(distance / p->error, (double)p->chunks - 1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Is each domain, or each protected one, shown to be below its limit? Holm's
 * procedure. */
static bool all_below(const struct gate_domain *tests, size_t n,
                      bool only_protected, double alpha)
{
    double *p = xcalloc(n + 1, sizeof *p);
    bool below = true;
    size_t m = 0;

    for (size_t i = 0; i < n; i++)
        if (!only_protected || tests[i].is_protected)
            p[m++] = p_value(&tests[i].all, -1);
    qsort(p, m, sizeof *p, by_value);
    for (size_t k = 0; k < m; k++)
        below &= p[k] <= alpha / (double)(m - k);
    free(p);
    return below;
}

/* The regression as a multiple of its limit, if it is shown to exceed the
 * limit; else 0. */
static double shown_excess(const struct gate_part *p, int64_t fewest,
                           double level)
{
    if (p->chunks < fewest || p_value(p, 1) > level)
        return 0;
    return p->limit > 0 ? p->regression / p->limit : INFINITY;
}

static bool accuracy_is_down(const struct gate_accuracy *a)
{
    return a->labelled > 0 && a->reference - a->candidate > a->limit;
}

static double accuracy_excess(const struct gate_accuracy *a, double level)
{
    if (!accuracy_is_down(a) || a->p > level)
        return 0;
    return a->limit > 0 ? (a->reference - a->candidate) / a->limit : INFINITY;
}

/* After many refusals the loss has to be significant: one of forty labels is
 * more than 2 %, and would withhold every candidate. */
static bool accuracy_withholds(const struct gate_options *o,
                               const struct gate_accuracy *a)
{
    return accuracy_is_down(a) &&
           (o->patience == GATE_STRICT || a->p <= 1 - o->confidence);
}

static bool lies_above(const struct gate_part *p, int64_t fewest)
{
    return p->chunks >= fewest && p->regression > p->limit;
}

/* Does a point estimate exceed its limit, significantly or not? Leaves out the
 * estimates over whole domains, which all_below tests. */
static bool is_withheld(const struct gate_options *o,
                        const struct gate_domain *tests, size_t n,
                        const struct gate_decision *d)
{
    for (size_t i = 0; i < n; i++)
        if (lies_above(&tests[i].before, o->min_chunks))
            return true;
    return (lies_above(&d->few_before, GATE_FEWEST_CHUNKS) &&
            (o->patience == GATE_STRICT ||
             p_value(&d->few_before, 1) <= 1 - o->confidence)) ||
           lies_above(&d->recent, o->min_chunks) ||
           accuracy_withholds(o, &d->accuracy);
}

/* --- sentences ---------------------------------------------------------- */

/* The domain farthest above its limit, or nearest to it. */
static const struct gate_domain *worst_of(const struct gate_domain *tests,
                                          size_t n)
{
    const struct gate_domain *w = n ? &tests[0] : NULL;

    for (size_t i = 1; i < n; i++)
        if (tests[i].all.regression - tests[i].all.limit >
            w->all.regression - w->all.limit)
            w = &tests[i];
    return w;
}

static double excess(const struct gate_part *p)
{
    return p->chunks >= GATE_FEWEST_CHUNKS && p->limit > 0
               ? p->regression / p->limit
               : -INFINITY;
}

static void explain_part(const char *what, const char *name,
                         const struct gate_part *p, char *out, size_t size)
{
    snprintf(out, size, "%s%s: %+.4f bits per byte, limit %+.4f, %lld segments",
             name, what, p->regression, p->limit, (long long)p->chunks);
}

static void explain_accuracy(const struct gate_accuracy *a, char *out,
                             size_t size)
{
    snprintf(out, size,
             "accuracy from %.3f to %.3f: %lld labels lost, %lld gained, of "
             "%lld",
             a->reference, a->candidate, (long long)a->lost,
             (long long)a->gained, (long long)a->labelled);
}

/* The reason is the test farthest beyond its limit; when none is, the domain
 * nearest to its limit. */
static void explain(const struct gate_options *o,
                    const struct gate_domain *tests, size_t n,
                    struct gate_decision *d)
{
    const struct gate_domain *w = worst_of(tests, n), *old = NULL;
    bool passed = d->verdict == GATE_PASS;
    char *out = d->reason;
    size_t size = sizeof d->reason;
    double most =
        w && w->all.limit > 0 ? fmax(1, w->all.regression / w->all.limit) : 1;

    for (size_t i = 0; i < n; i++) {
        if (excess(&tests[i].before) <= most)
            continue;
        old = &tests[i];
        most = excess(&old->before);
    }
    if (d->waived)
        snprintf(out, size,
                 "%sthe mean over domains improves by %.4f bits per byte; %s "
                 "changes by %+.4f",
                 o->patience ? "after many refusals: " : "",
                 -d->mean_regression, w->name, w->all.regression);
    else if (!passed && accuracy_withholds(o, &d->accuracy))
        explain_accuracy(&d->accuracy, out, size);
    else if (!passed && excess(&d->recent) > most)
        explain_part("", "the newest segments", &d->recent, out, size);
    else if (!passed && excess(&d->few_before) >= most)
        explain_part("", "the few segments older than the reference",
                     &d->few_before, out, size);
    else if (old)
        explain_part(", segments older than the reference", old->name,
                     &old->before, out, size);
    else if (w)
        snprintf(out, size,
                 "%s: %+.4f bits per byte (from %.4f to %.4f), limit %+.4f, "
                 "%lld segments",
                 w->name, w->all.regression, w->all.reference, w->all.candidate,
                 w->all.limit, (long long)w->all.chunks);
    else if (d->accuracy.labelled >= GATE_FEWEST_CHUNKS)
        explain_accuracy(&d->accuracy, out, size);
    else
        snprintf(out, size, "too few held-out segments yet (fewer than %d)",
                 GATE_FEWEST_CHUNKS);
    out[utf8_whole(out, strlen(out))] = '\0'; /* a name may be cut */
}

/* The number of segments that would decide, if everything else stays: the
 * standard error falls with the root of their number. */
static void explain_waiting(const struct gate_options *o,
                            const struct gate_domain *tests, size_t n,
                            struct gate_decision *d)
{
    const struct gate_domain *w = worst_of(tests, n);
    char *out = d->waits_for;
    size_t size = sizeof d->waits_for;
    double level = 1 - (1 - o->confidence) / (double)(n ? n : 1);

    if (n == 0 && d->accuracy.labelled < GATE_FEWEST_CHUNKS) {
        snprintf(out, size, "%d held-out segments", GATE_FEWEST_CHUNKS);
    } else if (d->above) {
        snprintf(out, size,
                 "the next version, which fails if it exceeds a limit, too: %s",
                 d->reason);
    } else if (!w || is_withheld(o, tests, n, d) ||
               w->all.regression >= w->all.limit) {
        snprintf(out, size, "a version that is not worse: %s", d->reason);
    } else {
        double need = tails_normal_quantile(level) * w->all.error /
                      (w->all.limit - w->all.regression);
        double now = (double)w->all.chunks;

        snprintf(out, size,
                 "more held-out segments of %s (about %.0f, there are %.0f), "
                 "or a clearer improvement",
                 w->name, fmax(now * need * need, now + 1), now);
    }
    out[utf8_whole(out, strlen(out))] = '\0';
}

/* --- the decision ------------------------------------------------------- */

enum gate_patience gate_choose_patience(int64_t refused, int64_t tokens_before,
                                        int64_t tokens_since)
{
    if (refused < GATE_NEW_DOMAIN_AFTER)
        return GATE_STRICT;
    if (refused < GATE_CHANGED_STREAM_AFTER ||
        (tokens_since < tokens_before &&
         tokens_since < GATE_CHANGED_STREAM_TOKENS))
        return GATE_NEW_DOMAIN;
    return GATE_CHANGED_STREAM;
}

void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *d)
{
    struct gate_domain *tests = xcalloc(n_domains + 1, sizeof *tests);
    double alpha = 1 - options->confidence, level, most;
    bool withheld, protected_above = false, estimate_above = false;
    size_t n;

    /* The estimates. */
    memset(d, 0, sizeof *d);
    estimate_domains(options, chunks, n_chunks, domains, n_domains);
    d->few_before =
        estimate_few_before(options, chunks, n_chunks, domains, n_domains);
    d->recent =
        estimate(options, chunks, n_chunks, (struct selection){.role = RECENT});
    d->since = estimate(options, chunks, n_chunks,
                        (struct selection){.role = SINCE});
    d->since_above = shown_excess(&d->since, GATE_FEWEST_SINCE,
                                  alpha * GATE_FAIL_LEVEL) > 0;
    d->newest_better = is_better_on_newest(chunks, n_chunks);
    d->accuracy = count_labels(options, chunks, n_chunks, true);
    if (d->accuracy.labelled < options->min_chunks)
        d->accuracy = count_labels(options, chunks, n_chunks, false);
    d->mean_bound = bound_mean(options, domains, n_domains, GATE_STRICT,
                               &d->mean_regression);
    d->old_regression = mean_before(domains, n_domains);

    /* Damage: does a test show that its limit is exceeded? The first step of
     * Holm's procedure, over two tests a domain, `recent` and accuracy. */
    n = make_tests(options, chunks, n_chunks, domains, n_domains, tests);
    level = alpha * GATE_FAIL_LEVEL / (double)(2 * n + 2);
    most = fmax(shown_excess(&d->recent, options->min_chunks, level),
                accuracy_excess(&d->accuracy, level));
    for (size_t i = 0; i < n; i++) {
        double above =
            fmax(shown_excess(&tests[i].all, GATE_FEWEST_CHUNKS, level),
                 shown_excess(&tests[i].before, options->min_chunks, level));

        protected_above |= above > 0 && tests[i].is_protected;
        estimate_above |= tests[i].all.regression > tests[i].all.limit;
        most = fmax(most, above);
    }
    d->above = most > 0;
    withheld = is_withheld(options, tests, n, d);

    /* The verdict of the tests, before the mean counts. */
    if (d->above)
        d->verdict = most >= GATE_GROSS || options->doubted ? GATE_FAIL
                                                            : GATE_INCONCLUSIVE;
    else if (n == 0 && d->accuracy.labelled < GATE_FEWEST_CHUNKS)
        d->verdict = GATE_INCONCLUSIVE;
    else
        d->verdict = !withheld && all_below(tests, n, false, alpha)
                         ? GATE_PASS
                         : GATE_INCONCLUSIVE;

    /* Does a mean that improves outweigh the rest (enum gate_patience)? */
    if (d->verdict != GATE_PASS && n > 0 &&
        n_chunks >= (size_t)options->min_chunks && !protected_above &&
        all_below(tests, n, true, alpha)) {
        bool recent_improves =
            d->recent.chunks < GATE_FEWEST_CHUNKS ||
            d->recent.regression + tails_normal_quantile(options->confidence) *
                                       d->recent.error <
                0;
        double mean;

        d->waived = d->mean_bound < 0 && !d->above && !withheld &&
                    !estimate_above;
        if (options->patience != GATE_STRICT && recent_improves &&
            !accuracy_withholds(options, &d->accuracy) &&
            bound_mean(options, domains, n_domains, options->patience,
                       &mean) < 0)
            d->waived = true;
        if (d->waived)
            d->verdict = GATE_PASS;
    }

    explain(options, tests, n, d);
    if (d->verdict == GATE_INCONCLUSIVE)
        explain_waiting(options, tests, n, d);
    free(tests);
}

/* --- as JSON ------------------------------------------------------------ */

static json_t *part_json(const struct gate_part *p)
{
    if (p->chunks == 0)
        return json_null();
    return json_pack("{s:I, s:o, s:o, s:o}", "chunks", (json_int_t)p->chunks,
                     "regression", json_value_real(p->regression), "error",
                     json_value_real(p->error), "limit",
                     json_value_real(p->limit));
}

static json_t *accuracy_json(const struct gate_accuracy *a)
{
    if (a->labelled == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "labelled",
                     (json_int_t)a->labelled, "lost", (json_int_t)a->lost,
                     "gained", (json_int_t)a->gained, "serving",
                     json_value_real(a->reference), "candidate",
                     json_value_real(a->candidate), "limit",
                     json_value_real(a->limit), "p", json_value_real(a->p));
}

static json_t *domain_json(const struct gate_domain *d)
{
    json_t *json = part_json(&d->all);

    json_object_set_new(json, "domain", json_string(d->name));
    json_object_set_new(json, "serving", json_value_real(d->all.reference));
    json_object_set_new(json, "candidate", json_value_real(d->all.candidate));
    json_object_set_new(json, "protected", json_boolean(d->is_protected));
    json_object_set_new(json, "pooled", json_boolean(d->pooled));
    json_object_set_new(json, "before", part_json(&d->before));
    return json;
}

json_t *gate_to_json(const struct gate_options *options,
                     const struct gate_domain *domains, size_t n_domains,
                     const struct gate_decision *d, int64_t reference)
{
    static const char *const names[] = {"pass", "fail", "inconclusive"};
    json_t *list = json_array();

    for (size_t i = 0; i < n_domains; i++)
        if (domains[i].all.chunks)
            json_array_append_new(list, domain_json(&domains[i]));
    return json_pack(
        "{s:s, s:s, s:o, s:b, s:I, s:f, s:f, s:o, s:o, s:o, s:b, s:i, s:o, "
        "s:o, s:o, s:b, s:o, s:o}",
        "verdict", names[d->verdict], "reason", d->reason, "waits_for",
        d->waits_for[0] ? json_string(d->waits_for) : json_null(),
        "above_limit", d->above, "against", (json_int_t)reference,
        "max_regression", options->max_regression, "confidence",
        options->confidence, "mean_regression",
        json_value_real(d->mean_regression), "mean_bound",
        json_value_real(d->mean_bound), "old_regression",
        json_value_real(d->old_regression), "waived", d->waived, "patience",
        (int)options->patience, "recent", part_json(&d->recent),
        "little_before", part_json(&d->few_before), "since",
        part_json(&d->since), "newest_better",
        d->newest_better, "accuracy", accuracy_json(&d->accuracy), "domains",
        list);
}
