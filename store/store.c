/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a data directory: the lock, the database and the tables of all parts,
 * and away with what a crash has left unfinished.
 */
#include "config.h"

#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/backup.h"
#include "store/store_private.h"
#include "store/tombstones.h"
#include "store/version_files.h"
#include "store/wal.h"

/* --- settings ----------------------------------------------------------- */

int store_setting_get(struct store *s, const char *key, char **value,
                      struct err *err)
{
    return db_setting(s->db, key, value, err);
}

int store_setting_put(struct store *s, const char *key, const char *value,
                      struct err *err)
{
    return db_setting_put(s->db, key, value, err);
}

static int make_id(struct store *s, struct err *err)
{
    unsigned char bytes[16];
    char *known = NULL;
    int rc = store_setting_get(s, "store_id", &known, err);

    if (rc)
        return rc;
    if (known) {
        snprintf(s->id, sizeof s->id, "%s", known);
        free(known);
        return 0;
    }
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set_errno(err, ERR_IO, errno, "no random bytes");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(s->id + 2 * i, 3, "%02x", bytes[i]);
    return store_setting_put(s, "store_id", s->id, err);
}

/* --- the tables of other parts ------------------------------------------ */

static int run_statements(struct store *s, const struct store_schema *part,
                          int64_t done, struct err *err)
{
    int rc = db_begin(s->db, err);

    if (rc)
        return rc;
    for (size_t i = (size_t)done; i < part->n && rc == 0; i++)
        rc = db_exec(s->db, part->statements[i], err);
    if (rc == 0)
        rc = db_run(s->db, err, "REPLACE INTO schema VALUES (?1, ?2)", "ti",
                    part->part, (int64_t)part->n);
    return db_end(s->db, rc, err);
}

static int add_part(struct store *s, const struct store_schema *part,
                    struct err *err)
{
    int64_t done = 0;
    int rc = db_number(s->db, err, &done,
                       "SELECT statements FROM schema WHERE part = ?1", "t",
                       part->part);

    if (rc && rc != ERR_NOTFOUND)
        return rc;
    if (done > (int64_t)part->n)
        return err_set(err, ERR_STATE,
                       "%s/mneme.db: its tables for %s were made by a newer "
                       "mneme: upgrade",
                       s->dir, part->part);
    return done == (int64_t)part->n ? 0 : run_statements(s, part, done, err);
}

/* --- directories without rows ------------------------------------------- */

static int sweep_entry(struct store *s, const char *top, const char *name,
                       struct err *err)
{
    bool unfinished;
    int64_t version = version_files_number(name, &unfinished);
    int64_t there = 0;
    char *path;
    int rc;

    if (!version)
        return 0;
    if (!unfinished) {
        rc = db_number(s->db, err, &there,
                       "SELECT count(*) FROM versions WHERE version = ?1", "i",
                       version);
        if (rc || there)
            return rc;
    }
    path = fileio_join(top, name);
    rc = fileio_remove_dir(path, err);
    free(path);
    return rc;
}

int store_sweep(struct store *s, struct err *err)
{
    char *top = version_files_top(s->dir);
    const struct dirent *e;
    DIR *dir = opendir(top);
    int rc = 0;

    if (!dir) {
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot list", top);
        goto out;
    }
    while (rc == 0 && (errno = 0, e = readdir(dir)))
        rc = sweep_entry(s, top, e->d_name, err);
    if (rc == 0 && errno)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot list", top);
    closedir(dir);
out:
    free(top);
    return rc;
}

/* --- opening ------------------------------------------------------------ */

static int note_versions(struct store *s, struct err *err)
{
    char *top = version_files_top(s->dir);
    int rc = db_file_look(top, &s->versions, err);

    free(top);
    return rc;
}

static int make_dirs(const char *dir, struct err *err)
{
    char *top = version_files_top(dir);
    int rc = fileio_mkdirs(top, err);

    if (rc == 0)
        rc = fileio_sync_dir(dir, err);
    free(top);
    return rc;
}

/* Half of a backup would be taken for a whole store, and learned on. */
static int refuse_unfinished(const char *dir, struct err *err)
{
    char *path = fileio_join(dir, BACKUP_UNFINISHED);
    int rc = 0;

    if (fileio_exists(path))
        rc = err_set(err, ERR_STATE,
                     "%s: a backup or a restore into this directory did not "
                     "end: delete the directory, and do that again",
                     path);
    free(path);
    return rc;
}

static int take_lock(struct store *s, struct err *err)
{
    char *path = fileio_join(s->dir, "mnemed.pid");
    int rc = fileio_lock(path, &s->lock_fd, err);

    if (rc)
        s->lock_fd = -1;
    free(path);
    return rc;
}

static int open_db(struct store *s, struct err *err)
{
    char *path = fileio_join(s->dir, "mneme.db");
    char *log = fileio_join(s->dir, "mneme.db-wal");
    int rc;

    s->lost = wal_lost(log);
    rc = db_open_writer(path, &s->db, err);
    /* The file's own entry, and the log's. */
    if (rc == 0)
        rc = fileio_sync_dir(s->dir, err);
    free(log);
    free(path);
    return rc;
}

/* What a rollback skipped was passed over in memory only: whoever opens the
 * store reads it again from the head's position, and meets the control log. */
int store_drop_pending_ledger(struct store *s, struct err *err)
{
    return db_run(s->db, err, "DELETE FROM ledger_pending", "");
}

int store_open(const char *dir, const struct store_schema *schemas,
               size_t n_schemas, struct store **store, struct err *err)
{
    struct store *s = xcalloc(1, sizeof *s);
    int rc;

    s->dir = xstrdup(dir);
    s->lock_fd = -1;
    rc = refuse_unfinished(dir, err);
    if (rc == 0)
        rc = make_dirs(dir, err);
    if (rc == 0)
        rc = note_versions(s, err);
    if (rc == 0)
        rc = take_lock(s, err);
    if (rc == 0)
        rc = open_db(s, err);
    if (rc == 0)
        rc = make_id(s, err);
    for (size_t i = 0; i < n_schemas && rc == 0; i++)
        rc = add_part(s, &schemas[i], err);
    if (rc == 0) /* one that was interrupted */
        rc = tombstones_scrub(s, err);
    if (rc == 0)
        rc = store_drop_pending_ledger(s, err);
    if (rc == 0)
        rc = store_sweep(s, err);
    if (rc) {
        store_close(s);
        return rc;
    }
    *store = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    db_close(s->db);
    if (s->lock_fd >= 0) {
        /* Nobody's pid any more. The file stays: a lock on one that has
         * been removed keeps nobody out. */
        if (ftruncate(s->lock_fd, 0) != 0)
            errno = 0;
        fileio_unlock(s->lock_fd);
    }
    free(s->dir);
    free(s);
}

int store_check(struct store *s, struct err *err)
{
    char *top = version_files_top(s->dir);
    struct err why = ERR_INIT;
    int rc = db_check_writer(s->db, err);

    if (rc == 0 && !db_file_is(top, &s->versions)) {
        err_set(&why, ERR_IO,
                "%s: it was removed or replaced while it was in use; nothing "
                "is written any more: put the data directory back, or restore "
                "a backup (mneme restore), then start again",
                top);
        db_fail(s->db, &why);
        rc = db_check_writer(s->db, err);
    }
    free(top);
    return rc;
}

int store_lost(const struct store *s)
{
    return s->lost;
}

struct sqlite3 *store_connection(struct store *s)
{
    return db_handle(s->db);
}

const char *store_dir(const struct store *s)
{
    return s->dir;
}

const char *store_id(const struct store *s)
{
    return s->id;
}
