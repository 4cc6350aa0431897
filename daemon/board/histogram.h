/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - counts durations in fixed buckets, for /metrics.
 *
 * Threads: any; a reader may see a sum that is one duration ahead of the counts
 */
#ifndef MNEME_DAEMON_BOARD_HISTOGRAM_H
#define MNEME_DAEMON_BOARD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 14 /* with a bound; one more has all longer ones */

/* All zero is an empty histogram. */
struct histogram {
    _Atomic int64_t counts[HISTOGRAM_BUCKETS + 1]; /* by bucket, not summed */
    _Atomic int64_t sum_us;
};

/* The upper bounds in seconds, as their text in the metrics. */
extern const char *const histogram_bounds[HISTOGRAM_BUCKETS];

void histogram_add(struct histogram *h, double seconds);

#endif
