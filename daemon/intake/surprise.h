/* SPDX-License-Identifier: Apache-2.0 */
/*
 * surprise.h - is a record's loss in line with what its domain cost of late?
 *
 * For each domain the bits per byte of the last SURPRISE_KEPT records that were
 * learned, and of them median and MAD (the median distance from the median).
 *
 *     HIGH  above median + mads x MAD
 *     LOW   below median - mads x MAD, and below a quarter of the median
 *
 * Nothing is told before `history` records of the domain: a new domain is
 * learned. HIGH alone is no reason to refuse a record: another language, a new
 * kind of log line, a shift are all HIGH, and worth learning. The caller
 * (filter.c) refuses what also looks like no language at all.
 *
 * A level that stays is accepted: after `accept_after` records of a domain that
 * were refused with none learned between them, its history begins anew, so that
 * the next `history` records are learned whatever they cost, and are the level
 * from then on.
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
    float levels[SURPRISE_KEPT]; /* ring of bits per byte */
    float sorted[SURPRISE_KEPT]; /* the same, ascending */
    int64_t n;                   /* learned since the history began */
    int64_t run;                 /* refused since the last that was learned */
};

struct surprise {
    struct surprise_domain **domains; /* [n]; NULL: nothing known */
    size_t n;
};

enum surprise_verdict { SURPRISE_NONE, SURPRISE_HIGH, SURPRISE_LOW };

void surprise_init(struct surprise *s);
void surprise_release(struct surprise *s);

enum surprise_verdict surprise_tell(const struct surprise *s, int32_t domain,
                                    double bits_per_byte, double mads,
                                    int64_t history);

/* Was the domain's last record refused? */
bool surprise_refuses(const struct surprise *s, int32_t domain);

/* The record is learned. */
void surprise_learned(struct surprise *s, int32_t domain,
                      double bits_per_byte);

/* The record is refused. accept_after 0: never accept. */
void surprise_refused(struct surprise *s, int32_t domain,
                      int64_t accept_after);

/* Tensors filter.surprise.*; nothing before the first record. */
void surprise_export(const struct surprise *s, struct tensor_list *out);
int surprise_import(struct surprise *s, const struct tensor_list *in,
                    struct err *err);

#endif
