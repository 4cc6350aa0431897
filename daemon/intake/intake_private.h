/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intake_private.h - records that wait: intake_decide.c says what becomes of one,
 * intake.c when that takes effect.
 */
#ifndef MNEME_DAEMON_INTAKE_INTAKE_PRIVATE_H
#define MNEME_DAEMON_INTAKE_INTAKE_PRIVATE_H

#include "daemon/intake/intake.h"
#include "learner/tokenizer/cut.h"

enum { DECIDED_HOLE = 0 }; /* besides the kinds of struct store_ledger_run */

struct waiting {
    struct record *rec;
    char kind; /* l, h, q, s, or DECIDED_HOLE */
    const char *reason; /* q */
    int32_t partition_id, domain, label;
    uint64_t text_hash;
    struct cut cut; /* l and h */
    size_t next;    /* segments of it that have been learned */
    struct filter_mark mark; /* what the filter changed for it */
};

struct intake {
    struct intake_options options;
    double share; /* of the records that are learned */
    struct catalog_range *skipped;
    size_t n_skipped;
    struct tombstone *forgotten;
    size_t n_forgotten;
    struct waiting *items; /* ring */
    size_t front, n, cap;
    size_t tokens, memory;
    struct segment *segments; /* of the present batch */
    struct segment_origin *origins;
    const char **refused;
    size_t cap_batch;
};

/* The i-th that waits, from the front. */
static inline struct waiting *intake_at(const struct intake *in, size_t i)
{
    return &in->items[(in->front + i) % in->cap];
}

/* By the control log: what was skipped, or is forgotten. */
bool intake_is_skipped(const struct intake *in, const struct waiting *w);

/* Sets w->kind and what goes with it: a reason, or the segments. New labels
 * and domains get their numbers. */
void intake_decide(struct intake *in, struct waiting *w);

#endif
