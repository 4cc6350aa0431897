/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/xalloc.h"

#define LN2 0.69314718055994530942

const char *gate_verdict_name(enum gate_verdict v)
{
    static const char *const names[] = {"pass", "fail", "inconclusive"};

    return names[v];
}

/* --- one test ----------------------------------------------------------- */

/* How likely the data would be if the regression were at its limit: small p
 * speaks for "below" or for "above". */
static double p_of(double distance, double error, int64_t chunks)
{
    if (error <= 0)
        return distance > 0 ? 0 : 1;
    return gate_student_tail(distance / error, (double)chunks - 1);
}

static double p_below(const struct gate_domain *d)
{
    return p_of(d->limit - d->regression, d->error, d->chunks);
}

static double p_above(const struct gate_part *p, double limit)
{
    return p->chunks < GATE_FEWEST_CHUNKS
               ? 1
               : p_of(p->regression - limit, p->error, p->chunks);
}

/* Ratio estimate over the chunks marked in `use`; bits of the older one and of
 * the candidate out. */
static void estimate(const struct gate_chunk *chunks, size_t n,
                     const bool *use, struct gate_part *part, double bits[2])
{
    double squares = 0;

    *part = (struct gate_part){0};
    bits[0] = bits[1] = 0;
    for (size_t i = 0; i < n; i++) {
        if (!use[i])
            continue;
        part->chunks++;
        part->bytes += chunks[i].bytes;
        bits[0] += chunks[i].serving_nats / LN2;
        bits[1] += chunks[i].candidate_nats / LN2;
    }
    part->regression =
        part->bytes > 0 ? (bits[1] - bits[0]) / part->bytes : NAN;
    for (size_t i = 0; i < n; i++) {
        double r;

        if (!use[i])
            continue;
        r = (chunks[i].candidate_nats - chunks[i].serving_nats) / LN2 -
            part->regression * chunks[i].bytes;
        squares += r * r;
    }
    part->error = part->chunks > 1
                      ? sqrt(squares * (double)part->chunks /
                             (double)(part->chunks - 1)) /
                            part->bytes
                      : INFINITY;
}

/* The candidate against what serves. */
static void estimate_since(const struct gate_chunk *chunks, size_t n,
                           const bool *in, struct gate_part *since)
{
    struct gate_chunk *copies = xcalloc(n + 1, sizeof *copies);
    bool *use = xcalloc(n + 1, sizeof *use);
    double bits[2];

    for (size_t i = 0; i < n; i++) {
        copies[i] = chunks[i];
        copies[i].serving_nats = chunks[i].served_nats;
        use[i] = in[chunks[i].domain] && !chunks[i].only_recent;
    }
    estimate(copies, n, use, since, bits);
    free(copies);
    free(use);
}

/* Everything about one domain, or a pool of them: in[] says which. */
static void estimate_domain(const struct gate_options *o,
                            const struct gate_chunk *chunks, size_t n,
                            const bool *in, struct gate_domain *d)
{
    bool *use = xcalloc(n + 1, sizeof *use);
    struct gate_part all;
    double bits[2];

    for (size_t i = 0; i < n; i++)
        use[i] = in[chunks[i].domain] && !chunks[i].only_recent;
    estimate(chunks, n, use, &all, bits);
    d->chunks = all.chunks;
    d->bytes = all.bytes;
    d->regression = all.regression;
    d->error = all.error;
    d->serving = all.bytes > 0 ? bits[0] / all.bytes : NAN;
    d->candidate = all.bytes > 0 ? bits[1] / all.bytes : NAN;
    d->limit = o->max_regression * d->serving;
    for (size_t i = 0; i < n; i++)
        use[i] = use[i] && chunks[i].before;
    estimate(chunks, n, use, &d->before, bits);
    d->before.limit = o->max_regression * bits[0] / d->before.bytes;
    if (d->known_since)
        estimate_since(chunks, n, in, &d->since);
    free(use);
}

static void estimate_domains(const struct gate_options *o,
                             const struct gate_chunk *chunks, size_t n,
                             struct gate_domain *domains, size_t n_domains)
{
    bool *in = xcalloc(n_domains + 1, sizeof *in);

    for (size_t d = 0; d < n_domains; d++) {
        in[d] = true;
        estimate_domain(o, chunks, n, in, &domains[d]);
        in[d] = false;
        domains[d].pooled = domains[d].chunks < o->min_chunks;
    }
    free(in);
}

/* With its limit; use is freed. */
static void estimate_part(const struct gate_options *o,
                          const struct gate_chunk *chunks, size_t n, bool *use,
                          struct gate_part *part)
{
    double bits[2];

    estimate(chunks, n, use, part, bits);
    part->limit = o->max_regression * bits[0] / part->bytes;
    free(use);
}

static void estimate_recent(const struct gate_options *o,
                            const struct gate_chunk *chunks, size_t n,
                            struct gate_part *recent)
{
    bool *use = xcalloc(n + 1, sizeof *use);

    for (size_t i = 0; i < n; i++)
        use[i] = chunks[i].recent;
    estimate_part(o, chunks, n, use, recent);
}

static void estimate_all_since(const struct gate_options *o,
                               const struct gate_chunk *chunks, size_t n,
                               struct gate_part *since)
{
    bool *use = xcalloc(n + 1, sizeof *use);

    for (size_t i = 0; i < n; i++)
        use[i] = !chunks[i].before;
    estimate_part(o, chunks, n, use, since);
}

static bool is_better_on_newest(const struct gate_chunk *chunks, size_t n)
{
    double nats = 0;
    int gained = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!c->newest || c->before)
            continue;
        if (c->bytes > 0)
            nats += c->candidate_nats - c->serving_nats;
        if (c->labelled)
            gained += c->candidate_right - c->serving_right;
    }
    return nats < 0 || (!(nats > 0) && gained > 0);
}

/* What was there before, of the domains where that is too little for a test of
 * its own. */
static void estimate_little(const struct gate_options *o,
                            const struct gate_chunk *chunks, size_t n,
                            const struct gate_domain *domains,
                            struct gate_part *little)
{
    bool *use = xcalloc(n + 1, sizeof *use);

    for (size_t i = 0; i < n; i++)
        use[i] = chunks[i].before && !chunks[i].only_recent &&
                 domains[chunks[i].domain].before.chunks < o->min_chunks;
    estimate_part(o, chunks, n, use, little);
}

/* Domains large enough alone, then the pool of the others. Returns how many
 * tests there are. */
static size_t make_tests(const struct gate_options *o,
                         const struct gate_chunk *chunks, size_t n,
                         const struct gate_domain *domains, size_t n_domains,
                         struct gate_domain *tests)
{
    bool *in = xcalloc(n_domains + 1, sizeof *in);
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
    estimate_domain(o, chunks, n, in, &pool);
    if (pool.chunks >= GATE_FEWEST_CHUNKS)
        tests[n_tests++] = pool;
    free(in);
    return n_tests;
}

/* --- labels ------------------------------------------------------------- */

static void count_labels(const struct gate_options *o,
                         const struct gate_chunk *chunks, size_t n,
                         bool only_before, struct gate_accuracy *a)
{
    double serving = 0, candidate = 0;

    *a = (struct gate_accuracy){0};
    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!c->labelled || c->only_recent || (only_before && !c->before))
            continue;
        a->labelled++;
        serving += c->serving_right;
        candidate += c->candidate_right;
        a->lost += c->serving_right && !c->candidate_right;
        a->gained += !c->serving_right && c->candidate_right;
    }
    a->serving = a->labelled ? serving / (double)a->labelled : NAN;
    a->candidate = a->labelled ? candidate / (double)a->labelled : NAN;
    a->limit = o->max_regression * a->serving;
    a->p = gate_coin_tail(a->lost, a->lost + a->gained);
}

static void look_at_labels(const struct gate_options *o,
                           const struct gate_chunk *chunks, size_t n,
                           struct gate_accuracy *a)
{
    count_labels(o, chunks, n, true, a);
    if (a->labelled < o->min_chunks)
        count_labels(o, chunks, n, false, a);
}

static bool accuracy_is_down(const struct gate_accuracy *a)
{
    return a->labelled > 0 && a->serving - a->candidate > a->limit;
}

/* After many refusals it has to be shown. */
static bool accuracy_withholds(const struct gate_options *o,
                               const struct gate_accuracy *a)
{
    return accuracy_is_down(a) &&
           (o->patience == GATE_PATIENT || a->p <= 1 - o->confidence);
}

/* --- all tests together ------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Holm: is every one of the domains (of those that are protected) shown to be
 * below its limit? */
static bool all_below(const struct gate_domain *tests, size_t n,
                      bool only_protected, double alpha)
{
    double *p = xcalloc(n + 1, sizeof *p);
    bool below = true;
    size_t m = 0;

    for (size_t i = 0; i < n; i++)
        if (!only_protected || tests[i].is_protected)
            p[m++] = p_below(&tests[i]);
    qsort(p, m, sizeof *p, by_value);
    for (size_t k = 0; k < m; k++)
        below &= p[k] <= alpha / (double)(m - k);
    free(p);
    return below;
}

/* How far a part is shown to be above its limit, in units of it; 0: it is not
 * shown. */
static double shown_above(const struct gate_part *p, int64_t fewest,
                          double level)
{
    if (p->chunks < fewest || p_above(p, p->limit) > level)
        return 0;
    return p->limit > 0 ? p->regression / p->limit : INFINITY;
}

static struct gate_part all_of(const struct gate_domain *d)
{
    return (struct gate_part){d->chunks, d->bytes, d->regression, d->error,
                              d->limit};
}

/* Few segments from before say nothing that all of them do not. */
static double domain_above(const struct gate_options *o,
                           const struct gate_domain *t, double level)
{
    struct gate_part all = all_of(t);

    return fmax(shown_above(&all, GATE_FEWEST_CHUNKS, level),
                shown_above(&t->before, o->min_chunks, level));
}

static double accuracy_above(const struct gate_accuracy *a, double level)
{
    if (!accuracy_is_down(a) || a->p > level)
        return 0;
    return a->limit > 0 ? (a->serving - a->candidate) / a->limit : INFINITY;
}

/* How far is what is farthest above its limit? The first step of Holm's
 * procedure decides whether anything is; 0: nothing. */
static double most_above(const struct gate_options *o,
                         const struct gate_domain *tests, size_t n,
                         struct gate_decision *d, double alpha)
{
    double level = alpha / (double)(2 * n + 2);
    double most = fmax(shown_above(&d->recent, o->min_chunks, level),
                       accuracy_above(&d->accuracy, level));

    for (size_t i = 0; i < n; i++) {
        double above = domain_above(o, &tests[i], level);

        d->protected_above |= above > 0 && tests[i].is_protected;
        most = fmax(most, above);
    }
    return most;
}

static bool lies_above(const struct gate_part *p, int64_t fewest)
{
    return p->chunks >= fewest && p->regression > p->limit;
}

/* Two segments are soon above it by chance: after many refusals it has to be
 * shown. */
static bool little_withholds(const struct gate_options *o,
                             const struct gate_part *little)
{
    return lies_above(little, GATE_FEWEST_CHUNKS) &&
           (o->patience == GATE_PATIENT ||
            p_above(little, little->limit) <= 1 - o->confidence);
}

/* Not shown, but what there is to see is above a limit. */
static bool any_held_up(const struct gate_options *o,
                        const struct gate_domain *tests, size_t n,
                        const struct gate_decision *d)
{
    for (size_t i = 0; i < n; i++)
        if (lies_above(&tests[i].before, o->min_chunks))
            return true;
    return little_withholds(o, &d->little) ||
           lies_above(&d->recent, o->min_chunks) ||
           accuracy_withholds(o, &d->accuracy);
}

/* The regression of a domain that counts in the mean: what was there before,
 * where there is a standard error of it. False: it does not count. */
static bool counts_as(const struct gate_domain *d, bool before,
                      struct gate_part *part)
{
    if (before && d->before.chunks >= GATE_FEWEST_CHUNKS)
        *part = d->before;
    else
        *part = before && d->known_since ? d->since : all_of(d);
    return part->chunks >= GATE_FEWEST_CHUNKS && part->bytes > 0;
}

/* The mean over domains, weighted by what the stream brings, and its bound. */
static void weigh(const struct gate_options *o,
                  const struct gate_domain *domains, size_t n, bool before,
                  double *mean_out, double *bound_out)
{
    double total = 0, mean = 0, variance = 0;
    struct gate_part part;

    for (size_t d = 0; d < n; d++)
        if (counts_as(&domains[d], before, &part))
            total += domains[d].traffic;
    for (size_t d = 0; d < n && total > 0; d++) {
        double w = domains[d].traffic / total;

        if (!counts_as(&domains[d], before, &part))
            continue;
        mean += w * part.regression;
        variance += w * w * part.error * part.error;
    }
    *mean_out = total > 0 ? mean : NAN;
    *bound_out = total > 0 ? mean + gate_normal_quantile(o->confidence) *
                                        sqrt(variance)
                           : NAN;
}

/* The mean over what was there before, domains that are new left out. */
static double weigh_old(const struct gate_domain *domains, size_t n)
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

static double recent_bound(const struct gate_options *o,
                           const struct gate_part *r, double sign)
{
    return r->regression +
           sign * gate_normal_quantile(o->confidence) * r->error;
}

/* The mean improves: may that outweigh what is not shown? */
static bool may_waive(const struct gate_options *o,
                      const struct gate_domain *tests, size_t n,
                      const struct gate_decision *d)
{
    if (!(d->mean_bound < 0) || d->above || any_held_up(o, tests, n, d))
        return false;
    for (size_t i = 0; i < n; i++)
        if (tests[i].regression > tests[i].limit)
            return false;
    return true;
}

/* Refused for long, and the stream is better served by the candidate. */
static bool may_give_in(const struct gate_options *o,
                        const struct gate_domain *domains, size_t n,
                        const struct gate_decision *d)
{
    double mean, bound;

    if (o->patience == GATE_PATIENT || accuracy_withholds(o, &d->accuracy))
        return false;
    weigh(o, domains, n, o->patience == GATE_IMPATIENT, &mean, &bound);
    return bound < 0 && (d->recent.chunks < GATE_FEWEST_CHUNKS ||
                         recent_bound(o, &d->recent, 1) < 0);
}

/* --- in words ----------------------------------------------------------- */

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

/* How far a part is beyond its limit, in units of it. */
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
             a->serving, a->candidate, (long long)a->lost,
             (long long)a->gained, (long long)a->labelled);
}

static void explain_domain(const struct gate_domain *w, char *out, size_t size)
{
    snprintf(out, size,
             "%s: %+.4f bits per byte (from %.4f to %.4f), limit %+.4f, %lld "
             "segments",
             w->name, w->regression, w->serving, w->candidate, w->limit,
             (long long)w->chunks);
}

/* The reason is whatever is farthest beyond its limit; when nothing is, the
 * domain that comes nearest to it. */
static void explain(const struct gate_options *o,
                    const struct gate_domain *tests, size_t n,
                    struct gate_decision *d)
{
    const struct gate_domain *w = n ? worst(tests, n) : NULL;
    const struct gate_domain *old = NULL;
    char *out = d->reason;
    size_t size = sizeof d->reason;
    double most = w && w->limit > 0 ? fmax(1, w->regression / w->limit) : 1;

    for (size_t i = 0; i < n; i++) {
        if (excess(&tests[i].before) <= most)
            continue;
        old = &tests[i];
        most = excess(&old->before);
    }
    if (d->waived)
        snprintf(out, size,
                 "%sthe mean over domains improves by %.4f bits per byte; %s "
                 "moves by %+.4f",
                 o->patience ? "refused for long, and " : "",
                 -d->mean_regression, w->name, w->regression);
    else if (d->verdict != GATE_PASS && accuracy_withholds(o, &d->accuracy))
        explain_accuracy(&d->accuracy, out, size);
    else if (d->verdict != GATE_PASS && excess(&d->recent) > most)
        explain_part("", "the newest segments", &d->recent, out, size);
    else if (d->verdict != GATE_PASS && excess(&d->little) >= most)
        explain_part("", "the little that was there before", &d->little, out,
                     size);
    else if (old)
        explain_part(", what was there before", old->name, &old->before, out,
                     size);
    else if (w)
        explain_domain(w, out, size);
    else if (d->accuracy.labelled >= GATE_FEWEST_CHUNKS)
        explain_accuracy(&d->accuracy, out, size);
    else
        snprintf(out, size, "too few held-out segments yet (fewer than %d)",
                 GATE_FEWEST_CHUNKS);
}

/* As many segments as would show it, if all went on as it is: the standard
 * error falls with the root of their number. */
static void say_what_it_waits_for(const struct gate_options *o,
                                  const struct gate_domain *tests, size_t n,
                                  struct gate_decision *d)
{
    const struct gate_domain *w = n ? worst(tests, n) : NULL;
    char *out = d->waits_for;
    size_t size = sizeof d->waits_for;
    double level = 1 - (1 - o->confidence) / (double)(n ? n : 1);

    if (n == 0 && d->accuracy.labelled < GATE_FEWEST_CHUNKS) {
        snprintf(out, size, "%d held-out segments", GATE_FEWEST_CHUNKS);
    } else if (d->above) {
        snprintf(out, size, "the next version, which fails if it is above a "
                            "limit, too: %s", d->reason);
    } else if (!w || any_held_up(o, tests, n, d) ||
               w->regression >= w->limit) {
        snprintf(out, size, "a version that is not worse: %s", d->reason);
    } else {
        double need = gate_normal_quantile(level) * w->error /
                      (w->limit - w->regression);
        double chunks = (double)w->chunks * need * need;

        snprintf(out, size,
                 "more held-out segments of %s (about %.0f, there are %lld), "
                 "or a clearer improvement",
                 w->name, fmax(chunks, (double)w->chunks + 1),
                 (long long)w->chunks);
    }
}

/* Names may be long, and are cut: not within a character. */
static void cut_whole(char *text)
{
    text[utf8_whole(text, strlen(text))] = '\0';
}

/* --- when it was refused for long --------------------------------------- */

enum gate_patience gate_choose_patience(int64_t refused, int64_t tokens_before,
                                        int64_t tokens_since)
{
    if (refused < GATE_IMPATIENT_AFTER)
        return GATE_PATIENT;
    if (refused < GATE_RESIGNED_AFTER ||
        (tokens_since < tokens_before && tokens_since < GATE_RESIGNED_TOKENS))
        return GATE_IMPATIENT;
    return GATE_RESIGNED;
}

/* --- the decision ------------------------------------------------------- */

static enum gate_verdict decide(const struct gate_options *o,
                                const struct gate_domain *tests, size_t n,
                                struct gate_decision *d)
{
    double alpha = 1 - o->confidence;
    double most = most_above(o, tests, n, d, alpha * GATE_FAIL_LEVEL);

    d->since_above = shown_above(&d->since, GATE_FEWEST_SINCE,
                                 alpha * GATE_FAIL_LEVEL) > 0;
    d->above = most > 0;
    if (d->above)
        return most >= GATE_GROSS || o->doubted ? GATE_FAIL
                                                : GATE_INCONCLUSIVE;
    if (n == 0 && d->accuracy.labelled < GATE_FEWEST_CHUNKS)
        return GATE_INCONCLUSIVE;
    return all_below(tests, n, false, alpha) && !any_held_up(o, tests, n, d)
               ? GATE_PASS
               : GATE_INCONCLUSIVE;
}

void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *d)
{
    struct gate_domain *tests = xcalloc(n_domains + 1, sizeof *tests);
    double alpha = 1 - options->confidence;
    size_t n;

    memset(d, 0, sizeof *d);
    estimate_domains(options, chunks, n_chunks, domains, n_domains);
    estimate_recent(options, chunks, n_chunks, &d->recent);
    estimate_all_since(options, chunks, n_chunks, &d->since);
    d->newest_better = is_better_on_newest(chunks, n_chunks);
    estimate_little(options, chunks, n_chunks, domains, &d->little);
    look_at_labels(options, chunks, n_chunks, &d->accuracy);
    n = make_tests(options, chunks, n_chunks, domains, n_domains, tests);
    for (size_t i = 0; i < n;) /* preset linear has no loss */
        if (tests[i].bytes > 0)
            i++;
        else
            tests[i] = tests[--n];
    weigh(options, domains, n_domains, true, &d->mean_regression,
          &d->mean_bound);
    d->old_regression = weigh_old(domains, n_domains);
    d->verdict = decide(options, tests, n, d);
    if (n && d->verdict != GATE_PASS &&
        n_chunks >= (size_t)options->min_chunks &&
        all_below(tests, n, true, alpha) && !d->protected_above)
        d->waived = may_waive(options, tests, n, d) ||
                    may_give_in(options, domains, n_domains, d);
    if (d->waived)
        d->verdict = GATE_PASS;
    explain(options, tests, n, d);
    cut_whole(d->reason);
    if (d->verdict == GATE_INCONCLUSIVE)
        say_what_it_waits_for(options, tests, n, d);
    cut_whole(d->waits_for);
    free(tests);
}
