/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - is a candidate version fit to serve? Paired statistics, no I/O.
 *
 * Both versions score the same holdout segments. By domain, with d_i the
 * difference in bits of segment i (candidate minus serving) and b_i its bytes,
 * the regression is the ratio D = sum d / sum b in bits per byte, with the
 * standard error of a ratio estimator from the residuals d_i - D b_i (Cochran
 * 1977, 6.8), judged by Student's t with n - 1 degrees of freedom. Its limit is
 * max_regression times the serving version's bits per byte.
 *
 *   pass          every domain's regression is below its limit at the asked
 *                 confidence, Holm's correction over domains (Holm 1979)
 *   fail          some domain's is above it at that confidence
 *   inconclusive  neither
 *
 * Domains with fewer than min_chunks segments are pooled into one test. A
 * domain that is not protected may exceed its limit when the traffic-weighted
 * mean over all domains, min_chunks segments in all, improves at the same
 * confidence: a new domain must not freeze serving for ever.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_H
#define MNEME_DAEMON_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum gate_verdict { GATE_PASS, GATE_FAIL, GATE_INCONCLUSIVE };

const char *gate_verdict_name(enum gate_verdict v);

/* One holdout segment under both versions. */
struct gate_chunk {
    int32_t domain; /* 0 to n_domains - 1 */
    double bytes;   /* counted text bytes */
    double candidate_nats, serving_nats;
};

struct gate_options {
    double max_regression; /* relative */
    double confidence;     /* one-sided, 0.5 to 1 */
    int64_t min_chunks;
};

/* Segments below which there is no standard error. */
#define GATE_FEWEST_CHUNKS 2

struct gate_domain {
    const char *name; /* in */
    bool is_protected; /* in */
    double traffic;   /* in: bytes learned, the weight in the mean */
    int64_t chunks;   /* out, and the rest */
    double bytes;
    double candidate, serving; /* bits per byte; NaN without chunks */
    double regression, error;  /* D and its standard error */
    double limit;
    bool pooled; /* judged together with the other small ones */
};

struct gate_decision {
    enum gate_verdict verdict;
    double mean_regression; /* traffic-weighted */
    double mean_bound;      /* its upper bound at the confidence */
    bool waived;            /* passed because the mean improves */
    char reason[256];       /* one line for people */
};

void gate_decide(const struct gate_options *options,
                 const struct gate_chunk *chunks, size_t n_chunks,
                 struct gate_domain *domains, size_t n_domains,
                 struct gate_decision *decision);

/* The numbers behind a decision, as the version keeps them. */
void gate_to_json(const struct gate_options *options,
                  const struct gate_domain *domains, size_t n_domains,
                  const struct gate_decision *decision, int64_t against,
                  struct buf *out);

/* P(T > t) of Student's t with n degrees of freedom, n >= 1. */
double gate_student_tail(double t, double n);

/* x with P(Z < x) = p for a standard normal Z (Acklam's rational
 * approximation, relative error below 1.2e-9). 0 < p < 1. */
double gate_normal_quantile(double p);

#endif
