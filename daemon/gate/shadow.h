/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shadow.h - is the live version worse than one that was good? An answer that
 * holds whenever it is looked at.
 *
 * Held-out segments that arrived after the older version was made are scored by
 * both. Neither learned from them: the holdout is chosen by a salted hash of
 * the text before anything learns, so that, whatever the live weights became,
 * what is held out is a random sample of what came in. With segment t of b_t
 * bytes, losses l_t (live) and o_t (older) in bits, and s the older version's
 * bits per byte on the holdout when the comparison began, the excess is
 *
 *     y_t = clip((l_t - (1 + margin) o_t) / (b_t RANGE s), -1, 1)
 *
 * weighted by min(1, b_t / WHOLE_BYTES). A label tells y_t = (right(older) -
 * right(live) - margin) / (1 + margin).
 *
 * H0: E[y_t | all before] <= 0: the older one is better by no more than the
 * margin. Against it we bet (Waudby-Smith, Ramdas 2024, Estimating means of
 * bounded random variables by betting, JRSS B 86, section 4, the capital
 * process): from record j on, at stake lambda, the wealth is
 *     prod_{i=j..t} (1 + lambda y_i),
 * a supermartingale under H0 for 0 < lambda < 1. Damage may begin at any
 * record, so the first unit of wealth is spread over beginnings j with the
 * weights w_j = 1/(j (j + 1)), which sum to 1 (the Shiryaev-Roberts sum of
 * Shin, Ramdas, Rinaldo 2024, E-detectors, NEJSDS 2, with a prior instead of a
 * sum without end, so that it stays a supermartingale), and over K stakes:
 *
 *     S_k(t) = (S_k(t-1) + w_t) (1 + lambda_k y_t),   S_k(0) = 0
 *     W(t)   = 1/(t + 1) + 1/K sum_k S_k(t),          W(0) = 1
 *
 * Ville's inequality (1939): under H0 P(W(t) >= 1/alpha for any t) <= alpha,
 * whenever one looks and for whatever reason one stops. The price of not
 * knowing when it began is 2 ln t in the logarithm of the wealth.
 *
 * Segments of one record are not independent; the sum over beginnings makes no
 * difference to that, and a record is a few segments.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_SHADOW_H
#define MNEME_DAEMON_GATE_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#define SHADOW_STAKES 5
#define SHADOW_RANGE 0.25     /* of the older version's loss */
#define SHADOW_WHOLE_BYTES 200.0

struct shadow {
    double margin; /* relative; for labels a difference of accuracy */
    double sums[SHADOW_STAKES]; /* S_k */
    int64_t records;
    double live, older, bytes;  /* bits; of labels: right ones and their count
                                   in bytes */
};

void shadow_init(struct shadow *s, double margin);

/* A segment's losses, in nats. scale: s above, bits per byte, above 0. One
 * without bytes counts for nothing. */
void shadow_add(struct shadow *s, double live_nats, double older_nats,
                double bytes, double scale);

/* A labelled segment: told right by each? */
void shadow_add_label(struct shadow *s, bool live_right, bool older_right);

/* ln W(t): against H0 at level alpha from -ln(alpha) on. */
double shadow_evidence(const struct shadow *s);

/* Relative difference of the losses over all records (of labels: of the
 * accuracies); NaN without any. Above 0: the older one is better. */
double shadow_difference(const struct shadow *s);

/* All of it, bit for bit when the text has 17 digits; what is not finite comes
 * back as NaN. from_json: false, with *s as it was, when it is not that. */
json_t *shadow_to_json(const struct shadow *s);
bool shadow_from_json(struct shadow *s, const json_t *json);

#endif
