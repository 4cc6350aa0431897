/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the rule that decides whether a candidate may serve.
 *
 * A candidate serves unless it is shown to be worse than the reference. The
 * rule for users is in mneme.yaml(5), publish.gate.
 *
 * Which segments count. Both versions score the same held-out segments. A
 * domain counts by the segments that had arrived when the reference was made
 * (`before`). A bad feed is held out, too, and a candidate that learned it
 * gains on that part. This gain must not hide what older text lost. A domain
 * without such segments counts by all its segments: it is new to the reference.
 *
 * The regression of a domain. Segment i has b_i bytes, o_i bits under the
 * reference and c_i bits under the candidate. Text that is nearly known by
 * heart counts as if it cost GATE_FLOOR bits per byte: otherwise a change of a
 * few hundredths of a bit would be a large share of its loss. With
 * u_i = max(o_i, FLOOR b_i) and r = sum u / sum b, the regression is the mean
 * of the relative changes,
 *
 *     x_i = clip((c_i - o_i) / u_i, -c, c)
 *     X   = sum b x / sum b,   D = r X        bits per byte
 *
 * with the standard error of a ratio estimator (Cochran 1977, Sampling
 * Techniques, 6.8, without the finite population correction)
 *
 *     SE = r sqrt(n / (n - 1) sum b_i^2 (x_i - X)^2) / sum b.
 *
 * c is GATE_CLIP. The first records of a bad feed may have been held out before
 * the reference. Without the clip, a candidate's gain on two such records hides
 * its losses on all other segments. A domain that counts by all its segments
 * has c = 1: the gain on a new domain is no outlier.
 *
 * Text that has changed. A domain had the recent traffic T at its last record
 * before the reference, and has learned B bytes since. Its text has changed
 * when B is above GATE_CHANGED T, D is above 0, and the later segments became
 * better by more than max_regression. Then D and SE are multiplied by the share
 * of the old text, s = T / (T + B): users ask little about it. A domain that is
 * protected never counts as changed.
 *
 * Few segments. A domain with two segments may have an SE near 0 by chance. So
 * each variance is moved towards that of the other domains (Smyth 2004, Linear
 * models and empirical Bayes methods, section 4, with a fixed weight). The sums
 * go over the other domains, with n_k segments:
 *
 *     v   = n (SE / r)^2                      of a segment, relative
 *     v_0 = sum (n_k - 1) v_k / sum (n_k - 1)
 *     p   = min(GATE_PRIOR, sum (n_k - 1))
 *     SE' = r sqrt((p v_0 + (n - 1) v) / f / n),   f = p + n - 1
 *
 * with f degrees of freedom.
 *
 * The mean over domains, with the recent traffic w_k of each (progress.h):
 *
 *     D_m = sum w_k D_k / W,  SE_m^2 = sum (w_k SE'_k / W)^2,  W = sum w_k
 *
 * with sum(q)^2 / sum(q_k^2 / f_k) degrees of freedom, q_k = (w_k SE'_k)^2
 * (Satterthwaite 1946, Biometrics Bulletin 2).
 *
 * The tests. A limit is exceeded when the estimate is above it, and D is shown
 * to be above 0: Student's t of D / SE' at level alpha = 1 - confidence. The
 * verdict is fail if a limit is exceeded:
 *
 *   mean      D_m above max_regression times the mean of r
 *   domain    D of a domain above max_domain_regression r, or, when the domain
 *             is protected, max_regression r. There is one test for each
 *             domain, so the level is alpha / their number (Bonferroni)
 *   accuracy  of n labelled segments that count, the reference is right and
 *             the candidate wrong on b, and the other way round on c. The
 *             candidate may lose l, the whole part of max_regression times the
 *             segments on which the reference is right. When
 *             the labels have changed (B as above; McNemar's test shows a gain
 *             on the later ones), l is divided by their mean s.
 *             McNemar's test (1947), exact: P(X >= b - l) of b - l + c throws
 *             of a fair coin, at level GATE_LABEL_LEVEL alpha. The reference is
 *             the best of many versions on nearly the same few labels, so the
 *             next ones lose some by chance
 *
 * Otherwise it is pass. A candidate that serves and is not worse than the
 * reference becomes the next reference (is_better). So many small steps down
 * add up to one limit at most. When the mean of s over recent traffic is below
 * 1/2, it is enough that the candidate is not worse when the later segments
 * count too: s D + (1 - s) D'. Otherwise a domain that is younger than the
 * reference would not be protected.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_GATE_H
#define MNEME_DAEMON_GATE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

enum gate_verdict { GATE_PASS, GATE_FAIL };

/* One holdout segment under both versions. */
struct gate_chunk {
    int32_t domain; /* 0 to n_domains - 1 */
    double bytes;   /* of the counted targets; 0: preset linear */
    double candidate_nats, reference_nats;
    bool before; /* had arrived when the reference was made */
    bool newest; /* among the very last segments; for the guard */
    bool labelled, candidate_right, reference_right;
};

struct gate_options {
    double max_regression, max_domain_regression; /* relative */
    double confidence;                            /* one-sided, 0.5 to 1 */
};

#define GATE_CLIP 0.25
#define GATE_FLOOR 1.0 /* bits per byte */
#define GATE_CHANGED 3
#define GATE_PRIOR 4 /* p */
#define GATE_LABEL_LEVEL 0.1
#define GATE_LEAST_SHARE 1e-6
#define GATE_FEWEST_CHUNKS 2 /* segments that a comparison needs */

/* D over a set of segments, or over domains. */
struct gate_part {
    int64_t chunks;
    double bytes;
    double candidate, reference; /* bits per byte; NaN without bytes */
    double unit;                 /* r, in bits per byte */
    double regression, error;    /* D and its standard error */
    double degrees;              /* of freedom of the error */
    double limit;
    double share;      /* s; 1 unless the text has changed */
    double with_after; /* s D + (1 - s) D' */
};

struct gate_domain {
    /* in: */
    const char *name;
    bool is_protected;
    double traffic; /* recent learned bytes, the weight in the mean */
    double old_traffic;   /* T */
    double learned_since; /* B */
    /* out: */
    struct gate_part part;
    bool is_new; /* has no segments from before, and counts by all of them */
};

struct gate_accuracy {
    int64_t labelled;
    int64_t lost, gained;               /* b and c */
    double reference, candidate, limit; /* NaN without labels */
    double share;    /* mean s; 1 unless the labels have changed */
    int64_t allowed; /* l */
    double p; /* of McNemar's test: small if the accuracy fell */
};

/* Room for a sentence about a domain with the longest name. */
#define GATE_REASON_MAX 512

struct gate_decision {
    enum gate_verdict verdict;
    bool is_better; /* may become the reference: not worse, by the estimates,
                       on the mean, on any protected domain and in accuracy */
    struct gate_part mean; /* over recent traffic */
    struct gate_accuracy accuracy;
    char reason[GATE_REASON_MAX]; /* one line for people */
};

/* Decides about a candidate. Fills in the rest of each domain. */
void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *decision);

/* D over the selected segments, with the error of the ratio estimator, and
 * without limit and share.
 *   selected  [n]
 *   clip      c */
struct gate_part gate_estimate(const struct gate_chunk *chunks, size_t n,
                               const bool *selected, double clip);

/* Is the regression shown to exceed its limit, at this level? */
bool gate_is_exceeded(const struct gate_part *p, double level);

/* A decision as the version stores it and `mneme show` prints it. reference:
 * the number of the reference version. */
json_t *gate_to_json(const struct gate_options *options,
                     const struct gate_domain *domains, size_t n_domains,
                     const struct gate_decision *decision, int64_t reference);
json_t *gate_part_to_json(const struct gate_part *p); /* null: no segments */

#endif
