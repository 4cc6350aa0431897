/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions stand in the order in which gate_decide, near the end, calls
 * them.
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

/* The reference's loss, to which changes are relative. */
static double unit(const struct gate_chunk *c)
{
    return fmax(c->reference_nats, GATE_FLOOR * LN2 * c->bytes);
}

/* The relative change of a segment, weighted by its bytes. */
static double change(const struct gate_chunk *c, double clip)
{
    double x = (c->candidate_nats - c->reference_nats) / unit(c);

    return c->bytes > 0 ? c->bytes * fmax(-clip, fmin(x, clip)) : 0;
}

struct gate_part gate_estimate(const struct gate_chunk *chunks, size_t n,
                               const bool *selected, double clip)
{
    struct gate_part p = {.limit = NAN};
    double mean = 0, squares = 0;

    for (size_t i = 0; i < n; i++) {
        if (!selected[i])
            continue;
        p.chunks++;
        p.bytes += chunks[i].bytes;
        p.candidate += chunks[i].candidate_nats / LN2;
        p.reference += chunks[i].reference_nats / LN2;
        p.unit += unit(&chunks[i]) / LN2;
        mean += change(&chunks[i], clip);
    }
    p.candidate /= p.bytes; /* NaN without bytes */
    p.reference /= p.bytes;
    p.unit /= p.bytes;
    mean /= p.bytes;
    for (size_t i = 0; i < n; i++) {
        double r = change(&chunks[i], clip) - mean * chunks[i].bytes;

        if (selected[i])
            squares += r * r;
    }
    p.regression = p.unit * mean;
    p.degrees = (double)p.chunks - 1;
    p.error = p.chunks > 1 ? p.unit / p.bytes *
                                 sqrt(squares * (double)p.chunks / p.degrees)
                           : INFINITY;
    return p;
}

/* The share s of the old text, if the text has changed. */
static double old_share(const struct gate_domain *g)
{
    if (g->is_new || g->is_protected ||
        g->learned_since <= GATE_CHANGED * g->old_traffic)
        return 1;
    return g->old_traffic / (g->old_traffic + g->learned_since);
}

/* Estimates a domain on its segments from before the reference, or on all of
 * them if it is new. */
static void estimate_domain(const struct gate_options *o,
                            const struct gate_chunk *chunks, size_t n,
                            int32_t domain, bool *selected,
                            struct gate_domain *g)
{
    struct gate_part after;
    bool improved;

    for (size_t i = 0; i < n; i++)
        selected[i] = chunks[i].domain == domain && !chunks[i].before;
    after = gate_estimate(chunks, n, selected, 1);
    for (size_t i = 0; i < n; i++)
        selected[i] = chunks[i].domain == domain && chunks[i].before;
    g->part = gate_estimate(chunks, n, selected, GATE_CLIP);
    g->is_new = g->part.chunks == 0;
    if (g->is_new)
        g->part = after;
    improved = after.chunks >= GATE_FEWEST_CHUNKS &&
               after.regression < -o->max_regression * after.unit;
    g->part.share =
        improved && g->part.regression > 0 ? old_share(g) : 1;
    g->part.regression *= g->part.share;
    g->part.with_after = g->part.regression;
    if (g->part.share < 1)
        g->part.with_after += (1 - g->part.share) * after.regression;
}

/* The squared deviations of a domain's relative changes: (n - 1) v. */
static double sum_of_squares(const struct gate_part *p)
{
    double relative = p->error / p->unit;

    if (p->chunks < 2 || !(p->unit > 0))
        return 0;
    return p->degrees * (double)p->chunks * relative * relative;
}

/* Moves the variance of each domain towards that of the other domains, and
 * multiplies the error by the share. */
static void moderate_errors(struct gate_domain *domains, size_t n)
{
    double common = 0, degrees = 0;

    for (size_t i = 0; i < n; i++) {
        common += sum_of_squares(&domains[i].part);
        degrees += domains[i].part.chunks > 1 ? domains[i].part.degrees : 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct gate_part *p = &domains[i].part;
        double own = sum_of_squares(p), others = degrees, prior;

        if (p->chunks > 1)
            others -= p->degrees;
        prior = fmin(GATE_PRIOR, others);
        if (prior > 0) {
            p->degrees += prior;
            own += prior * (common - own) / others;
            p->error = p->unit * sqrt(own / p->degrees / (double)p->chunks);
        }
        p->error *= p->share;
    }
}

/* The mean over domains, weighted by recent traffic. */
static struct gate_part average(const struct gate_options *o,
                                const struct gate_domain *domains, size_t n)
{
    struct gate_part mean = {0};
    double total = 0, variance = 0, squares = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gate_part *p = &domains[i].part;
        double w = domains[i].traffic, q = w * w * p->error * p->error;

        if (!(p->bytes > 0) || !(w > 0))
            continue;
        total += w;
        mean.chunks += p->chunks;
        mean.bytes += p->bytes;
        mean.candidate += w * p->candidate;
        mean.reference += w * p->reference;
        mean.unit += w * p->unit;
        mean.regression += w * p->regression;
        mean.share += w * p->share;
        mean.with_after += w * p->with_after;
        variance += q;
        squares += p->degrees > 0 ? q * q / p->degrees : INFINITY;
    }
    mean.candidate /= total; /* NaN: no domain counts */
    mean.reference /= total;
    mean.unit /= total;
    mean.regression /= total;
    mean.share /= total;
    mean.with_after /= total;
    mean.error = sqrt(variance) / total;
    mean.degrees = squares > 0 ? variance * variance / squares : INFINITY;
    mean.limit = o->max_regression * mean.unit;
    return mean;
}

static struct gate_accuracy count_labels(const struct gate_options *o,
                                         const struct gate_chunk *chunks,
                                         size_t n,
                                         const struct gate_domain *domains)
{
    struct gate_accuracy a = {0};
    double reference = 0, candidate = 0, share = 0;
    int64_t lost = 0, gained = 0; /* of those that arrived after */

    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];
        const struct gate_domain *g = &domains[c->domain];
        bool is_lost = c->reference_right && !c->candidate_right;
        bool is_gained = !c->reference_right && c->candidate_right;

        if (!c->labelled)
            continue;
        if (!c->before && !g->is_new) {
            lost += is_lost && !g->is_protected;
            gained += is_gained && !g->is_protected;
            continue;
        }
        a.labelled++;
        reference += c->reference_right;
        candidate += c->candidate_right;
        a.lost += is_lost;
        a.gained += is_gained;
        share += old_share(g);
    }
    a.reference = a.labelled ? reference / (double)a.labelled : NAN;
    a.candidate = a.labelled ? candidate / (double)a.labelled : NAN;
    a.limit = o->max_regression * a.reference;
    a.share = 1;
    if (a.labelled && tails_coin(gained, lost + gained) <= 1 - o->confidence)
        a.share = fmax(share / (double)a.labelled, GATE_LEAST_SHARE);
    a.allowed = a.labelled ? (int64_t)(a.limit / a.share * (double)a.labelled)
                           : 0;
    a.p = tails_coin(a.lost - a.allowed, a.lost - a.allowed + a.gained);
    return a;
}

/* --- tests -------------------------------------------------------------- */

bool gate_is_exceeded(const struct gate_part *p, double level)
{
    if (!(p->regression > fmax(p->limit, 0)) || !isfinite(p->error) ||
        !(p->degrees > 0))
        return false;
    return p->error <= 0 ||
           tails_student(p->regression / p->error, p->degrees) <= level;
}

/* --- the decision ------------------------------------------------------- */

static void explain_part(const char *name, const struct gate_part *p, char *out)
{
    snprintf(out, GATE_REASON_MAX,
             "%s: %+.2f %%, limit %+.2f %% (%lld segments, from %.4f to %.4f "
             "bits per byte)",
             name, 100 * p->regression / p->unit, 100 * p->limit / p->unit,
             (long long)p->chunks, p->reference, p->candidate);
    out[utf8_whole(out, strlen(out))] = '\0'; /* a name may be cut */
}

static void explain_accuracy(const struct gate_accuracy *a, char *out)
{
    snprintf(out, GATE_REASON_MAX,
             "accuracy from %.3f to %.3f: %lld labels lost, %lld gained, of "
             "%lld",
             a->reference, a->candidate, (long long)a->lost,
             (long long)a->gained, (long long)a->labelled);
}

void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *d)
{
    bool *selected = xcalloc(n_chunks + 1, sizeof *selected);
    double alpha = 1 - options->confidence, tests = 0;

    /* The estimates. */
    memset(d, 0, sizeof *d);
    for (size_t i = 0; i < n_domains; i++) {
        struct gate_domain *g = &domains[i];

        estimate_domain(options, chunks, n_chunks, (int32_t)i, selected, g);
        g->part.limit = g->part.unit *
                        (g->is_protected ? options->max_regression
                                         : options->max_domain_regression);
        tests += g->part.bytes > 0;
    }
    free(selected);
    moderate_errors(domains, n_domains);
    d->mean = average(options, domains, n_domains);
    d->accuracy = count_labels(options, chunks, n_chunks, domains);

    /* The verdict. */
    if (d->mean.chunks > 0)
        explain_part("recent traffic", &d->mean, d->reason);
    else if (d->accuracy.labelled > 0)
        explain_accuracy(&d->accuracy, d->reason);
    else
        snprintf(d->reason, sizeof d->reason,
                 "no held-out segment to compare on");
    if (gate_is_exceeded(&d->mean, alpha))
        d->verdict = GATE_FAIL;
    for (size_t i = 0; i < n_domains && d->verdict == GATE_PASS; i++) {
        if (!gate_is_exceeded(&domains[i].part, alpha / tests))
            continue;
        d->verdict = GATE_FAIL;
        explain_part(domains[i].name, &domains[i].part, d->reason);
    }
    if (d->verdict == GATE_PASS && d->accuracy.labelled > 0 &&
        d->accuracy.p <= GATE_LABEL_LEVEL * alpha) {
        d->verdict = GATE_FAIL;
        explain_accuracy(&d->accuracy, d->reason);
    }

    /* May the reference move on? */
    d->is_better =
        (!(d->mean.regression > 0) ||
         (d->mean.share < 0.5 && d->mean.with_after < 0)) &&
        (d->accuracy.lost <= d->accuracy.gained || d->accuracy.share < 0.5);
    for (size_t i = 0; i < n_domains; i++)
        if (domains[i].is_protected && domains[i].part.regression > 0)
            d->is_better = false;
}

/* --- as JSON ------------------------------------------------------------ */

json_t *gate_part_to_json(const struct gate_part *p)
{
    if (p->chunks == 0)
        return json_null();
    return json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "chunks",
        (json_int_t)p->chunks, "unit", json_value_real(p->unit), "serving", json_value_real(p->reference), "candidate",
        json_value_real(p->candidate), "regression",
        json_value_real(p->regression), "error", json_value_real(p->error),
        "limit", json_value_real(p->limit));
}

static json_t *accuracy_json(const struct gate_accuracy *a)
{
    if (a->labelled == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
                     "labelled", (json_int_t)a->labelled, "lost",
                     (json_int_t)a->lost, "gained", (json_int_t)a->gained,
                     "allowed", (json_int_t)a->allowed, "old_share",
                     json_value_real(a->share), "serving",
                     json_value_real(a->reference), "candidate",
                     json_value_real(a->candidate), "limit",
                     json_value_real(a->limit), "p", json_value_real(a->p));
}

static json_t *domain_json(const struct gate_domain *d)
{
    json_t *json = gate_part_to_json(&d->part);

    json_object_set_new(json, "domain", json_string(d->name));
    json_object_set_new(json, "protected", json_boolean(d->is_protected));
    json_object_set_new(json, "new", json_boolean(d->is_new));
    json_object_set_new(json, "old_share", json_value_real(d->part.share));
    json_object_set_new(json, "traffic", json_value_real(d->traffic));
    return json;
}

json_t *gate_to_json(const struct gate_options *options,
                     const struct gate_domain *domains, size_t n_domains,
                     const struct gate_decision *d, int64_t reference)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n_domains; i++)
        if (domains[i].part.chunks)
            json_array_append_new(list, domain_json(&domains[i]));
    return json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:o, s:o, s:o}",
                     "verdict", d->verdict == GATE_PASS ? "pass" : "fail",
                     "reason", d->reason, "against", (json_int_t)reference,
                     "max_regression", options->max_regression,
                     "max_domain_regression", options->max_domain_regression,
                     "confidence", options->confidence, "mean",
                     gate_part_to_json(&d->mean), "accuracy",
                     accuracy_json(&d->accuracy), "domains", list);
}
