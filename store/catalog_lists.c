/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists that one statement reads: history, partitions, skipped ranges, a
 * version's ledger, the quarantine; and what the guard reads after a restart.
 *
 * The control log tells whether learning is paused, and how often the daemon
 * has rolled back by itself. The log only grows: a row counts as long as no
 * choice of an operator follows it. Rows are compared by id, so setting the
 * clock changes nothing.
 */
#include "config.h"

#include "store/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "store/catalog_private.h"
#include "store/ranges.h"

/* --- history -------------------------------------------------------------- */

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
    return catalog_rows_list(
        c, &history_rows, rows, n, err,
        "SELECT id, from_ms, until_ms, version, previous, cause,"
        " reason FROM history ORDER BY id DESC LIMIT ?1",
        "i", catalog_limit(limit));
}

void catalog_history_free(struct catalog_history *rows, size_t n)
{
    catalog_rows_free(&history_rows, rows, n);
}

/* --- partitions ----------------------------------------------------------- */

int catalog_partitions(struct catalog *c, struct catalog_offset **rows,
                       size_t *n, struct err *err)
{
    return catalog_rows_list(c, &catalog_offset_rows, rows, n, err,
                             "SELECT id, topic, partition, 0, 0, -1, 0"
                             " FROM partitions ORDER BY id",
                             "");
}

/* --- skipped ranges ------------------------------------------------------- */

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
    int rc = catalog_rows_list(
        c, &range_rows, ranges, n, err,
        "SELECT partition_id, first_offset, last_offset"
        " FROM control_log AS c" IS_RANGE
        " AND NOT EXISTS (SELECT 1 FROM control_log"
        " WHERE kind = 'release' AND version = c.id)"
        " UNION ALL SELECT partition_id, first_offset, last_offset"
        " FROM control_log"
        " WHERE kind IN ('release_record', 'forget')",
        "");

    if (rc == 0)
        *n = ranges_normalize(*ranges, *n);
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
    return catalog_rows_list(
        c, &skip_rows, rows, n, err,
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
}

void catalog_ranges_free(struct catalog_skip *rows, size_t n)
{
    catalog_rows_free(&skip_rows, rows, n);
}

/* --- the ledger of a version ---------------------------------------------- */

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
    return catalog_rows_list(c, &run_rows, runs, n, err,
                             "SELECT step, partition_id, first_offset,"
                             " last_offset, count, kind FROM ledger"
                             " WHERE version = ?1 ORDER BY seq",
                             "i", version);
}

/* --- quarantine ----------------------------------------------------------- */

static int read_quarantine(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_quarantine *x = row;
    const void *bytes = sqlite3_column_blob(q, 6);
    size_t n = (size_t)sqlite3_column_bytes(q, 6);

    struct db_cells c = {q, err, 0};

    x->row = db_cell(&c, 0, 0, DB_MOST);
    x->time_ms = db_cell(&c, 1, INT64_MIN, INT64_MAX); /* the record's */
    x->offset = db_cell(&c, 2, 0, DB_MOST);
    x->topic = db_cell_text(&c, 3);
    x->partition = (int32_t)db_cell(&c, 4, 0, INT32_MAX);
    x->reason = db_cell_text(&c, 5);
    x->bytes = xmalloc(n + 1);
    x->n_bytes = n;
    if (n)
        memcpy(x->bytes, bytes, n);
    x->bytes[n] = '\0';
    x->size = db_cell_or(&c, 7, 0, DB_MOST, 0);
    x->whole = db_cell(&c, 8, 0, 1) != 0;
    x->released = db_cell(&c, 9, 0, DB_MOST);
    x->id = db_cell_text_or_null(&c, 10);
    x->domain = db_cell_text_or_null(&c, 11);
    return c.rc;
}

static void release_quarantine(void *row)
{
    struct catalog_quarantine *x = row;

    free(x->topic);
    free(x->reason);
    free(x->bytes);
    free(x->id);
    free(x->domain);
}

static const struct catalog_row_type quarantine_rows = {
    sizeof(struct catalog_quarantine), read_quarantine, release_quarantine};

int catalog_quarantine_find(struct catalog *c,
                            const struct catalog_quarantine_filter *f,
                            struct catalog_quarantine **rows, size_t *n,
                            struct err *err)
{
    return catalog_rows_list(
        c, &quarantine_rows, rows, n, err,
        "SELECT quarantine.id, time_ms, record_offset, topic, partition,"
        " reason, substr(bytes, 1, ?7), length(bytes), whole,"
        " coalesce(release_id, 0), record_id, domain FROM quarantine"
        " JOIN partitions ON partitions.id = partition_id"
        " WHERE (?1 = 0 OR quarantine.id = ?1)"
        " AND (?2 IS NULL OR reason = ?2) AND (?3 IS NULL OR topic = ?3)"
        " AND (?4 = 0 OR quarantine.id < ?4)"
        " AND (?5 = 0 OR (release_id IS NULL AND whole))"
        " AND (?8 IS NULL OR domain = ?8)"
        " ORDER BY quarantine.id DESC LIMIT ?6",
        "ittiiiit", f->row, f->reason, f->topic, f->before,
        (int64_t)f->releasable, catalog_limit(f->limit),
        f->most_bytes ? (int64_t)f->most_bytes : (int64_t)INT32_MAX, f->domain);
}

void catalog_quarantine_free(struct catalog_quarantine *rows, size_t n)
{
    catalog_rows_free(&quarantine_rows, rows, n);
}

/* --- the guard's state ---------------------------------------------------- */

/* The id of the last choice of an operator, or 0. The reason of a rollback by
 * the daemon begins with "automatic" (store_change.c). */
#define OPERATORS_CHOICE                                                       \
    "(SELECT coalesce(max(id), 0) FROM control_log WHERE kind = 'promote' OR"  \
    " (kind = 'rollback' AND reason NOT LIKE 'automatic %'))"

static int read_text(sqlite3_stmt *q, void *row, struct err *err)
{
    char **text = row;

    (void)err;
    *text = db_text(q, 0);
    return 0;
}

static const struct catalog_row_type text_rows = {sizeof(char *), read_text,
                                                  NULL};

int catalog_guard(struct catalog *c, int64_t version, char **guard,
                  struct err *err)
{
    char **texts;
    size_t n;
    int rc = catalog_rows_list(
        c, &text_rows, &texts, &n, err,
        "WITH RECURSIVE line (version, base, guard) AS ("
        " SELECT version, base, guard FROM versions WHERE version = ?1"
        " UNION SELECT v.version, v.base, v.guard FROM versions AS v"
        " JOIN line ON v.version = line.base WHERE line.guard IS NULL)"
        " SELECT guard FROM line WHERE guard IS NOT NULL",
        "i", version);

    *guard = n ? texts[0] : NULL;
    free(texts);
    return rc;
}

static int read_time(sqlite3_stmt *q, void *row, struct err *err)
{
    int64_t *time_ms = row;
    struct db_cells c = {q, err, 0};

    *time_ms = db_cell(&c, 0, -DB_MOST, DB_MOST);
    return c.rc;
}

static const struct catalog_row_type time_rows = {sizeof(int64_t), read_time,
                                                  NULL};

int catalog_auto_rollbacks(struct catalog *c, size_t most, int64_t *at_ms,
                           size_t *n, struct err *err)
{
    int64_t *times;
    int rc = catalog_rows_list(c, &time_rows, &times, n, err,
                               "SELECT time_ms FROM control_log"
                               " WHERE kind = 'rollback'"
                               " AND reason LIKE 'automatic skip:%'"
                               " AND id > " OPERATORS_CHOICE
                               " ORDER BY id DESC LIMIT ?1",
                               "i", (int64_t)most);

    for (size_t i = 0; i < *n; i++)
        at_ms[i] = times[i];
    free(times);
    return rc;
}

static int read_pause(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_pause *pause = row;
    struct db_cells c = {q, err, 0};

    pause->version = db_cell(&c, 0, 0, DB_MOST);
    pause->ended = sqlite3_column_int(q, 1) != 0;
    pause->reason = db_cell_text_or_null(&c, 2);
    return c.rc;
}

static void release_pause(void *row)
{
    struct catalog_pause *pause = row;

    free(pause->reason);
}

static const struct catalog_row_type pause_rows = {sizeof(struct catalog_pause),
                                                   read_pause, release_pause};

int catalog_pause(struct catalog *c, struct catalog_pause *pause,
                  struct err *err)
{
    struct catalog_pause *last;
    size_t n;
    int rc = catalog_rows_list(c, &pause_rows, &last, &n, err,
                               "SELECT version, id < " OPERATORS_CHOICE
                               ", reason FROM control_log WHERE kind = 'hold'"
                               " ORDER BY id DESC LIMIT 1",
                               "");

    *pause = n ? last[0] : (struct catalog_pause){0};
    free(last);
    return rc;
}
