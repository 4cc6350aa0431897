/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift.h - raises an alarm when the losses of a domain rise.
 *
 * The Page-Hinkley test (Page 1954; Mouss et al. 2004) for a rise, on the
 * Transformer's prequential loss of one domain, without the n-gram memory. The
 * loss is in bits per byte: a higher loss is worse. A loss that falls, as it
 * does while a model learns, never raises an alarm.
 *
 * The losses of segments are noisy, and short segments more so. So a value x
 * of the test is the loss of a block: consecutive segments of the domain with
 * at least DRIFT_BLOCK_BYTES bytes of text. For each block:
 *
 *     d    = x - mean, at most DRIFT_CLIP deviations up or down
 *     z    = d / deviation
 *     sum  = max(0, sum + z - DRIFT_SLACK)
 *     fall = max(0, fall - z - DRIFT_SLACK)
 *     alarm if sum > DRIFT_ALARM; a warning if sum > DRIFT_ALARM / 2
 *     w    = 1 / min(number of blocks, DRIFT_MEMORY)
 *     mean = mean + w d;  variance = (1 - w) (variance + w d^2)
 *
 * This differs from the published test in three respects. The mean forgets:
 * otherwise it would stay above the falling losses of a model that learns, and
 * hide a rise. When fall > DRIFT_ALARM, the losses have fallen as clearly as an
 * alarm says that they rose: both sums become 0, and the number of blocks
 * becomes DRIFT_LEAST, so that mean and variance follow faster. The deviation
 * is measured: prose, code and log lines differ in the variance of their
 * losses, and no fixed threshold suits all. The clip keeps one block from
 * raising an alarm.
 *
 * The first DRIFT_LEAST blocks only set mean and variance. After an alarm the
 * test starts anew with the next block. docs/LEARNING.md, Drift, has the
 * measurements behind the numbers, and those of ADWIN.
 *
 * The state is a function of the losses and their order.
 *
 * Owner:   the caller; the struct has no pointers
 * Threads: any, one at a time
 */
#ifndef MNEME_DAEMON_INTAKE_DRIFT_H
#define MNEME_DAEMON_INTAKE_DRIFT_H

#include <stdbool.h>

#include <jansson.h>

#define DRIFT_BLOCK_BYTES 256
#define DRIFT_LEAST 16       /* blocks */
#define DRIFT_MEMORY 128     /* blocks */
#define DRIFT_SLACK 0.5      /* deviations */
#define DRIFT_CLIP 4.0       /* deviations */
#define DRIFT_ALARM 16.0     /* deviations */
#define DRIFT_DEVIATION 0.05 /* the least deviation, bits per byte */

struct drift {
    double nats, bytes;    /* of the unfinished block */
    double n;              /* blocks since the start or the last alarm; fewer
                              after a fall */
    double mean, variance; /* of the blocks; bits per byte */
    double sum, fall;      /* 0 to DRIFT_ALARM */
    double run, run_total; /* number and sum of the blocks since sum was 0 */
};

/* The losses before and since the rise, in bits per byte. */
struct drift_alarm {
    double before, after;
};

/* A zeroed struct drift is the state before the first segment. */

/* Adds the loss of a segment. Returns true and sets *alarm when the segment
 * raises an alarm. bytes > 0. */
bool drift_add(struct drift *d, double nats, double bytes,
               struct drift_alarm *alarm);

/* The state as a JSON array of numbers, and back. drift_from_json returns -1
 * for values that drift_add cannot have made, and then leaves *d unchanged. */
json_t *drift_json(const struct drift *d);
int drift_from_json(const json_t *list, struct drift *d);

#endif
