/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refusals.h - what the log says about records that are not learned.
 *
 *     refused          for each reason at once, then at most once a minute,
 *                      with the number of records since the line before
 *     end              at the end of a file: what became of its records
 *     nothing_learned  all records were refused: of the first 100, and at the
 *                      end of a file
 *
 * Counts are of decisions of this process since the last `end`. A record that
 * is read again after a rollback counts again. The counts add up:
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
    int64_t count, untold; /* since the last `end`; since the last line */
    int64_t told_ms;       /* by the monotonic clock; -1: never */
    /* The first record that is untold: */
    const char *topic;
    int32_t partition;
    int64_t offset;
    char detail[160];
};

struct refusals {
    bool tells; /* false: counts only */
    int64_t records, learned, held_out, skipped, quarantined;
    int64_t refused; /* quarantined, or skipped for a reason */
    struct names reasons;
    struct refusals_reason *by_reason; /* [reasons.n] */
    size_t cap;
    char detail[160]; /* of the first record that was refused */
    bool warned;
    int64_t previewed, preview_refused;
};

void refusals_init(struct refusals *r);
void refusals_release(struct refusals *r);

/*
 * A record has been decided.
 *   kind    as in struct store_ledger_run: l, h, q or s
 *   reason  why it was refused; NULL: it was not
 *   now_ms  of the monotonic clock
 */
void refusals_count(struct refusals *r, char kind, const char *reason,
                    const struct record *rec, int64_t now_ms);

/* Before there is a vocabulary, records wait undecided: tells of one of them.
 * NULL: the source has ended. Warns when all records so far are bad ones, since
 * the vocabulary may then wait for ever. */
void refusals_preview(struct refusals *r, const struct record *rec);

/* Logs the lines that are due by now. all: also those that are not due yet. */
void refusals_tell(struct refusals *r, bool all, int64_t now_ms);

/* At the end of a file: logs the summary. Counts begin at 0 again. */
void refusals_end(struct refusals *r, int64_t now_ms);

#endif
