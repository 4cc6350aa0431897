/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/rewind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/learner.h"
#include "store/store.h"

static int check_version(struct catalog *catalog, int64_t version,
                         struct catalog_version *v, struct err *err)
{
    int rc = catalog_get(catalog, version, v, err);

    if (rc)
        return rc;
    if (v->state == STORE_PENDING || v->state == STORE_DAMAGED)
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
    int64_t offset = 0;
    int rc = learning_load(l, version, branch, err);

    if (rc == 0) {
        struct status_records *records = &l->progress.records;

        for (size_t i = 0; i < n; i++)
            l->progress.partitions[i] = present[i];
        *undone = consumed - records->consumed;
        records->skipped += *undone;
        records->consumed = consumed;
        intake_restart(l->intake, learner_steps(l->learner), &offset);
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
               struct err *err)
{
    struct learning *l = r->learning;
    struct source_position *back = NULL, *present = NULL;
    struct store_ledger_run *skipped = NULL;
    struct catalog_version v;
    struct catalog_pointers pointers;
    struct store_offset *known = NULL;
    struct store_rollback rows = {
        .to = r->version,
        .mode = r->skip ? "skip" : "rewind",
        .reason = r->reason,
        .keep_serving = r->keep_serving,
    };
    size_t n = 0, n_present = 0, n_known = 0;
    int64_t undone = 0;
    int rc = check_version(l->catalog, r->version, &v, err);

    if (rc)
        return rc;
    if (r->skip)
        rc = check_not_ahead(l, &v, err);
    if (rc)
        goto out;
    back = positions_of(l, &v, &n);
    present = progress_positions(&l->progress, &n_present);
    if (r->skip)
        skipped = skipped_ranges(l, back, n, &rows.n_skipped);
    else
        rc = move_source(r, back, n, err);
    if (rc)
        goto out;
    known = progress_offsets(&l->progress, &n_known);
    rows.skipped = skipped;
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
out:
    free(back);
    free(present);
    free(skipped);
    free(known);
    catalog_version_release(&v);
    return rc;
}
