/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - counts durations in fixed buckets, for /metrics.
 *
 * Threads: one at a time; the board's are changed between status_lock and
 *          status_unlock
 */
#ifndef MNEME_DAEMON_BOARD_HISTOGRAM_H
#define MNEME_DAEMON_BOARD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 14 /* with a bound; one more has all longer ones */

/* All zero is an empty histogram. */
struct histogram {
    int64_t counts[HISTOGRAM_BUCKETS + 1]; /* by bucket, not summed */
    double sum;                            /* seconds */
};

/* The upper bounds in seconds, as their text in the metrics. */
extern const char *const histogram_bounds[HISTOGRAM_BUCKETS];

void histogram_add(struct histogram *h, double seconds);

#endif
