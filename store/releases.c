/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/releases.h"

#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "store/catalog_private.h"
#include "store/store_private.h"

/* --- writing ------------------------------------------------------------ */

/* Checks that the row is whole and not released yet. */
static int check_row(struct store *s, int64_t row, struct err *err)
{
    int64_t state = 0;
    int rc = db_number(s->db, err, &state,
                       "SELECT CASE WHEN release_id IS NOT NULL THEN 1"
                       " WHEN NOT whole THEN 2 ELSE 0 END"
                       " FROM quarantine WHERE id = ?1",
                       "i", row);

    if (rc == ERR_NOTFOUND)
        return err_set(err, ERR_NOTFOUND,
                       "there is no record %lld in quarantine",
                       (long long)row);
    if (rc == 0 && state == 1)
        rc = err_set(err, ERR_STATE, "record %lld has been released already",
                     (long long)row);
    if (rc == 0 && state == 2)
        rc = err_set(err, ERR_STATE,
                     "record %lld was cut when it was stored, so it cannot be "
                     "released",
                     (long long)row);
    return rc;
}

static int release(struct store *s, int64_t row, struct err *err)
{
    int rc = check_row(s, row, err);

    if (rc == 0)
        rc = db_run(s->db, err,
                    "INSERT INTO control_log (time_ms, kind, partition_id,"
                    " first_offset, last_offset, reason)"
                    " SELECT ?2, 'release_record',"
                    " partition_id, record_offset, record_offset, reason"
                    " FROM quarantine WHERE id = ?1",
                    "ii", row, timing_wall_ms());
    if (rc == 0)
        rc = db_run(s->db, err,
                    "INSERT INTO releases (control_id, partition_id,"
                    " record_offset, time_ms, reason, bytes, record_id,"
                    " domain) SELECT last_insert_rowid(), partition_id,"
                    " record_offset, time_ms, reason, bytes, record_id, domain"
                    " FROM quarantine WHERE id = ?1",
                    "i", row);
    if (rc == 0)
        rc = db_run(s->db, err,
                    "UPDATE quarantine SET release_id = last_insert_rowid()"
                    " WHERE id = ?1",
                    "i", row);
    return rc;
}

int releases_write(struct store *s, const int64_t *rows, size_t n,
                   struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = release(s, rows[i], err);
    return db_end(s->db, rc, err);
}

/* --- reading ------------------------------------------------------------ */

static int read_row(sqlite3_stmt *q, void *row, struct err *err)
{
    struct releases_row *r = row;
    const void *bytes = sqlite3_column_blob(q, 7);
    struct db_cells c = {q, err, 0};

    r->id = db_cell(&c, 0, 0, DB_MOST);
    r->topic = db_cell_text(&c, 1);
    r->partition = (int32_t)db_cell(&c, 2, 0, INT32_MAX);
    r->offset = db_cell(&c, 3, 0, DB_MOST);
    r->time_ms = db_cell(&c, 4, INT64_MIN, INT64_MAX); /* the record's */
    r->reason = db_cell_text(&c, 5);
    r->domain = db_cell_text_or_null(&c, 6);
    r->n_bytes = (size_t)sqlite3_column_bytes(q, 7);
    r->bytes = xmalloc(r->n_bytes + 1);
    if (r->n_bytes)
        memcpy(r->bytes, bytes, r->n_bytes);
    r->bytes[r->n_bytes] = '\0';
    return c.rc;
}

static void release_row(void *row)
{
    struct releases_row *r = row;

    free(r->topic);
    free(r->reason);
    free(r->domain);
    free(r->bytes);
}

static const struct catalog_row_type rows_type = {sizeof(struct releases_row),
                                                  read_row, release_row};

int releases_read(struct catalog *c, int64_t from, size_t limit,
                  struct releases_row **rows, size_t *n, struct err *err)
{
    return catalog_rows_list(c, &rows_type, rows, n, err,
                             "SELECT releases.id, topic, partition,"
                             " record_offset, time_ms, reason, domain, bytes"
                             " FROM releases"
                             " JOIN partitions ON partitions.id = partition_id"
                             " WHERE releases.id >= ?1 ORDER BY releases.id"
                             " LIMIT ?2",
                             "ii", from, catalog_limit(limit));
}

void releases_free(struct releases_row *rows, size_t n)
{
    catalog_rows_free(&rows_type, rows, n);
}
