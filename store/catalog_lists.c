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

#define IS_RANGE " WHERE c.kind IN ('skip', 'quarantine', 'skip_for_good')"

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

    (void)err;
    s->range = (struct catalog_range){sqlite3_column_int(q, 0),
                                      sqlite3_column_int64(q, 1),
                                      sqlite3_column_int64(q, 2)};
    s->id = sqlite3_column_int64(q, 3);
    s->time_ms = sqlite3_column_int64(q, 4);
    s->kind = db_text(q, 5);
    s->version = sqlite3_column_int64(q, 6);
    s->topic = db_text(q, 7);
    s->partition = sqlite3_column_int(q, 8);
    s->reason = db_text(q, 9);
    s->released_ms = sqlite3_column_int64(q, 10);
    s->read_again = sqlite3_column_int(q, 11) != 0;
    return 0;
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
