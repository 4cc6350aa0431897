/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a data directory: takes the lock, opens the database with the tables of
 * all parts, and moves the directories aside that a crash has left.
 */
#include "config.h"

#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
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

static void add_name(struct buf *list, const char *name)
{
    buf_addf(list, list->len ? ", %s" : "%s", name);
}

/* Does a directory without a row belong to this store? Its state file names the
 * store's id. A directory of an older program names no id; it belongs to this
 * store when its number is at most the next version's. */
static int check_owner(struct store *s, const char *path, int64_t version,
                       bool *ours, struct err *err)
{
    char *id = version_files_store_id(path);
    int64_t newest = 0;
    int rc = 0;

    *ours = id && strcmp(id, s->id) == 0;
    if (!id) {
        rc = db_number(s->db, err, &newest, "SELECT newest FROM pointers", "");
        *ours = version <= newest + 1;
    }
    free(id);
    return rc;
}

static int move_aside(struct store *s, const char *path, const char *name,
                      struct err *err)
{
    char *aside = version_files_aside(s->dir, name);
    int rc = fileio_remove_dir(aside, err);

    if (rc == 0)
        rc = fileio_rename(path, aside, err);
    if (rc == 0)
        add_name(&s->swept, name);
    s->has_swept = true;
    free(aside);
    return rc;
}

static int sweep_entry(struct store *s, const char *top, const char *name,
                       struct err *err)
{
    bool unfinished, ours = true;
    int64_t version = version_files_number(name, &unfinished);
    int64_t there = 0;
    char *path;
    int rc = 0;

    if (!version)
        return 0;
    path = fileio_join(top, name);
    if (!unfinished)
        rc = db_number(s->db, err, &there,
                       "SELECT count(*) FROM versions WHERE version = ?1", "i",
                       version);
    if (rc == 0 && !there && !unfinished)
        rc = check_owner(s, path, version, &ours, err);
    if (rc == 0 && !there && ours)
        rc = move_aside(s, path, name, err);
    else if (rc == 0 && !there)
        add_name(&s->strangers, name);
    free(path);
    return rc;
}

static int remove_entry(struct store *s, const char *top, const char *name,
                        struct err *err)
{
    char *path;
    int rc;

    (void)s;
    if (strncmp(name, VERSION_FILES_ASIDE, strlen(VERSION_FILES_ASIDE)) != 0)
        return 0;
    path = fileio_join(top, name);
    rc = fileio_remove_dir(path, err);
    free(path);
    return rc;
}

static int for_entries(struct store *s,
                       int (*act)(struct store *s, const char *top,
                                  const char *name, struct err *err),
                       struct err *err)
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
        rc = act(s, top, e->d_name, err);
    if (rc == 0 && errno)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot list", top);
    closedir(dir);
out:
    free(top);
    return rc;
}

int store_sweep(struct store *s, struct err *err)
{
    buf_clear(&s->swept);
    buf_clear(&s->strangers);
    return for_entries(s, sweep_entry, err);
}

int store_remove_swept(struct store *s, struct err *err)
{
    int rc;

    if (!s->has_swept)
        return 0;
    rc = for_entries(s, remove_entry, err);
    s->has_swept = rc != 0;
    return rc;
}

/* --- opening ------------------------------------------------------------ */

static int open_versions(struct store *s, struct err *err)
{
    char *top = version_files_top(s->dir);
    int rc = 0;

    s->versions_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->versions_fd < 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot open", top);
    free(top);
    return rc;
}

static int make_dirs(struct store *s, struct err *err)
{
    char *top = version_files_top(s->dir);
    int rc = fileio_mkdirs(s->dir, err);

    if (rc == 0)
        s->privacy = fileio_make_private(s->dir, "mneme.db");
    if (rc == 0)
        rc = fileio_mkdirs(top, err);
    if (rc == 0)
        fileio_make_private(top, ".");
    if (rc == 0)
        rc = fileio_sync_dir(s->dir, err);
    free(top);
    return rc;
}

/* A daemon would learn from half of a backup as if it were complete. */
static int refuse_backup(const char *dir, struct err *err)
{
    char *unfinished = fileio_join(dir, BACKUP_UNFINISHED);
    char *sums = fileio_join(dir, BACKUP_SUMS);
    int rc = 0;

    if (fileio_exists(unfinished))
        rc = err_set(err, ERR_STATE,
                     "%s: a backup or a restore into this directory did not "
                     "end: delete the directory, and repeat it",
                     unfinished);
    else if (fileio_exists(sums))
        rc = err_set(err, ERR_STATE,
                     "%s is a backup (it has %s), which mnemed would change: "
                     "use mneme restore %s --data-dir DIR, and start on DIR",
                     dir, BACKUP_SUMS, dir);
    free(sums);
    free(unfinished);
    return rc;
}

/* Without its database, a data directory would look new, and its versions would
 * look like remains of a crash. So it is refused. An empty database without
 * versions is accepted: a first start that ended early leaves one. */
static int refuse_without_database(const char *dir, struct err *err)
{
    char *db = fileio_join(dir, "mneme.db");
    char *log = fileio_join(dir, "mneme.db-wal");
    char *shared = fileio_join(dir, "mneme.db-shm");
    char *top = version_files_top(dir);
    struct stat st;
    int rc = db_check_files(db, err);
    bool there = stat(db, &st) == 0;

    if (rc || (there ? st.st_size > 0 : errno != ENOENT && errno != ENOTDIR))
        goto out;
    if (fileio_has_entries(top))
        rc = err_set(err, ERR_STATE,
                     "%s: %s, but %s is not empty; nothing was changed: put "
                     "mneme.db back with its mneme.db-wal, or restore a backup "
                     "(mneme restore), or, to begin anew, move versions away",
                     db, there ? "empty" : "missing", top);
    else if (!there && (fileio_exists(log) || fileio_exists(shared)))
        rc = err_set(err, ERR_STATE,
                     "%s: missing, but its -wal or -shm exists; nothing was "
                     "changed: put mneme.db back, or restore a backup (mneme "
                     "restore), or, to begin anew, delete the two",
                     db);
out:
    free(top);
    free(shared);
    free(log);
    free(db);
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

/* Makes an empty private file, since SQLite gives the mode of the database to
 * its log. Syncs the directory before there can be a log. */
static int make_database(struct store *s, const char *path, struct err *err)
{
    int fd = -1;
    int rc;

    if (fileio_exists(path))
        return 0;
    rc = fileio_create(path, &fd, err);
    if (fd >= 0)
        close(fd);
    return rc ? rc : fileio_sync_dir(s->dir, err);
}

static int open_db(struct store *s, struct err *err)
{
    char *path = fileio_join(s->dir, "mneme.db");
    char *log = fileio_join(s->dir, "mneme.db-wal");
    char *shared = fileio_join(s->dir, "mneme.db-shm");
    int rc;

    fileio_make_file_private(path);
    fileio_make_file_private(log);
    fileio_make_file_private(shared);
    s->lost = wal_lost(log);
    rc = make_database(s, path, err);
    if (rc == 0)
        rc = db_open_writer(path, &s->db, err);
    /* Makes the log's directory entry durable. */
    if (rc == 0)
        rc = fileio_sync_dir(s->dir, err);
    free(shared);
    free(log);
    free(path);
    return rc;
}

/* A process that opens the store reads again from the position of the head
 * version, and the control log tells it which records to skip. So the runs of
 * the last rollback must not be counted a second time. */
int store_drop_pending_ledger(struct store *s, struct err *err)
{
    return db_run(s->db, err, "DELETE FROM ledger_pending", "");
}

/* Finishes an interrupted scrub. A full disk or a lock of a reader is no error:
 * the daemon starts, and tries again later. */
static int scrub_again(struct store *s, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = tombstones_scrub(s, &why);

    if (rc == ERR_FULL || rc == ERR_STATE)
        return 0;
    if (rc && err)
        *err = why;
    return rc;
}

int store_open(const char *dir, const struct store_schema *schemas,
               size_t n_schemas, struct store **store, struct err *err)
{
    struct store *s = xcalloc(1, sizeof *s);
    int rc;

    s->dir = xstrdup(dir);
    s->lock_fd = s->versions_fd = -1;
    rc = refuse_backup(dir, err);
    if (rc == 0)
        rc = refuse_without_database(dir, err);
    if (rc == 0)
        rc = make_dirs(s, err);
    if (rc == 0)
        rc = open_versions(s, err);
    if (rc == 0)
        rc = take_lock(s, err);
    if (rc == 0)
        rc = open_db(s, err);
    if (rc == 0)
        rc = make_id(s, err);
    for (size_t i = 0; i < n_schemas && rc == 0; i++)
        rc = add_part(s, &schemas[i], err);
    if (rc == 0)
        rc = scrub_again(s, err);
    if (rc == 0)
        rc = store_drop_pending_ledger(s, err);
    s->has_swept = true; /* perhaps by the last start */
    if (rc == 0)
        rc = store_remove_swept(s, err);
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
        char *path = fileio_join(s->dir, "mnemed.pid");

        fileio_unlock_delete(s->lock_fd, path);
        free(path);
    }
    if (s->versions_fd >= 0)
        close(s->versions_fd);
    buf_release(&s->swept);
    buf_release(&s->strangers);
    free(s->dir);
    free(s);
}

int store_check(struct store *s, struct err *err)
{
    char *top = version_files_top(s->dir);
    struct err why = ERR_INIT;
    int rc = db_check_writer(s->db, err);

    if (rc == 0 && !fileio_names(top, s->versions_fd)) {
        err_set(&why, ERR_IO,
                "%s: this directory was removed or replaced while in use; "
                "nothing more is written: put the data directory back, or "
                "restore a backup (mneme restore), then start again",
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

const char *store_swept(const struct store *s)
{
    return s->swept.len ? s->swept.data : NULL;
}

const char *store_strangers(const struct store *s)
{
    return s->strangers.len ? s->strangers.data : NULL;
}

enum fileio_privacy store_privacy(const struct store *s)
{
    return s->privacy;
}

const char *store_dir(const struct store *s)
{
    return s->dir;
}

const char *store_id(const struct store *s)
{
    return s->id;
}
