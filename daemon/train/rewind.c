/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/rewind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/learner.h"
#include "store/store.h"

/* A version without a verdict is not for serving, but learning may go back to
 * it. */
static int check_version(struct catalog *catalog,
                         const struct rewind_request *r,
                         struct catalog_version *v, struct err *err)
{
    int64_t version = r->version;

    int rc = catalog_get(catalog, version, v, err);

    if (rc)
        return rc;
    if ((v->state == STORE_PENDING && !r->keep_serving) ||
        v->state == STORE_DAMAGED)
        rc = err_set(err, ERR_STATE, "version %lld is %s",
                     (long long)version, store_state_name(v->state));
    if (rc == 0)
        rc = store_verify(catalog, version, err);
    if (rc)
        catalog_version_release(v);
    return rc;
}

/* --- where the source goes ---------------------------------------------- */

static const struct catalog_offset *find_offset(const struct catalog_version *v,
                                                size_t partition_id)
{
    for (size_t i = 0; i < v->n_offsets; i++)
        if (v->offsets[i].partition_id == (int32_t)partition_id)
            return &v->offsets[i];
    return NULL;
}

/* Positions of a version: partitions that came later begin where they first
 * began. */
static struct source_position *
positions_of(const struct learning *l, const struct catalog_version *v,
             size_t *n)
{
    const struct progress *p = &l->progress;
    struct source_position *out = xcalloc(p->n_partitions, sizeof *out);

    *n = 0;
    for (size_t i = 0; i < p->n_partitions; i++) {
        const struct progress_partition *q = &p->partitions[i];
        const struct catalog_offset *o = find_offset(v, i);
        struct source_position *at = &out[*n];

        if (!q->positioned && !o)
            continue;
        *at = (struct source_position){q->topic, q->partition,
                                       q->first_offset, -1, 0};
        if (o) {
            at->next_offset = o->next_offset;
            at->last_learned = o->last_learned;
            at->last_hash = o->last_hash;
        }
        ++*n;
    }
    return out;
}

/* Records of the epoch before stay in the queue, for the trainer to drop: it is
 * too late to clear it, the source may have put new ones behind them. */
static int move_source(const struct rewind_request *r,
                       const struct source_position *positions, size_t n,
                       struct err *err)
{
    int rc = source_seek(r->source, positions, n, *r->epoch + 1, err);

    if (rc == 0)
        ++*r->epoch;
    return rc;
}

/* --- what `skip` leaves out --------------------------------------------- */

/* A version that was rolled back may have learned what lies before us now:
 * staying where the stream is would learn it twice. */
static int check_not_ahead(const struct learning *l,
                           const struct catalog_version *v, struct err *err)
{
    for (size_t i = 0; i < l->progress.n_partitions; i++) {
        const struct progress_partition *q = &l->progress.partitions[i];
        const struct catalog_offset *o = find_offset(v, i);

        if (o && (!q->positioned || o->next_offset > q->next_offset ||
                  (o->next_offset == q->next_offset &&
                   o->tokens_done > q->tokens_done)))
            return err_set(err, ERR_STATE,
                           "version %lld is ahead of the stream, so that there "
                           "is nothing to skip; rewind goes to it",
                           (long long)v->version);
    }
    return 0;
}

static struct store_ledger_run *
skipped_ranges(const struct learning *l, const struct source_position *from,
               size_t n_from, size_t *n)
{
    const struct progress *p = &l->progress;
    struct store_ledger_run *runs = xcalloc(n_from, sizeof *runs);

    *n = 0;
    for (size_t i = 0, k = 0; i < p->n_partitions && k < n_from; i++) {
        const struct progress_partition *q = &p->partitions[i];
        int64_t last = q->next_offset - (q->tokens_done ? 0 : 1);

        if (!q->positioned)
            continue;
        if (last >= from[k].next_offset)
            runs[(*n)++] = (struct store_ledger_run){
                .step = learner_steps(l->learner),
                .partition_id = (int32_t)i,
                .first_offset = from[k].next_offset,
                .last_offset = last,
                .count = last - from[k].next_offset + 1,
                .kind = 's',
            };
        k++;
    }
    return runs;
}

/* For the ledger: without a record of which N has learned a part, and which it
 * has counted. */
static struct store_ledger_run *
not_counted(const struct catalog_version *v,
            const struct store_ledger_run *runs, size_t n, size_t *n_out)
{
    struct store_ledger_run *out = xcalloc(n, sizeof *out);

    *n_out = 0;
    for (size_t i = 0; i < n; i++) {
        struct store_ledger_run run = runs[i];
        const struct catalog_offset *o =
            find_offset(v, (size_t)run.partition_id);

        if (o && o->tokens_done && o->next_offset == run.first_offset) {
            run.first_offset++;
            run.count--;
        }
        if (run.count > 0)
            out[(*n_out)++] = run;
    }
    return out;
}

/* --- what goes to the control log when nobody asked ---------------------- */

/* Takes what `gone` covers out of a run; what is behind it becomes a
 * run of its own. Returns whether there is one. */
static bool cut_run(struct store_ledger_run *run,
                    const struct catalog_range *gone,
                    struct store_ledger_run *rest)
{
    *rest = *run;
    if (gone->partition_id != run->partition_id ||
        gone->first_offset > run->last_offset ||
        gone->last_offset < run->first_offset)
        return false;
    rest->first_offset = gone->last_offset + 1;
    run->last_offset = gone->first_offset - 1;
    run->count = run->last_offset - run->first_offset + 1;
    rest->count = rest->last_offset - rest->first_offset + 1;
    return rest->count > 0;
}

/* The parts of a run that the control log does not skip yet; what was released
 * and has not been read again stays released. */
static void add_parts(const struct store_ledger_run *run,
                      const struct catalog_skip *known, size_t n_known,
                      struct store_ledger_run **parts, size_t *n, size_t *cap)
{
    struct store_ledger_run *queue = NULL;
    size_t n_queue = 0, cap_queue = 0;

    XGROW(queue, n_queue, cap_queue);
    queue[n_queue++] = *run;
    for (size_t i = 0; i < n_known; i++) {
        size_t before = n_queue;

        if (known[i].read_again)
            continue;
        for (size_t k = 0; k < before; k++) {
            struct store_ledger_run rest;

            if (!cut_run(&queue[k], &known[i].range, &rest))
                continue;
            XGROW(queue, n_queue, cap_queue);
            queue[n_queue++] = rest;
        }
    }
    for (size_t k = 0; k < n_queue; k++) {
        if (queue[k].last_offset < queue[k].first_offset)
            continue;
        XGROW(*parts, *n, *cap);
        (*parts)[(*n)++] = queue[k];
    }
    free(queue);
}

/* Has any part of these runs been in quarantine, released, and read again? */
static bool had_a_chance(const struct store_ledger_run *runs, size_t n,
                         const struct catalog_skip *known, size_t n_known)
{
    for (size_t i = 0; i < n_known; i++)
        for (size_t k = 0; k < n; k++)
            if (known[i].read_again &&
                strcmp(known[i].kind, "quarantine") == 0 &&
                known[i].range.partition_id == runs[k].partition_id &&
                known[i].range.first_offset <= runs[k].last_offset &&
                known[i].range.last_offset >= runs[k].first_offset)
                return true;
    return false;
}

/* What of the skipped runs is new in the control log, and as what. */
static int log_in_quarantine(const struct learning *l,
                             const struct store_ledger_run *skipped,
                             size_t n_skipped, struct store_rollback *rows,
                             struct store_ledger_run **logged,
                             struct err *err)
{
    struct catalog_skip *known = NULL;
    size_t n_known = 0, cap = 0;
    int rc = catalog_ranges(l->catalog, &known, &n_known, err);

    if (rc)
        return rc;
    XGROW(*logged, 0, cap); /* never NULL: that would be all of them */
    rows->n_logged = 0;
    for (size_t i = 0; i < n_skipped; i++)
        add_parts(&skipped[i], known, n_known, logged, &rows->n_logged,
                  &cap);
    rows->logged = *logged;
    rows->range_kind = had_a_chance(*logged, rows->n_logged, known, n_known)
                           ? "skip_for_good"
                           : "quarantine";
    catalog_ranges_free(known, n_known);
    return 0;
}

/* After `skip`: the present position, N's counters, and what was between
 * counted as skipped. */
static int load_skipping(struct learning *l, int64_t version, int64_t branch,
                         int64_t *undone, struct err *err)
{
    int64_t consumed = l->progress.records.consumed;
    struct progress_partition *present =
        xmemdup(l->progress.partitions,
                l->progress.n_partitions * sizeof *present);
    size_t n = l->progress.n_partitions;
    int rc = learning_load(l, version, branch, err);

    if (rc == 0) {
        struct status_records *records = &l->progress.records;

        for (size_t i = 0; i < n; i++)
            l->progress.partitions[i] = present[i];
        *undone = consumed - records->consumed;
        records->skipped += *undone;
        records->consumed = consumed;
        intake_restart(l->intake, learner_steps(l->learner));
    }
    free(present);
    return rc;
}

static int load_rewound(struct learning *l, int64_t version, int64_t branch,
                        const struct source_position *positions, size_t n,
                        int64_t *undone, struct err *err)
{
    int64_t consumed = l->progress.records.consumed;
    int rc;

    intake_clear(l->intake);
    rc = learning_load(l, version, branch, err);
    *undone = consumed - l->progress.records.consumed;
    for (size_t i = 0; rc == 0 && i < n; i++)
        progress_begin(&l->progress, positions[i].topic,
                       positions[i].partition, positions[i].next_offset);
    return rc;
}

/* --- all of it ---------------------------------------------------------- */

/* undone: records since the version; below 0 when it was ahead of us. */
static void describe(const struct rewind_request *r, int64_t undone,
                     char *detail, size_t size)
{
    const char *who = r->keep_serving ? "learning" : "serving and learning";

    if (r->skip)
        snprintf(detail, size,
                 "%s from version %lld; %lld records since then are skipped",
                 who, (long long)r->version, (long long)undone);
    else if (undone < 0)
        snprintf(detail, size,
                 "%s from version %lld, which had learned %lld records more",
                 who, (long long)r->version, (long long)-undone);
    else
        snprintf(detail, size,
                 "%s from version %lld; %lld records are read again", who,
                 (long long)r->version, (long long)undone);
}

int rewind_run(const struct rewind_request *r, char *detail, size_t size,
               bool *for_good, struct err *err)
{
    struct learning *l = r->learning;
    struct source_position *back = NULL, *present = NULL;
    struct store_ledger_run *skipped = NULL, *counted = NULL, *logged = NULL;
    struct catalog_version v;
    struct catalog_pointers pointers;
    struct store_offset *known = NULL;
    struct store_rollback rows = {
        .to = r->version,
        .mode = r->skip ? "skip" : "rewind",
        .reason = r->reason,
        .keep_serving = r->keep_serving,
        .automatic = r->automatic,
    };
    size_t n = 0, n_present = 0, n_known = 0, n_skipped = 0;
    int64_t undone = 0;
    int rc = check_version(l->catalog, r, &v, err);

    if (rc)
        return rc;
    if (r->skip)
        rc = check_not_ahead(l, &v, err);
    if (rc)
        goto out;
    back = positions_of(l, &v, &n);
    present = progress_positions(&l->progress, &n_present);
    if (r->skip)
        skipped = skipped_ranges(l, back, n, &n_skipped);
    else
        rc = move_source(r, back, n, err);
    if (rc)
        goto out;
    known = progress_offsets(&l->progress, &n_known);
    rows.skipped = counted = not_counted(&v, skipped, n_skipped,
                                         &rows.n_skipped);
    rows.logged = skipped;
    rows.n_logged = n_skipped;
    if (r->automatic)
        rc = log_in_quarantine(l, skipped, n_skipped, &rows, &logged, err);
    if (rc)
        goto out;
    rc = publisher_rollback(r->publisher, &rows, known, n_known, err);
    if (rc) {
        if (!r->skip && move_source(r, present, n_present, NULL) == 0)
            intake_clear(l->intake);
        goto out;
    }
    rc = catalog_pointers(l->catalog, &pointers, err);
    if (rc == 0)
        rc = r->skip ? load_skipping(l, r->version, pointers.newest + 1,
                                     &undone, err)
                     : load_rewound(l, r->version, pointers.newest + 1, back,
                                    n, &undone, err);
    if (rc) {
        err_prefix(err, "after the rollback was written");
        rc = err->code = ERR_DIVERGED;
        goto out;
    }
    describe(r, undone, detail, size);
    if (for_good)
        *for_good = rows.range_kind &&
                    strcmp(rows.range_kind, "skip_for_good") == 0;
out:
    free(back);
    free(present);
    free(skipped);
    free(counted);
    free(logged);
    free(known);
    catalog_version_release(&v);
    return rc;
}
