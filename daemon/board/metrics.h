/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - writes metrics in the text format of Prometheus or OpenMetrics.
 *
 * Use:      metrics_family once for a name, then metrics_sample for each
 *           series; or metrics_histogram_family and metrics_histogram. All is
 *           written in the format of Prometheus. At the end, when the reader
 *           asked for OpenMetrics, metrics_to_openmetrics.
 * Threads:  any
 */
#ifndef MNEME_DAEMON_BOARD_METRICS_H
#define MNEME_DAEMON_BOARD_METRICS_H

#include <stddef.h>

#include "base/buf.h"
#include "daemon/board/histogram.h"

struct metrics_label {
    const char *name;
    const char *value; /* any bytes; the writer escapes them */
};

/* Writes the HELP and TYPE lines. A name that ends in `_total` is a counter,
 * any other name is a gauge.
 *   name  without the prefix `mneme_`, which the writer adds. A name with
 *         `process_` in front gets none: these metrics have the same names in
 *         all programs. */
void metrics_family(struct buf *out, const char *name, const char *help);

/* Writes one sample. A value that is not finite is left out. */
void metrics_sample(struct buf *out, const char *name,
                    const struct metrics_label *labels, size_t n_labels,
                    double value);

void metrics_histogram_family(struct buf *out, const char *name,
                              const char *help);

/* Writes the buckets, the sum and the count. At most one label less than
 * METRICS_MAX_LABELS. */
#define METRICS_MAX_LABELS 4
void metrics_histogram(struct buf *out, const char *name,
                       const struct metrics_label *labels, size_t n_labels,
                       const struct histogram *h);

/*
 * Turns the whole text into OpenMetrics 1.0: the family of a counter has a name
 * without `_total`, a family in seconds or bytes says so, and the last line is
 * `# EOF`. The samples are the same.
 */
void metrics_to_openmetrics(struct buf *text);

#endif
