/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shadow.h - is the live version worse than the reference? A sequential test,
 * which is valid at every moment at which it is read.
 *
 * Both versions score the held-out segments that arrived after the reference
 * was made. Neither version learned from them: a salted hash of the text
 * chooses the holdout before anything is learned. So the held-out segments are
 * a random sample of the stream, whatever the live weights became. Segment t
 * has b_t bytes and the losses l_t (live) and o_t (reference) in bits. s is the
 * reference's loss on the holdout when the comparison began, in bits per byte.
 * The excess is
 *
 *     y_t = clip((l_t - (1 + MARGIN) o_t) / (b_t RANGE s), -1, 1)
 *
 * weighted by min(1, b_t / WHOLE_BYTES). For a label it is
 *
 *     y_t = (right(reference) - right(live) - MARGIN) / (1 + MARGIN).
 *
 * H0: E[y_t | all before] <= 0: the reference is better by no more than the
 * margin. The test bets against H0 (Waudby-Smith, Ramdas 2024, Estimating means
 * of bounded random variables by betting, JRSS B 86, section 4, the capital
 * process). From record j on, at stake lambda, the wealth is
 *
 *     prod_{i=j..t} (1 + lambda y_i),
 *
 * a supermartingale under H0 for 0 < lambda < 1. Damage may begin at any
 * record. So the first unit of wealth is spread over all beginnings j, with the
 * weights w_j = 1/(j (j + 1)), which sum to 1, and over K stakes. This is the
 * Shiryaev-Roberts sum of Shin, Ramdas, Rinaldo 2024 (E-detectors, NEJSDS 2)
 * with a prior over j, which keeps it a supermartingale:
 *
 *     S_k(t) = (S_k(t-1) + w_t) (1 + lambda_k y_t),   S_k(0) = 0
 *     W(t)   = 1/(t + 1) + 1/K sum_k S_k(t),          W(0) = 1
 *
 * Ville's inequality (1939): under H0, P(W(t) >= 1/alpha for any t) <= alpha.
 * It holds whenever one reads W, and for whatever reason one stops. Not knowing
 * the beginning costs 2 ln t in the logarithm of the wealth.
 *
 * Segments of one record are not independent. The sum over beginnings does not
 * depend on that, and a record has few segments.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_SHADOW_H
#define MNEME_DAEMON_GATE_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#define SHADOW_MARGIN 0.03 /* of the loss; for labels of the accuracy */
#define SHADOW_STAKES 5
#define SHADOW_RANGE 0.25 /* of the reference's loss */
#define SHADOW_WHOLE_BYTES 200.0

/* All zero: a comparison without records. */
struct shadow {
    double sums[SHADOW_STAKES]; /* S_k */
    int64_t records;
    double live, reference, bytes; /* sums of bits and bytes; for labels: right
                                      answers, and labels as `bytes` */
};

/* Adds a segment: its losses in nats, and s above as `scale`, in bits per
 * byte. Ignores a segment without bytes, and any while scale is not above 0. */
void shadow_add(struct shadow *s, double live_nats, double reference_nats,
                double bytes, double scale);

/* Adds a labelled segment: which version classified it correctly? */
void shadow_add_label(struct shadow *s, bool live_right, bool reference_right);

/* ln W(t): rejects H0 at level alpha from -ln(alpha) on. */
double shadow_log_wealth(const struct shadow *s);

/* The relative difference of the losses over all records; for labels, of the
 * accuracies. Above 0: the live version has the larger. NaN: no records. */
double shadow_difference(const struct shadow *s);

/*
 * Writes and reads the state, bit for bit when the text has 17 digits; a value
 * that is not finite is read as NaN.
 *   returns (from_json)  false, with *s unchanged, when json is no such state
 */
json_t *shadow_to_json(const struct shadow *s);
bool shadow_from_json(struct shadow *s, const json_t *json);

#endif
