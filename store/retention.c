/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a version in the middle of a branch is removed, the versions whose base
 * it is take over its base, and its ledger as merged spans. One transaction
 * deletes the rows of all removed versions and of other parts. The directories
 * are deleted after it; after a crash, the next start moves the rest aside.
 */
#include "config.h"

#include "store/retention.h"

#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/store_private.h"
#include "store/version_files.h"

#define HOUR_MS ((int64_t)3600 * 1000)

/* --- choosing ----------------------------------------------------------- */

/* Keeps the newest version of each of the last `count` periods. */
static void keep_periods(int64_t period_ms, int count, int64_t now_ms,
                         struct retention_version *versions, size_t n)
{
    int64_t last = INT64_MAX;
    int64_t oldest = now_ms / period_ms - count;

    for (size_t i = 0; i < n; i++) {
        struct retention_version *v = &versions[i];
        int64_t period = v->created_ms / period_ms;

        if (v->undone || period <= oldest || period >= last)
            continue;
        v->kept = true;
        last = period;
    }
}

size_t retention_choose(const struct store_keep *keep, int64_t now_ms,
                        struct retention_version *versions, size_t n)
{
    size_t removed = 0;

    for (size_t i = 0; i < n; i++)
        versions[i].kept =
            versions[i].protect || (int64_t)i < (int64_t)keep->newest ||
            versions[i].version == keep->also;
    keep_periods(HOUR_MS, keep->hourly, now_ms, versions, n);
    keep_periods(24 * HOUR_MS, keep->daily, now_ms, versions, n);
    for (size_t i = 0; i < n; i++)
        removed += !versions[i].kept;
    return removed;
}

/* --- removing ----------------------------------------------------------- */

static int list_versions(struct store *s, struct retention_version **versions,
                         size_t *n, struct err *err)
{
    sqlite3_stmt *q;
    size_t cap = 0;
    int rc =
        db_prepare(s->db,
                   "SELECT version, created_ms, pinned OR state = 'pending' OR"
                   " version IN (head, serving) OR"
                   " version IN (SELECT version FROM tags),"
                   " state IN ('rolled_back', 'failed', 'damaged')"
                   " FROM versions JOIN pointers ORDER BY version DESC",
                   &q, err);

    if (rc)
        return rc;
    while ((rc = db_step(s->db, q, err)) == DB_ROW) {
        struct db_cells c = {q, err, 0};

        XGROW(*versions, *n, cap);
        (*versions)[(*n)++] = (struct retention_version){
            .version = db_cell(&c, 0, 1, DB_MOST),
            .created_ms = db_cell(&c, 1, -DB_MOST, DB_MOST),
            .protect = sqlite3_column_int(q, 2) != 0,
            .undone = sqlite3_column_int(q, 3) != 0,
        };
        rc = c.rc;
        if (rc)
            break;
    }
    db_done(q);
    return rc;
}

int retention_remove_row(struct db *db, int64_t version, struct err *err)
{
    int rc = db_run(
        db, err,
        "INSERT INTO ledger_merged SELECT heir.version, partition_id, kind,"
        " min(first_offset), max(last_offset), sum(count) FROM"
        " (SELECT partition_id, kind, first_offset, last_offset, count"
        "  FROM ledger WHERE version = ?1 UNION ALL"
        "  SELECT partition_id, kind, first_offset, last_offset, count"
        "  FROM ledger_merged WHERE version = ?1)"
        " JOIN versions AS heir ON heir.base = ?1 WHERE true"
        " GROUP BY heir.version, partition_id, kind"
        " ON CONFLICT (version, partition_id, kind) DO UPDATE SET"
        " first_offset = min(first_offset, excluded.first_offset),"
        " last_offset = max(last_offset, excluded.last_offset),"
        " count = count + excluded.count",
        "i", version);

    if (rc == 0)
        rc = db_run(db, err,
                    "UPDATE versions SET base = (SELECT base FROM versions"
                    " WHERE version = ?1) WHERE base = ?1",
                    "i", version);
    if (rc == 0)
        rc = db_run(db, err, "DELETE FROM versions WHERE version = ?1", "i",
                    version);
    return rc;
}

/* Deletes the rows of removed versions, then calls in_transaction with the kept
 * versions, ascending. */
static int
remove_rows(struct store *s, const struct retention_version *versions, size_t n,
            int (*in_transaction)(struct sqlite3 *db, const int64_t *kept,
                                  size_t n_kept, void *arg, struct err *err),
            void *arg, struct err *err)
{
    int64_t *kept = xcalloc(n + 1, sizeof *kept);
    size_t n_kept = 0;
    int rc = 0;

    for (size_t i = n; i-- > 0 && rc == 0;) {
        if (versions[i].kept)
            kept[n_kept++] = versions[i].version;
        else
            rc = retention_remove_row(s->db, versions[i].version, err);
    }
    if (rc == 0 && in_transaction)
        rc = in_transaction(db_handle(s->db), kept, n_kept, arg, err);
    free(kept);
    return rc;
}

static int remove_dirs(struct store *s,
                       const struct retention_version *versions, size_t n,
                       struct err *err)
{
    struct err why = ERR_INIT;
    int rc = store_check(s, &why); /* deleting the rows took a while */

    for (size_t i = 0; i < n && rc == 0; i++) {
        char *path;

        if (versions[i].kept)
            continue;
        path = version_files_path(s->dir, versions[i].version);
        rc = fileio_remove_dir(path, &why);
        free(path);
    }
    if (rc == ERR_IO)
        db_fail(s->db, &why);
    if (rc && err)
        *err = why;
    return rc;
}

int store_prune(struct store *s, const struct store_keep *keep, int64_t now_ms,
                int (*in_transaction)(struct sqlite3 *db, const int64_t *kept,
                                      size_t n_kept, void *arg,
                                      struct err *err),
                void *arg, int *removed, struct err *err)
{
    struct retention_version *versions = NULL;
    size_t n = 0;
    int rc;

    *removed = 0;
    rc = store_check(s, err);
    if (rc == 0)
        rc = list_versions(s, &versions, &n, err);
    if (rc)
        goto out;
    *removed = (int)retention_choose(keep, now_ms, versions, n);
    if (!*removed && !in_transaction)
        goto out;
    rc = db_begin(s->db, err);
    if (rc == 0)
        rc = db_end(s->db,
                    remove_rows(s, versions, n, in_transaction, arg, err), err);
    if (rc == 0)
        rc = remove_dirs(s, versions, n, err);
out:
    if (rc)
        *removed = 0;
    free(versions);
    return rc;
}
