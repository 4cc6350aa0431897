/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intake.h - decides what becomes of each record, and counts it in the order of
 * the stream.
 *
 * Intake decides a record when the record arrives: it is learned, held out,
 * quarantined or skipped. A record to be learned is cut into segments, which
 * wait for a step. A decision takes effect when the decisions on all earlier
 * records have: only then is the record counted, and the position moved past
 * it. So no version's position passes over a record in a part-filled batch, and
 * no record is counted twice.
 *
 *     intake_add -> [ record | record | record ] -> intake_next_batch,
 *                     front                         intake_apply
 *
 * Invariants: (1) Records leave at the front only. (2) Between two steps the
 * front is a record to be learned, or no record waits. (3) A decision depends
 * on the record, the records before it and the settings, never on timing.
 * (4) The filter has counted each waiting record, and has settled each record
 * whose decision took effect (filter.h).
 *
 * Owner:   the trainer; intake owns the records that it gets
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
#include "daemon/intake/refusals.h"
#include "daemon/stream/record.h"
#include "learner/tokenizer/tokenizer.h"
#include "replay/replay.h"
#include "store/catalog.h"
#include "store/tombstones.h"

struct intake; /* fields are in intake.c */

struct intake_options {
    const struct conf *conf;
    const struct tokenizer *tokenizer; /* NULL: preset linear */
    size_t context;                    /* targets in a segment */
    struct progress *progress;
    struct replay *holdout; /* gets the held-out segments */
    struct filter *filter;
    struct refusals *refusals;
};

struct intake *intake_create(const struct intake_options *options);
void intake_free(struct intake *in);

/* Sets the ranges that rollbacks skip (catalog_skipped), in any order. Owns the
 * array from now on. */
void intake_set_skipped(struct intake *in, struct catalog_range *ranges,
                        size_t n);

/* Sets the tombstones (tombstones_read): their records are skipped. Owns the
 * array from now on. */
void intake_set_forgotten(struct intake *in, struct tombstone *tombstones,
                          size_t n);

/* Decides the waiting records again, after a change of the ranges or the
 * tombstones. If the record at the front is skipped by now, the rest of its
 * segments is not learned. */
void intake_decide_again(struct intake *in, int64_t step);

/* The same after a rollback that skips: the rest of the segments of the record
 * at the front is not learned. */
void intake_restart(struct intake *in, int64_t step);

/*
 * Is a record with this text held out?
 *
 * The answer is a function of the text alone, so that all copies of a text are
 * on the same side. Of the first INTAKE_FIRST records at least
 * INTAKE_FIRST_HELD_OUT are held out, since the gate needs records to measure
 * on; intake remembers those texts, so that later copies are held out as well
 * (progress_keep_first_text).
 *   n_before  records before this one; skipped records do not count
 *   fraction  learner.holdout.fraction; 0: no record is held out
 */
#define INTAKE_FIRST PROGRESS_FIRST_TEXTS
#define INTAKE_FIRST_HELD_OUT 0.1
bool intake_holds_out(const char *text, size_t n_bytes, int64_t n_before,
                      double fraction);

/* source.when_behind: sample. From now on a record is learned with this
 * probability, a function of its partition and offset, else skipped. 1: all
 * records are learned. */
void intake_set_share(struct intake *in, double share);

/*
 * Decides a record and puts it at the end. The decision takes effect at once
 * when no record waits.
 *   step     the learner's steps so far, for the ledger
 *   returns  0, or ERR_INVALID for a bad record when source.bad_record is
 *            `stop`; intake owns the record in both cases
 */
int intake_add(struct intake *in, struct record *rec, int64_t step,
               struct err *err);

/* Waiting tokens. For preset linear a quarter of the bytes of a text stands for
 * its tokens. */
size_t intake_tokens(const struct intake *in);

/* Is a step due although less than a batch waits? True from 4096 waiting
 * records on: refused records would pile up behind a part-filled batch. Depends
 * on the records since the front only, so a restart gives the same steps. */
bool intake_is_long(const struct intake *in);

/*
 * The fresh segments of the next step, in the order of the records: at least
 * one, and at most batch_tokens if it is more than one.
 *
 * All records of a batch are released records, or none is. Filters and the
 * limit of the gradient do not apply to released records, and must apply to the
 * others. The arrays belong to intake and are valid until intake_apply.
 */
struct intake_batch {
    struct segment *segments;
    struct segment_origin *origins;
    const char **refused; /* [n], the caller sets it: why the step refused the
                             record that begins with this segment; or NULL */
    size_t n;
    size_t tokens; /* as intake_tokens counts */
    bool released;
};
void intake_next_batch(struct intake *in, size_t batch_tokens,
                       struct intake_batch *b);

/*
 * The batch was learned in step `step`: counts its records, writes the ledger
 * and moves the positions.
 *   refused  NULL: the records that b->refused names are quarantined; else the
 *            step made no update, and all records that begin in the batch are
 *            quarantined with this reason. A quarantined record is quarantined
 *            whole: its later segments are not learned.
 */
void intake_apply(struct intake *in, const struct intake_batch *b,
                  const char *refused, int64_t step);

/* Drops all waiting records, as if they had never arrived. */
void intake_clear(struct intake *in);

#endif
