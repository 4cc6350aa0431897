/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - writes metrics in the text format of Prometheus.
 *
 * Use:      metrics_family once for a name, then metrics_sample for each series
 * Threads:  any
 */
#ifndef MNEME_DAEMON_BOARD_METRICS_H
#define MNEME_DAEMON_BOARD_METRICS_H

#include <stddef.h>

#include "base/buf.h"

struct metrics_label {
    const char *name;
    const char *value; /* any bytes; the writer escapes them */
};

/* Writes the HELP and TYPE lines. A name that ends in `_total` is a counter,
 * any other name is a gauge.
 *   name  without the prefix `mneme_`, which the writer adds */
void metrics_family(struct buf *out, const char *name, const char *help);

/* Writes one sample. A value that is not finite is left out. */
void metrics_sample(struct buf *out, const char *name,
                    const struct metrics_label *labels, size_t n_labels,
                    double value);

#endif
