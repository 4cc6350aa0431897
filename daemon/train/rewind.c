/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/rewind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/learner.h"
#include "store/ranges.h"
#include "store/store.h"

/* What a rollback to a version means for the partitions of the stream. */
struct plan {
    struct source_position *positions; /* next offsets of the version */
    /* With skip: the offsets from those positions to the present ones. */
    struct store_ledger_run *skipped;
    /* `skipped` without records that the version has learned in part: the
     * version has counted those. */
    struct store_ledger_run *counted;
    size_t n_positions, n_skipped, n_counted;
};

static void plan_release(struct plan *p)
{
    free(p->positions);
    free(p->skipped);
    free(p->counted);
}

/* Adds a run of the offsets `first` to `end` - 1, if there are any. */
static void add_run(struct store_ledger_run *runs, size_t *n, int64_t step,
                    size_t partition_id, int64_t first, int64_t end)
{
    if (first < end)
        runs[(*n)++] = (struct store_ledger_run){
            .step = step,
            .partition_id = (int32_t)partition_id,
            .first_offset = first,
            .last_offset = end - 1,
            .count = end - first,
            .kind = 's',
        };
}

static int make_plan(const struct learning *l, const struct catalog_version *v,
                     bool skip, struct plan *plan, struct err *err)
{
    const struct progress *p = &l->progress;
    int64_t step = learner_steps(l->learner);

    plan->positions = xcalloc(p->n_partitions, sizeof *plan->positions);
    plan->skipped = xcalloc(p->n_partitions, sizeof *plan->skipped);
    plan->counted = xcalloc(p->n_partitions, sizeof *plan->counted);
    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];
        const struct catalog_offset *o = NULL;
        struct source_position position = {q->topic, q->partition,
                                           q->first_offset, -1, 0};
        int64_t end = q->next_offset + (q->tokens_done > 0);

        for (size_t k = 0; k < v->n_offsets && !o; k++)
            if (v->offsets[k].partition_id == (int32_t)i)
                o = &v->offsets[k];
        if (!q->positioned && !o)
            continue;
        /* A partition that the version does not know begins where this store
         * first read it. */
        if (o) {
            position.next_offset = o->next_offset;
            position.last_learned = o->last_learned;
            position.last_hash = o->last_hash;
        }
        plan->positions[plan->n_positions++] = position;
        if (!skip)
            continue;
        /* After an earlier rollback the version may have learned records that
         * the stream still brings: with skip they would be learned twice. */
        if (o && (!q->positioned || o->next_offset > q->next_offset ||
                  (o->next_offset == q->next_offset &&
                   o->tokens_done > q->tokens_done)))
            return err_set(err, ERR_STATE,
                           "version %lld is ahead of the present position, so "
                           "there is nothing to skip: use rewind instead",
                           (long long)v->version);
        add_run(plan->skipped, &plan->n_skipped, step, i, position.next_offset,
                end);
        add_run(plan->counted, &plan->n_counted, step, i,
                position.next_offset + (o && o->tokens_done), end);
    }
    return 0;
}

/*
 * An automatic rollback adds to the control log only the offsets that the log
 * does not skip yet. A range that was released, but not read again since, stays
 * released. A range that was released and read again had its second chance:
 * now it is skipped for good.
 *   *logged  the array that rows->logged points to, to be freed
 */
static int log_quarantine(struct catalog *c, const struct plan *plan,
                          struct store_rollback *rows,
                          struct store_ledger_run **logged, struct err *err)
{
    struct catalog_skip *log = NULL;
    struct ranges known = {0}, retried = {0};
    size_t n_log = 0, cap = 0;
    int rc = catalog_ranges(c, &log, &n_log, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < n_log; i++) {
        const struct catalog_range *range = &log[i].range;

        if (!log[i].read_again)
            ranges_add(&known, range->partition_id, range->first_offset,
                       range->last_offset);
        else if (strcmp(log[i].kind, "quarantine") == 0)
            ranges_add(&retried, range->partition_id, range->first_offset,
                       range->last_offset);
    }
    known.n = ranges_normalize(known.items, known.n);
    retried.n = ranges_normalize(retried.items, retried.n);
    rows->range_kind = "quarantine";
    rows->n_logged = 0;
    XGROW(*logged, 0, cap); /* NULL would stand for all of rows->skipped */
    for (size_t i = 0; i < plan->n_skipped; i++) {
        struct store_ledger_run part = plan->skipped[i];
        int64_t last = part.last_offset;

        /* The gaps between known ranges, and the rest behind the last. */
        for (size_t k = 0; k <= known.n; k++) {
            const struct catalog_range *next =
                k < known.n ? &known.items[k] : NULL;

            if (next && (next->partition_id != part.partition_id ||
                         next->last_offset < part.first_offset))
                continue;
            part.last_offset = next && next->first_offset <= last
                                   ? next->first_offset - 1
                                   : last;
            part.count = part.last_offset - part.first_offset + 1;
            if (part.count > 0) {
                XGROW(*logged, rows->n_logged, cap);
                (*logged)[rows->n_logged++] = part;
                if (ranges_meet(retried.items, retried.n, part.partition_id,
                                part.first_offset, part.last_offset))
                    rows->range_kind = "skip_for_good";
            }
            if (next)
                part.first_offset = next->last_offset + 1;
        }
    }
    rows->logged = *logged;
    ranges_release(&known);
    ranges_release(&retried);
    catalog_ranges_free(log, n_log);
    return 0;
}

/* Records of the earlier epoch may stay in the queue; the trainer drops them.
 * Clearing the queue here would also drop records of the new epoch. */
static int move_source(const struct rewind_request *r,
                       const struct source_position *positions, size_t n,
                       struct err *err)
{
    int rc = source_seek(r->source, positions, n, *r->epoch + 1, err);

    if (rc == 0)
        ++*r->epoch;
    return rc;
}

/*
 * Loads the version into learning.
 *   *undone  records that learning had consumed after the version; negative
 *            when the version had consumed more
 */
static int load_version(const struct rewind_request *r, const struct plan *plan,
                        int64_t branch, int64_t *undone, struct err *err)
{
    struct learning *l = r->learning;
    struct status_records *records = &l->progress.records;
    int64_t consumed = records->consumed;
    size_t n = l->progress.n_partitions;
    struct progress_partition *present =
        xmemdup(l->progress.partitions, n * sizeof *present);
    int rc;

    if (!r->skip)
        intake_clear(l->intake);
    rc = learning_load(l, r->version, branch, err);
    *undone = consumed - records->consumed;
    if (rc == 0 && r->skip) {
        memcpy(l->progress.partitions, present, n * sizeof *present);
        records->skipped += *undone;
        records->consumed = consumed;
        intake_restart(l->intake, learner_steps(l->learner));
    }
    for (size_t i = 0; rc == 0 && i < plan->n_positions; i++)
        progress_begin(&l->progress, plan->positions[i].topic,
                       plan->positions[i].partition,
                       plan->positions[i].next_offset);
    free(present);
    return rc;
}

int rewind_run(const struct rewind_request *r, char *detail, size_t size,
               bool *for_good, struct err *err)
{
    struct learning *l = r->learning;
    struct source_position *present = NULL;
    struct store_offset *partitions = NULL;
    struct store_ledger_run *logged = NULL;
    struct plan plan = {0};
    struct catalog_version v;
    struct catalog_pointers pointers;
    struct store_rollback rows = {
        .to = r->version,
        .mode = r->skip ? "skip" : "rewind",
        .reason = r->reason,
        .keep_serving = r->keep_serving,
        .automatic = r->automatic,
    };
    size_t n_present = 0, n_partitions = 0;
    long long version = (long long)r->version;
    int64_t undone = 0;
    int rc = catalog_get(l->catalog, r->version, &v, err);

    *for_good = false;
    if (rc)
        return rc;

    /* The version must be whole. Without a verdict learning may continue from
     * it, but it may not serve. */
    if ((v.state == STORE_PENDING && !r->keep_serving) ||
        v.state == STORE_DAMAGED)
        rc = err_set(err, ERR_STATE, "version %lld is %s", version,
                     store_state_name(v.state));
    if (rc == 0)
        rc = store_verify(l->catalog, r->version, err);

    /* The records that are read again or skipped. */
    if (rc == 0)
        rc = make_plan(l, &v, r->skip, &plan, err);
    rows.skipped = plan.counted;
    rows.n_skipped = plan.n_counted;
    rows.logged = plan.skipped;
    rows.n_logged = plan.n_skipped;
    if (rc == 0 && r->automatic)
        rc = log_quarantine(l->catalog, &plan, &rows, &logged, err);

    /* Only the source knows whether the records can still be read. */
    if (rc == 0 && !r->skip)
        rc = move_source(r, plan.positions, plan.n_positions, err);
    if (rc)
        goto out;

    /* The transaction. When it fails, the source goes back to the present
     * position, and records that wait in the intake are read again. */
    partitions = progress_offsets(&l->progress, &n_partitions);
    present = progress_positions(&l->progress, &n_present);
    rc = publisher_rollback(r->publisher, &rows, partitions, n_partitions, err);
    if (rc && !r->skip) {
        if (move_source(r, present, n_present, NULL) == 0) {
            intake_clear(l->intake);
        } else {
            err_prefix(err, "the source cannot go back to the present "
                            "position, after the rollback failed");
            rc = err->code = ERR_DIVERGED;
        }
    }
    if (rc)
        goto out;

    /* The version was whole a moment ago. When it cannot be loaded now, only a
     * new start helps. */
    rc = catalog_pointers(l->catalog, &pointers, err);
    if (rc == 0)
        rc = load_version(r, &plan, pointers.newest + 1, &undone, err);
    if (rc) {
        err_prefix(err, "after the rollback was written");
        rc = err->code = ERR_DIVERGED;
        goto out;
    }
    *for_good = rows.range_kind && strcmp(rows.range_kind, "quarantine") != 0;
    snprintf(detail, size, "%s from version %lld%s: %lld",
             r->keep_serving ? "learning" : "serving and learning", version,
             r->skip      ? "; records skipped since then"
             : undone < 0 ? ", which had learned more records"
                          : "; records that are read again",
             (long long)llabs(undone));
out:
    free(present);
    free(partitions);
    free(logged);
    plan_release(&plan);
    catalog_version_release(&v);
    return rc;
}
