/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists of one statement each: what was served when, partitions, the
 * ranges that are skipped, a version's ledger. The quarantine is in
 * catalog_quarantine.c.
 */
#include "config.h"

#include "store/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "store/catalog_private.h"
#include "store/ranges.h"

/* --- history ------------------------------------------------------------ */

static int read_history(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_history *h = row;

    (void)err;
    h->id = sqlite3_column_int64(q, 0);
    h->from_ms = sqlite3_column_int64(q, 1);
    h->until_ms = sqlite3_column_int64(q, 2);
    h->version = sqlite3_column_int64(q, 3);
    h->previous = sqlite3_column_int64(q, 4);
    h->cause = db_text(q, 5);
    h->reason = db_text(q, 6);
    return 0;
}

static void release_history(void *row)
{
    struct catalog_history *h = row;

    free(h->cause);
    free(h->reason);
}

static const struct catalog_row_type history_rows = {
    sizeof(struct catalog_history), read_history, release_history};

int catalog_history(struct catalog *c, size_t limit,
                    struct catalog_history **rows, size_t *n, struct err *err)
{
    struct catalog_rows list;
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(
        c, &history_rows, &list, err,
        "SELECT id, from_ms, until_ms, version, previous, cause,"
        " reason FROM history ORDER BY id DESC LIMIT ?1",
        "i", catalog_limit(limit));
    catalog_unlock(c);
    *rows = list.items;
    *n = list.n;
    return rc;
}

void catalog_history_free(struct catalog_history *rows, size_t n)
{
    catalog_rows_free(&history_rows, rows, n);
}

/* --- partitions --------------------------------------------------------- */

int catalog_partitions(struct catalog *c, struct catalog_offset **rows,
                       size_t *n, struct err *err)
{
    struct catalog_rows list;
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(c, &catalog_offset_rows, &list, err,
                           "SELECT id, topic, partition, 0, 0, -1, 0"
                           " FROM partitions ORDER BY id",
                           "");
    catalog_unlock(c);
    *rows = list.items;
    *n = list.n;
    return rc;
}

/* --- what is skipped ---------------------------------------------------- */

static int read_range(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_range *r = row;

    (void)err;
    r->partition_id = sqlite3_column_int(q, 0);
    r->first_offset = sqlite3_column_int64(q, 1);
    r->last_offset = sqlite3_column_int64(q, 2);
    return 0;
}

static const struct catalog_row_type range_rows = {sizeof(struct catalog_range),
                                                   read_range, NULL};

static int read_events(struct catalog *c, struct ranges *out, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(c->db,
                        "SELECT partition_id, first_offset, last_offset,"
                        " kind = 'unskip' FROM control_log"
                        " WHERE kind IN ('skip', 'unskip') ORDER BY id",
                        &q, err);

    if (rc)
        return rc;
    while ((rc = db_step(c->db, q, err)) == DB_ROW) {
        int32_t partition_id = sqlite3_column_int(q, 0);
        int64_t first = sqlite3_column_int64(q, 1);
        int64_t last = sqlite3_column_int64(q, 2);

        if (sqlite3_column_int(q, 3))
            ranges_remove(out, partition_id, first, last);
        else
            ranges_add(out, partition_id, first, last);
    }
    db_done(q);
    return rc;
}

int catalog_skipped(struct catalog *c, struct catalog_range **ranges, size_t *n,
                    struct err *err)
{
    struct catalog_rows list = {NULL, 0};
    struct ranges all = {NULL, 0, 0};
    const struct catalog_range *r;
    int rc;

    catalog_lock(c);
    rc = read_events(c, &all, err);
    if (rc == 0)
        rc = catalog_rows_read(c, &range_rows, &list, err,
                               "SELECT partition_id, first_offset, last_offset"
                               " FROM control_log"
                               " WHERE kind IN ('release', 'forget')",
                               "");
    catalog_unlock(c);
    r = list.items;
    for (size_t i = 0; i < list.n; i++)
        ranges_add(&all, r[i].partition_id, r[i].first_offset,
                   r[i].last_offset);
    free(list.items);
    if (rc) {
        ranges_release(&all);
        return rc;
    }
    *n = ranges_settle(all.items, all.n);
    *ranges = all.items;
    return 0;
}

/* --- the ledger of a version -------------------------------------------- */

static int read_run(sqlite3_stmt *q, void *row, struct err *err)
{
    struct store_ledger_run *r = row;
    const unsigned char *kind = sqlite3_column_text(q, 5);

    (void)err;
    *r = (struct store_ledger_run){
        .step = sqlite3_column_int64(q, 0),
        .partition_id = sqlite3_column_int(q, 1),
        .first_offset = sqlite3_column_int64(q, 2),
        .last_offset = sqlite3_column_int64(q, 3),
        .count = sqlite3_column_int64(q, 4),
        .kind = kind ? (char)kind[0] : '\0',
    };
    return 0;
}

static const struct catalog_row_type run_rows = {
    sizeof(struct store_ledger_run), read_run, NULL};

int catalog_ledger(struct catalog *c, int64_t version,
                   struct store_ledger_run **runs, size_t *n, struct err *err)
{
    struct catalog_rows list;
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(c, &run_rows, &list, err,
                           "SELECT step, partition_id, first_offset,"
                           " last_offset, count, kind FROM ledger"
                           " WHERE version = ?1 ORDER BY seq",
                           "i", version);
    catalog_unlock(c);
    *runs = list.items;
    *n = list.n;
    return rc;
}
