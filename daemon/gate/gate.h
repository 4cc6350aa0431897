/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - is a candidate version fit to serve? Paired statistics, no I/O.
 *
 * Both versions, the candidate and the older one that is compared with (the
 * serving one; judge.h), score the same holdout segments. By domain, with d_i
 * the difference in bits of segment i (candidate minus older) and b_i its
 * bytes, the regression is the ratio D = sum d / sum b in bits per byte, with
 * the standard error of a ratio estimator from the residuals d_i - D b_i
 * (Cochran 1977, 6.8), judged by Student's t with n - 1 degrees of freedom. Its
 * limit is max_regression times the older version's bits per byte. The tests:
 *
 *   domain    D of each domain; those with fewer than min_chunks segments are
 *             pooled into one
 *   before    D over the domain's segments that had arrived when the older
 *             version was made. What comes in changes the holdout, too: a bad
 *             feed that is learned improves on itself, and would outweigh what
 *             it spoils in its own domain. From min_chunks segments on; domains
 *             with fewer from before are pooled, and that pool withholds a
 *             version from two segments on, though it fails none
 *   recent    D over the segments that arrived last, all domains: a burst
 *             that unlearns the newest part of a domain is little against all
 *             of it. From min_chunks segments on
 *   accuracy  labelled segments that were right and are wrong (b), and the
 *             other way round (c): McNemar's test (1947), exact: b of b + c
 *             under a fair coin. Their difference over n has as its limit
 *             max_regression times the older version's accuracy. Of segments
 *             from before, where there are min_chunks
 *
 * For the guard, what has come since the older version was made is looked at in
 * the same way (`since`), and is no test: whatever is learned improves on it.
 * Where a stream changes its domain, records of the one that has ended have
 * come since, too, and on them the candidate may have become worse: then it is
 * better on the very last ones, of the next domain.
 *
 *   fail          one is shown to be above its limit: Holm's correction over
 *                 all of them (Holm 1979), at a tenth of the level that the
 *                 confidence leaves, and is GATE_GROSS times its limit or more,
 *                 or was shown to be above one in the version before, too. To
 *                 withhold a version, inconclusive is enough; a fail is to be
 *                 believed, and weights that learn at a constant rate wander:
 *                 of a thousand versions of a clean stream, each compared with
 *                 the luckiest one before it, a few truly are a little above
 *                 the limit, and the next one is not. Damage stays
 *   pass          every domain is shown to be below its limit, Holm's
 *                 correction over domains, and no other test lies above its own
 *   inconclusive  neither; waits_for says what would decide
 *
 * A new domain must not freeze serving for ever. When the mean over domains,
 * weighted by traffic, improves at the confidence over min_chunks segments or
 * more, it passes though not every unprotected domain is shown to be below its
 * limit, as long as none lies above it. When many versions in a row were
 * refused (gate_choose_patience), a domain may be above its limit when both the
 * mean and the recent segments improve. In that mean a domain counts by what
 * was there before, so that only another domain outweighs it; one that has come
 * since, by what the candidate improves on what serves, or any candidate would
 * have it for its merit; in the end a domain counts by all of it: then the
 * stream has changed. And accuracy, and the little that was there before,
 * withhold only what is shown at the confidence: of forty labels a single one
 * is more than 2 %, and the reference is the luckiest of many versions.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_GATE_H
#define MNEME_DAEMON_GATE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

enum gate_verdict { GATE_PASS, GATE_FAIL, GATE_INCONCLUSIVE };

const char *gate_verdict_name(enum gate_verdict v);

/* One holdout segment under both versions. */
struct gate_chunk {
    int32_t domain; /* 0 to n_domains - 1 */
    double bytes;   /* counted text bytes; 0: preset linear */
    double candidate_nats, serving_nats;
    double served_nats; /* of what serves; only for a domain with known_since */
    bool before;      /* had arrived when the older version was made */
    bool recent;      /* among those that arrived last */
    bool newest;      /* the very last of these */
    bool only_recent; /* for that test alone, no part of the even sample */
    bool labelled, candidate_right, serving_right;
};

struct gate_options {
    double max_regression; /* relative */
    double confidence;     /* one-sided, 0.5 to 1 */
    int64_t min_chunks;
    bool doubted;          /* the version before was shown above a limit */
    enum gate_patience {
        GATE_PATIENT,
        GATE_IMPATIENT, /* a domain above its limit does not hold it up when
                           the mean improves, for what was there before */
        GATE_RESIGNED   /* nor when it does with all that has come since */
    } patience;
};

/* So many refusals in a row, and a new domain has its way; a changed stream,
 * when as many tokens have come since the older version as before it, or that
 * many: versions may come every second, and a burst that is a small part of all
 * that was learned has not changed the stream. */
#define GATE_IMPATIENT_AFTER 10
#define GATE_RESIGNED_AFTER 50
#define GATE_RESIGNED_TOKENS INT64_C(4000000)

enum gate_patience gate_choose_patience(int64_t refused, int64_t tokens_before,
                                        int64_t tokens_since);

#define GATE_FAIL_LEVEL 0.1
#define GATE_GROSS 3

/* Segments below which there is no standard error. */
#define GATE_FEWEST_CHUNKS 2

/* And below which what has come since is not asked. */
#define GATE_FEWEST_SINCE 5

struct gate_domain {
    const char *name; /* in */
    bool is_protected; /* in */
    bool known_since; /* in: what serves has learned from it, and is not the
                         older version */
    double traffic;   /* in: bytes learned, the weight in the mean */
    int64_t chunks;   /* out, and the rest */
    double bytes;
    double candidate, serving; /* bits per byte; NaN without chunks */
    double regression, error;  /* D and its standard error */
    double limit;
    bool pooled; /* judged together with the other small ones */
    struct gate_part {
        int64_t chunks;
        double bytes, regression, error, limit;
    } before, since; /* its segments from before; with known_since, and none
                        from before, all of them against what serves */
};

struct gate_accuracy {
    int64_t labelled;
    int64_t lost, gained; /* b and c */
    double serving, candidate, limit; /* NaN without labels */
    double p; /* of McNemar's test: small speaks for "down" */
};

/* Room for a sentence about a domain with the longest name. */
#define GATE_REASON_MAX 512
#define GATE_WAITS_FOR_MAX 640

struct gate_decision {
    enum gate_verdict verdict;
    double mean_regression; /* traffic-weighted */
    double mean_bound;      /* its upper bound at the confidence */
    bool waived;            /* passed because the mean improves */
    struct gate_part recent;
    struct gate_part little; /* from before, of domains that have few of it */
    struct gate_part since;  /* what has come since, all domains */
    struct gate_accuracy accuracy;
    bool above;            /* something is shown above its limit */
    bool protected_above;  /* a protected domain is */
    bool since_above;      /* what has come since is */
    bool newest_better;    /* the candidate is better on the very last of it */
    double old_regression; /* the mean over what was there before; NaN: none */
    char reason[GATE_REASON_MAX];       /* one line for people */
    char waits_for[GATE_WAITS_FOR_MAX]; /* inconclusive: what would decide;
                                           else empty */
};

void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *decision);

/* The numbers behind a decision, as the version keeps them. against: the
 * number of the older version. */
json_t *gate_to_json(const struct gate_options *options,
                     const struct gate_domain *domains, size_t n_domains,
                     const struct gate_decision *decision, int64_t against);

/* P(X >= k) of n throws of a fair coin. */
double gate_coin_tail(int64_t k, int64_t n);

/* P(T > t) of Student's t with n degrees of freedom, n >= 1. */
double gate_student_tail(double t, double n);

/* x with P(Z < x) = p for a standard normal Z (Acklam's rational
 * approximation, relative error below 1.2e-9). 0 < p < 1. */
double gate_normal_quantile(double p);

#endif
