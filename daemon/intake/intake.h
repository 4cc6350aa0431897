/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intake.h - records decided and waiting, in the order of the stream.
 *
 * Each record is decided when it comes in: learned, held out, quarantined or
 * skipped; what is to be learned is cut into segments. A decision takes effect
 * only when everything before it in the stream has: so the position of a
 * version never passes over a record that a part-filled batch still holds, and
 * a record is counted once.
 *
 *     intake_add -> [ record | record | record ] -> intake_batch, intake_apply
 *                     front
 *
 * Invariants: (1) records leave at the front only. (2) Between two steps the
 * front is a record to be learned, or the queue is empty. (3) What is decided
 * depends on the record, on those before it and the options, never on timing.
 * (4) The filter has seen all that waits; for a version that is
 * taken back on a copy (intake_export).
 *
 * Owner:   the trainer; intake owns the records it is given
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_INTAKE_H
#define MNEME_DAEMON_INTAKE_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/segment.h"
#include "conf/conf.h"
#include "daemon/intake/filter.h"
#include "daemon/intake/progress.h"
#include "daemon/stream/record.h"
#include "daemon/intake/refusals.h"
#include "learner/tokenizer/tokenizer.h"
#include "replay/replay.h"
#include "store/catalog.h"
#include "store/tombstones.h"

struct intake; /* fields are in intake.c */

struct intake_options {
    const struct conf *conf;
    const struct tokenizer *tokenizer; /* NULL: preset linear */
    size_t context;                    /* targets in a segment */
    struct progress *progress;         /* the trainer's */
    struct replay *holdout;            /* held-out segments go there */
    struct filter *filter;             /* learning's; NULL: none */
    struct refusals *refusals;         /* learning's; NULL: none */
};

struct intake *intake_create(const struct intake_options *options);
void intake_free(struct intake *in);

/* What the control log skips (catalog_skipped), in any order. Takes the array
 * over. */
void intake_set_skipped(struct intake *in, struct catalog_range *ranges,
                        size_t n);

/* What is forgotten by id or domain (tombstones_read): skipped, too. Takes the
 * array over. */
void intake_set_forgotten(struct intake *in, struct tombstone *tombstones,
                          size_t n);

/* The tables above have changed: waiting records that are skipped by now are
 * not learned, nor the rest of one that was learned in part. */
void intake_decide_again(struct intake *in, int64_t step);

/*
 * Is a record with this text held out, with so many before it (skipped ones do
 * not count)? Of the first INTAKE_FIRST a tenth or the fraction, whichever is
 * more, and by the fraction from then on: a gate that has
 * nothing to measure on lets everything pass, and with one record in a hundred
 * it would have a dozen after the first thousand. Else a function of the text
 * alone: duplicates share a side, and intake sees to it that those of the first
 * do, too (progress_keep_first_text). A fraction of 0 is none.
 */
#define INTAKE_FIRST PROGRESS_FIRST_TEXTS
#define INTAKE_FIRST_HELD_OUT 0.1
bool intake_holds_out(const char *text, size_t n_bytes, int64_t place,
                      double fraction);

/* when_behind: sample. From now on a record is learned with this chance, drawn
 * from its partition and offset, and counted as skipped otherwise; 1: all. */
void intake_set_share(struct intake *in, double share);

/*
 * Decides a record and puts it at the end; what needs no step before it takes
 * effect at once. step: the learner's steps so far, for the ledger.
 * Returns 0, or ERR_INVALID for a bad record when bad_record is `stop`; the
 * record is gone in both cases.
 */
int intake_add(struct intake *in, struct record *rec, int64_t step,
               struct err *err);

/* Tokens waiting to be learned; preset linear counts a quarter of a text's
 * bytes, about the same. */
size_t intake_tokens(const struct intake *in);

/* Have so many records come without a batch of tokens (a flood that is refused)
 * that a step should be made of what there is? A matter of the records since
 * the front, so that a restart comes to the same. */
bool intake_is_long(const struct intake *in);

/* Bytes of memory that waiting records take, about. */
size_t intake_memory(const struct intake *in);

/* The next step's fresh segments: whole ones in record order, until the next
 * would pass batch_tokens, at least one; or until a released record meets one
 * that is not. What a person wants learned no filter asks, and no gradient is
 * too large for: that must not hold for what came beside it. Arrays are
 * intake's, valid until intake_apply. */
struct intake_batch {
    struct segment *segments;
    struct segment_origin *origins;
    const char **refused; /* [n] NULL, or why the step refused the record that
                             begins with this segment: to be filled in */
    size_t n;
    size_t tokens; /* as intake_tokens counts */
    bool released; /* all of its records are, or none is */
};
void intake_next_batch(struct intake *in, size_t batch_tokens,
                       struct intake_batch *b);

/* The batch has been learned in step `step`: counts, ledger, positions; then
 * whatever waited behind it. refused not NULL: the step made no update, and all
 * records that begin in it are quarantined for that reason; else those that
 * b->refused names. They are quarantined whole: what is left of them is not
 * learned either. */
void intake_apply(struct intake *in, const struct intake_batch *b,
                  const char *refused, int64_t step);

/* A rollback that does not read again: everything waiting is decided anew
 * against the tables as they are now; the record that was learned in part, if
 * any, is dropped. Returns its partition and offset, or -1. */
int32_t intake_restart(struct intake *in, int64_t step, int64_t *offset);

/* Drops everything that waits, as if it had never come. */
void intake_clear(struct intake *in);

/* The filter's state at the position: without what waits. */
void intake_export(const struct intake *in, struct tensor_list *out);

#endif
