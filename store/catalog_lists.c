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

    struct db_cells c = {q, err, 0};

    h->id = db_cell(&c, 0, 0, DB_MOST);
    h->from_ms = db_cell(&c, 1, -DB_MOST, DB_MOST);
    h->until_ms = db_cell(&c, 2, -DB_MOST, DB_MOST);
    h->version = db_cell(&c, 3, 0, DB_MOST);
    h->previous = db_cell(&c, 4, 0, DB_MOST);
    h->cause = db_cell_text(&c, 5);
    h->reason = db_cell_text(&c, 6);
    return c.rc;
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

#define IS_RANGE " WHERE c.kind IN ('skip', 'quarantine', 'skip_for_good')"

static int read_range(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_range *r = row;

    struct db_cells c = {q, err, 0};

    r->partition_id = (int32_t)db_cell(&c, 0, 0, INT32_MAX);
    r->first_offset = db_cell(&c, 1, 0, DB_MOST);
    r->last_offset = db_cell(&c, 2, 0, DB_MOST);
    return c.rc;
}

static const struct catalog_row_type range_rows = {sizeof(struct catalog_range),
                                                   read_range, NULL};

int catalog_skipped(struct catalog *c, struct catalog_range **ranges, size_t *n,
                    struct err *err)
{
    struct catalog_rows list = {NULL, 0};
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(
        c, &range_rows, &list, err,
        "SELECT partition_id, first_offset, last_offset"
        " FROM control_log AS c" IS_RANGE
        " AND NOT EXISTS (SELECT 1 FROM control_log"
        " WHERE kind = 'release' AND version = c.id)"
        " UNION ALL SELECT partition_id, first_offset, last_offset"
        " FROM control_log"
        " WHERE kind IN ('release_record', 'forget')",
        "");
    catalog_unlock(c);
    *ranges = list.items;
    *n = rc ? 0 : ranges_settle(list.items, list.n);
    return rc;
}

static int read_skip(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_skip *s = row;

    struct db_cells c = {q, err, 0};

    s->range = (struct catalog_range){(int32_t)db_cell(&c, 0, 0, INT32_MAX),
                                      db_cell(&c, 1, 0, DB_MOST),
                                      db_cell(&c, 2, 0, DB_MOST)};
    s->id = db_cell(&c, 3, 0, DB_MOST);
    s->time_ms = db_cell(&c, 4, -DB_MOST, DB_MOST);
    s->kind = db_cell_text(&c, 5);
    s->version = db_cell_or(&c, 6, 0, DB_MOST, 0);
    s->topic = db_cell_text(&c, 7);
    s->partition = (int32_t)db_cell(&c, 8, 0, INT32_MAX);
    s->reason = db_cell_text_or_null(&c, 9);
    s->released_ms = db_cell(&c, 10, -DB_MOST, DB_MOST);
    s->read_again = sqlite3_column_int(q, 11) != 0;
    return c.rc;
}

static void release_skip(void *row)
{
    struct catalog_skip *s = row;

    free(s->kind);
    free(s->topic);
    free(s->reason);
}

static const struct catalog_row_type skip_rows = {
    sizeof(struct catalog_skip), read_skip, release_skip};

int catalog_ranges(struct catalog *c, struct catalog_skip **rows, size_t *n,
                   struct err *err)
{
    struct catalog_rows list;
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(
        c, &skip_rows, &list, err,
        "SELECT c.partition_id, c.first_offset, c.last_offset, c.id,"
        " c.time_ms, c.kind, c.version, p.topic, p.partition, c.reason,"
        " coalesce(r.time_ms, 0), EXISTS (SELECT 1 FROM control_log AS w"
        "  WHERE w.kind = 'rollback' AND w.id > r.id"
        "  AND (w.reason LIKE 'rewind:%' OR"
        "  w.reason LIKE 'automatic rewind:%')) FROM control_log AS c"
        " JOIN partitions AS p ON p.id = c.partition_id"
        " LEFT JOIN control_log AS r ON r.kind = 'release'"
        " AND r.version = c.id" IS_RANGE " ORDER BY c.id",
        "");
    catalog_unlock(c);
    *rows = list.items;
    *n = list.n;
    return rc;
}

void catalog_ranges_free(struct catalog_skip *rows, size_t n)
{
    catalog_rows_free(&skip_rows, rows, n);
}

/* --- the ledger of a version -------------------------------------------- */

static int read_run(sqlite3_stmt *q, void *row, struct err *err)
{
    struct store_ledger_run *r = row;
    const char *kind = (const char *)sqlite3_column_text(q, 5);
    struct db_cells c = {q, err, 0};

    *r = (struct store_ledger_run){
        .step = db_cell(&c, 0, 0, DB_MOST),
        .partition_id = (int32_t)db_cell(&c, 1, 0, INT32_MAX),
        .first_offset = db_cell(&c, 2, 0, DB_MOST),
        .last_offset = db_cell(&c, 3, 0, DB_MOST),
        .count = db_cell(&c, 4, 0, DB_MOST),
        .kind = kind ? kind[0] : '\0',
    };
    if (c.rc == 0 && (!kind || strlen(kind) != 1 || !strchr("lhqsc", *kind)))
        return err_set(err, ERR_CORRUPT, "mneme.db: the ledger has a run of "
                       "an unknown kind");
    return c.rc;
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
