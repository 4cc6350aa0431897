/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guard has to find again after a restart. That learning holds, and
 * how often the daemon went back, is read off the control log, which only
 * grows: a row counts as long as no operator's choice has come after it. Rows
 * are compared by id, so that a clock that is set plays no part in that.
 */
#include "config.h"

#include "store/catalog.h"

#include <stdlib.h>

#include "store/catalog_private.h"

/* The id of the last one. What the daemon does by itself begins with
 * "automatic" (store_change.c). */
#define OPERATORS_CHOICE                                                       \
    "(SELECT coalesce(max(id), 0) FROM control_log WHERE kind = 'promote' OR"  \
    " (kind = 'rollback' AND reason NOT LIKE 'automatic %'))"

/* --- what it knew ------------------------------------------------------- */

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
    struct catalog_rows rows = {NULL, 0};
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(
        c, &text_rows, &rows, err,
        "WITH RECURSIVE line (version, base, guard) AS ("
        " SELECT version, base, guard FROM versions WHERE version = ?1"
        " UNION SELECT v.version, v.base, v.guard FROM versions AS v"
        " JOIN line ON v.version = line.base WHERE line.guard IS NULL)"
        " SELECT guard FROM line WHERE guard IS NOT NULL",
        "i", version);
    catalog_unlock(c);
    *guard = rows.n ? *(char **)rows.items : NULL;
    free(rows.items);
    return rc;
}

/* --- how often it went back --------------------------------------------- */

static int read_number(sqlite3_stmt *q, void *row, struct err *err)
{
    int64_t *number = row;

    struct db_cells c = {q, err, 0};

    *number = db_cell(&c, 0, -DB_MOST, DB_MOST);
    return c.rc;
}

static const struct catalog_row_type number_rows = {sizeof(int64_t),
                                                    read_number, NULL};

int catalog_went_back(struct catalog *c, size_t most, int64_t *at_ms,
                      size_t *n, struct err *err)
{
    struct catalog_rows rows = {NULL, 0};
    const int64_t *found;
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(c, &number_rows, &rows, err,
                           "SELECT time_ms FROM control_log"
                           " WHERE kind = 'rollback'"
                           " AND reason LIKE 'automatic skip:%'"
                           " AND id > " OPERATORS_CHOICE
                           " ORDER BY id DESC LIMIT ?1",
                           "i", (int64_t)most);
    catalog_unlock(c);
    found = rows.items;
    *n = rows.n;
    for (size_t i = 0; i < rows.n; i++)
        at_ms[i] = found[i];
    free(rows.items);
    return rc;
}

/* --- when learning was held --------------------------------------------- */

static int read_hold(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_hold *hold = row;

    struct db_cells c = {q, err, 0};

    hold->version = db_cell(&c, 0, 0, DB_MOST);
    hold->lifted = sqlite3_column_int(q, 1) != 0;
    hold->reason = db_cell_text_or_null(&c, 2);
    return c.rc;
}

static void release_hold(void *row)
{
    struct catalog_hold *hold = row;

    free(hold->reason);
}

static const struct catalog_row_type hold_rows = {sizeof(struct catalog_hold),
                                                  read_hold, release_hold};

int catalog_hold(struct catalog *c, struct catalog_hold *hold, struct err *err)
{
    struct catalog_rows rows = {NULL, 0};
    int rc;

    catalog_lock(c);
    rc = catalog_rows_read(c, &hold_rows, &rows, err,
                           "SELECT version, id < " OPERATORS_CHOICE ", reason"
                           " FROM control_log WHERE kind = 'hold'"
                           " ORDER BY id DESC LIMIT 1",
                           "");
    catalog_unlock(c);
    *hold = rows.n ? *(struct catalog_hold *)rows.items
                   : (struct catalog_hold){0};
    free(rows.items);
    return rc;
}
