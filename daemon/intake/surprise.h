/* SPDX-License-Identifier: Apache-2.0 */
/*
 * surprise.h - compares the loss of a record with the recent losses of its
 * domain.
 *
 * For each domain: the losses (bits per byte) of the last SURPRISE_KEPT learned
 * records, their median, and their MAD, the median distance from the median.
 *
 *     HIGH  above median + mads x MAD
 *     LOW   below median - mads x MAD, and below a quarter of the median
 *
 * The first `history` records of a domain are never HIGH or LOW. HIGH alone is
 * no reason to refuse a record: another language and a new kind of log line are
 * HIGH, and worth learning. filter.c also asks whether the text looks like
 * noise.
 *
 * After `accept_after` refused records of a domain in a row its history starts
 * anew. So the next `history` records are learned at any loss, and a loss that
 * stays high is accepted.
 *
 * Owner:   the filter
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_SURPRISE_H
#define MNEME_DAEMON_INTAKE_SURPRISE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/tensor.h"

#define SURPRISE_KEPT 128

struct surprise_domain {
    float levels[SURPRISE_KEPT]; /* ring of losses, bits per byte */
    float sorted[SURPRISE_KEPT]; /* the same, ascending */
    int64_t n;                   /* learned records of the history */
    int64_t run;                 /* refused records in a row */
};

struct surprise {
    struct surprise_domain **domains; /* [n]; NULL: no record so far */
    size_t n;
};

enum surprise_level { SURPRISE_NONE, SURPRISE_HIGH, SURPRISE_LOW };

void surprise_init(struct surprise *s);
void surprise_release(struct surprise *s);

enum surprise_level surprise_compare(const struct surprise *s, int32_t domain,
                                     double bits_per_byte, double mads,
                                     int64_t history);

/* Was the domain's last record refused? */
bool surprise_has_run(const struct surprise *s, int32_t domain);

/* Counts a learned record. */
void surprise_learned(struct surprise *s, int32_t domain,
                      double bits_per_byte);

/* Counts a refused record. accept_after 0: the history never starts anew. */
void surprise_refused(struct surprise *s, int32_t domain,
                      int64_t accept_after);

/* Tensors filter.surprise.*; none before the first record. */
void surprise_export(const struct surprise *s, struct tensor_list *out);
int surprise_import(struct surprise *s, const struct tensor_list *in,
                    struct err *err);

#endif
