/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refusals.h - log lines about records that are not learned.
 *
 *     refused          a reason, with the number of its records since the line
 *                      before; at once for a new reason, then at most once a
 *                      minute
 *     end              at the end of a file: the decisions on its records
 *     nothing_learned  the first 100 records, or all records of a file, were
 *                      refused
 *
 * The counts are of the decisions since the last `end`. A record that is read
 * again after a rollback counts again.
 *     records = learned + held_out + skipped + quarantined
 *
 * Owner:   learning; keeps no pointer to a record
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_REFUSALS_H
#define MNEME_DAEMON_INTAKE_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/names.h"
#include "daemon/stream/record.h"

#define REFUSALS_EVERY_MS 60000
#define REFUSALS_FIRST 100

struct refusals_reason {
    int64_t count;     /* since the last `end` */
    int64_t unlogged;  /* since the last line */
    int64_t logged_ms; /* time of that line, monotonic; -1: none yet */
    /* The first unlogged record: */
    const char *topic;
    int32_t partition;
    int64_t offset;
    char detail[160];
};

struct refusals {
    bool logs; /* false: it only counts */
    int64_t records, learned, held_out, skipped, quarantined;
    int64_t refused; /* quarantined, or skipped for a reason */
    struct names reasons;
    struct refusals_reason *by_reason; /* [reasons.n] */
    size_t cap;
    char detail[160]; /* of the first refused record */
    bool warned;
    int64_t previewed, preview_refused;
};

void refusals_init(struct refusals *r);
void refusals_release(struct refusals *r);

/*
 * Counts the decision on a record.
 *   kind    as in struct store_ledger_run: l, h, q or s
 *   reason  why the record was refused; NULL: it was not
 *   now_ms  of the monotonic clock
 */
void refusals_count(struct refusals *r, char kind, const char *reason,
                    const struct record *rec, int64_t now_ms);

/* Counts a record that waits, undecided, for the vocabulary. Warns when all
 * records so far are bad, since the vocabulary may then wait for ever.
 *   rec  NULL: the source has ended */
void refusals_preview(struct refusals *r, const struct record *rec);

/* Logs the lines that are due. all: the lines of all unlogged records. */
void refusals_log(struct refusals *r, bool all, int64_t now_ms);

/* Logs the summary at the end of a file, and resets the counts. */
void refusals_end(struct refusals *r, int64_t now_ms);

#endif
