/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the quarantine, by what is asked for.
 */
#include "config.h"

#include "store/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "store/catalog_private.h"

static int read_row(sqlite3_stmt *q, void *row, struct err *err)
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

static void release_row(void *row)
{
    struct catalog_quarantine *x = row;

    free(x->topic);
    free(x->reason);
    free(x->bytes);
    free(x->id);
    free(x->domain);
}

static const struct catalog_row_type rows_type = {
    sizeof(struct catalog_quarantine), read_row, release_row};

int catalog_quarantine_find(struct catalog *c,
                            const struct catalog_quarantine_filter *f,
                            struct catalog_quarantine **rows, size_t *n,
                            struct err *err)
{
    struct catalog_rows list;
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(
        c, &rows_type, &list, err,
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
        f->most_bytes ? (int64_t)f->most_bytes : (int64_t)INT32_MAX,
        f->domain);
    catalog_unlock(c);
    *rows = list.items;
    *n = list.n;
    return rc;
}

int catalog_quarantine(struct catalog *c, size_t limit,
                       struct catalog_quarantine **rows, size_t *n,
                       struct err *err)
{
    struct catalog_quarantine_filter all = {.limit = limit};

    return catalog_quarantine_find(c, &all, rows, n, err);
}

void catalog_quarantine_free(struct catalog_quarantine *rows, size_t n)
{
    catalog_rows_free(&rows_type, rows, n);
}
