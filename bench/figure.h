/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figure.h - repeated measurements of one quantity.
 *
 * Owner:   the caller; nothing to release
 * Threads: one at a time
 */
#ifndef MNEME_BENCH_FIGURE_H
#define MNEME_BENCH_FIGURE_H

#include <stddef.h>

#define FIGURE_MOST 101 /* values */

struct figure {
    double values[FIGURE_MOST]; /* ascending */
    size_t n;
};

/* May be called at most FIGURE_MOST times. */
void figure_add(struct figure *f, double value);

/* NaN without values. The median of an even number of values is the mean of
 * the middle two. */
double figure_median(const struct figure *f);
double figure_least(const struct figure *f);
double figure_most(const struct figure *f);

#endif
