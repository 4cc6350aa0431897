/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/catalog_files.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/catalog_private.h"
#include "store/version_files.h"

static int read_file(sqlite3_stmt *q, void *row, struct err *err)
{
    struct catalog_file *f = row;
    struct db_cells c = {q, err, 0};

    f->name = db_cell_text(&c, 0);
    f->bytes = db_cell(&c, 1, 0, DB_MOST);
    f->sha256 = db_cell_text(&c, 2);
    if (c.rc == 0 && !version_files_is_name(f->name))
        return err_set(err, ERR_CORRUPT,
                       "mneme.db: a version has no file named %.60s",
                       f->name);
    return c.rc;
}

static void release_file(void *row)
{
    struct catalog_file *f = row;

    free(f->name);
    free(f->sha256);
}

static const struct catalog_row_type file_rows = {sizeof(struct catalog_file),
                                                  read_file, release_file};

/* Stays as it is when there is no such version. */
static int read_digest(struct catalog *c, int64_t version, char sha256[65],
                       struct err *err)
{
    const char *text;
    sqlite3_stmt *q;
    int rc = db_prepare(
        c->db, "SELECT weights_sha256 FROM versions WHERE version = ?1", &q,
        err);

    if (rc)
        return rc;
    db_bind(q, "i", version);
    rc = db_step(c->db, q, err);
    if (rc == DB_ROW) {
        text = (const char *)sqlite3_column_text(q, 0);
        snprintf(sha256, 65, "%s", text ? text : "");
        rc = 0;
    }
    db_done(q);
    return rc;
}

int catalog_files(struct catalog *c, int64_t version,
                  struct catalog_file **files, size_t *n, char sha256[65],
                  struct err *err)
{
    struct catalog_rows list = {NULL, 0};
    int rc = catalog_enter(c, err);

    *files = NULL;
    *n = 0;
    sha256[0] = '\0';
    if (rc)
        return rc;
    rc = read_digest(c, version, sha256, err);
    if (rc == 0)
        rc = catalog_rows_read(c, &file_rows, &list, err,
                               "SELECT name, bytes, sha256 FROM version_files"
                               " WHERE version = ?1",
                               "i", version);
    rc = catalog_leave(c, rc, err);
    if (rc == 0 && list.n == 0)
        rc = catalog_no_version(version, err);
    if (rc) {
        catalog_files_free(list.items, list.n);
        return rc;
    }
    *files = list.items;
    *n = list.n;
    return 0;
}

void catalog_files_free(struct catalog_file *files, size_t n)
{
    catalog_rows_free(&file_rows, files, n);
}
