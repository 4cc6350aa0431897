/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the statistical tests that decide whether a candidate may serve.
 *
 * The candidate and the reference score the same holdout segments. With d_i the
 * difference in bits of segment i (candidate minus reference) and b_i its
 * bytes, the regression of a set of segments is the ratio
 *
 *     D = sum d / sum b                       bits per byte
 *
 * with the standard error of a ratio estimator (Cochran 1977, Sampling
 * Techniques, 6.8, without the finite population correction)
 *
 *     SE = sqrt(n / (n - 1) sum (d_i - D b_i)^2) / sum b.
 *
 * Student's t with n - 1 degrees of freedom compares (D - limit) / SE. The
 * limit is max_regression times the reference's bits per byte on the same
 * segments.
 *
 * The tests:
 *
 *   domain      D of each domain. Domains with fewer than min_chunks segments
 *               are tested together
 *   before      D over the domain's segments that had arrived when the
 *               reference was made. A bad feed is held out, too, and a
 *               candidate that learned it gains on that part. The gain must not
 *               hide what the domain's older text lost. Needs min_chunks
 *               segments
 *   few before  D over the `before` segments of all domains that have too few
 *               for a test of their own. This test withholds a candidate, and
 *               never fails one
 *   recent      D over the segments that arrived last, of all domains. A burst
 *               that unlearns the newest part of a domain changes its D little.
 *               Needs min_chunks segments
 *   accuracy    labelled segments that the reference classified correctly and
 *               the candidate did not (b), and the reverse (c). McNemar's test
 *               (1947), exact: P(X >= b) of b + c throws of a fair coin. The
 *               limit of (b - c) / n is max_regression times the reference's
 *               accuracy. Uses `before` segments where there are min_chunks
 *
 * The verdict:
 *
 *   fail          A test shows that its limit is exceeded, at GATE_FAIL_LEVEL
 *                 times (1 - confidence), with Holm's correction over all tests
 *                 (Holm 1979). Besides, the regression is GATE_GROSS times its
 *                 limit or more, or the candidate before this one exceeded a
 *                 limit, too. At a constant learning rate the weights wander: a
 *                 few of a thousand versions of a clean stream exceed a limit
 *                 slightly, and their successors do not
 *   pass          Every domain is shown to be below its limit (Holm's
 *                 correction over domains), and no other test has an estimate
 *                 above its limit. A candidate passes, too, if the limits are
 *                 waived: see enum gate_patience
 *   inconclusive  Otherwise; waits_for says what would decide
 *
 * The limit of a domain in publish.gate.protect is never waived.
 *
 * D over the segments that arrived after the reference (`since`) is no test:
 * whatever is learned improves on them. It is evidence for the guard.
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

/* One holdout segment under all versions. */
struct gate_chunk {
    int32_t domain; /* 0 to n_domains - 1 */
    double bytes;   /* of the counted targets; 0: preset linear */
    double candidate_nats, reference_nats;
    double serving_nats; /* only for a domain with served_only */
    bool before;         /* had arrived when the reference was made */
    bool recent;         /* among the segments that arrived last */
    bool newest;         /* among the very last of these */
    bool only_recent;    /* belongs to no test but `recent` */
    bool labelled, candidate_right, reference_right;
};

/*
 * A mean over domains that improves can outweigh what a single domain loses.
 * The mean is weighted by traffic, and its one-sided bound at the confidence
 * must be below 0. How much it may outweigh depends on how many candidates in a
 * row did not pass. The values are stored in the gate's JSON.
 *
 *   STRICT          a domain that is not shown to be below its limit, while
 *                   no point estimate is above one
 *   NEW_DOMAIN      a domain above its limit. A domain counts in the mean by
 *                   its `before` segments, so that only the gain of another
 *                   domain outweighs its loss. A domain without such segments
 *                   counts by the candidate's gain over the serving version, if
 *                   that has learned it. Accuracy and `few before` withhold a
 *                   candidate only if the loss is significant
 *   CHANGED_STREAM  the same, and a domain counts by all its segments: the
 *                   stream has changed within the domain
 *
 * Above STRICT, the recent segments must improve, too.
 */
enum gate_patience {
    GATE_STRICT,
    GATE_NEW_DOMAIN,
    GATE_CHANGED_STREAM,
};

/* Candidates in a row that did not pass, before each level. */
#define GATE_NEW_DOMAIN_AFTER 10
#define GATE_CHANGED_STREAM_AFTER 50

/* CHANGED_STREAM also needs as many tokens learned since the reference as
 * before it, or this number. Versions may be a second apart, and a short burst
 * does not change a stream. */
#define GATE_CHANGED_STREAM_TOKENS INT64_C(4000000)

enum gate_patience gate_choose_patience(int64_t refused, int64_t tokens_before,
                                        int64_t tokens_since);

struct gate_options {
    double max_regression; /* relative */
    double confidence;     /* one-sided, 0.5 to 1 */
    int64_t min_chunks;
    bool doubted; /* the candidate before this one exceeded a limit */
    enum gate_patience patience;
};

#define GATE_FAIL_LEVEL 0.1
#define GATE_GROSS 3
#define GATE_FEWEST_CHUNKS 2 /* segments that a standard error needs */
#define GATE_FEWEST_SINCE 5  /* segments that since_above needs */

/* D over a set of segments. */
struct gate_part {
    int64_t chunks;
    double bytes;
    double candidate, reference; /* bits per byte; NaN without bytes */
    double regression, error;    /* D and its standard error */
    double limit;
};

struct gate_domain {
    /* in: */
    const char *name;
    bool is_protected;
    bool served_only; /* the serving version has learned it, and is not the
                         reference: `gain` is computed */
    double traffic;   /* bytes learned, the weight in the mean */
    /* out: */
    struct gate_part all, before;
    struct gate_part gain; /* of the candidate over the serving version */
    bool pooled;           /* tested together with the other small domains */
};

struct gate_accuracy {
    int64_t labelled;
    int64_t lost, gained;               /* b and c */
    double reference, candidate, limit; /* NaN without labels */
    double p; /* of McNemar's test: small if the accuracy fell */
};

/* Room for a sentence about a domain with the longest name. */
#define GATE_REASON_MAX 512
#define GATE_WAITS_FOR_MAX 640

struct gate_decision {
    enum gate_verdict verdict;
    double mean_regression; /* traffic-weighted; NaN: no domain counts */
    double mean_bound;      /* its upper bound at the confidence */
    bool waived;            /* passed because the mean improves */
    struct gate_part recent, few_before;
    struct gate_part since; /* segments that arrived after the reference */
    struct gate_accuracy accuracy;
    bool above;            /* a test shows that its limit is exceeded */
    bool since_above;      /* `since` shows it, too; for the guard */
    bool newest_better;    /* the candidate is better than the reference on the
                              newest segments that arrived after it */
    double old_regression; /* mean over the `before` segments; NaN: none */
    char reason[GATE_REASON_MAX];       /* one line for people */
    char waits_for[GATE_WAITS_FOR_MAX]; /* inconclusive: what would decide;
                                           else empty */
};

/* Decides about a candidate. Fills in the rest of each domain. */
void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *decision);

/* A decision as the version stores it and `mneme show` prints it. reference:
 * the number of the reference version. */
json_t *gate_to_json(const struct gate_options *options,
                     const struct gate_domain *domains, size_t n_domains,
                     const struct gate_decision *decision, int64_t reference);

#endif
