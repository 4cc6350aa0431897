/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup takes these steps:
 *
 *   read_store      begins a read transaction; reads pointers, versions and the
 *                   names of their files; opens each file, so that retention
 *                   cannot take it away. Begins again when a file of the head
 *                   or serving version was removed before it was opened
 *   copy_database   copies the database and ends the transaction
 *   copy_versions   copies the files and checks their digests
 *   finish_database deletes the rows of left-out versions from the copy, and
 *                   checks its integrity
 *   backup_copy_end syncs everything, writes the list of digests, and deletes
 *                   the file `unfinished`
 *
 * While the database is copied, the daemon cannot empty its log, which grows.
 */
#include "config.h"

#include "store/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/backup_copy.h"
#include "store/db.h"
#include "store/retention.h"
#include "store/version_files.h"

#define MAX_READS 20 /* each fails when a file is removed meanwhile */

struct item {
    int64_t version;
    char *name;
    int64_t bytes;
    char sha256[SHA256_HEX];
    int fd; /* -1: not open */
};

struct making {
    const char *from;
    struct db *db;   /* of `from` */
    struct db *made; /* the copy */
    int64_t head, serving;
    struct item *items; /* by version, the newest first */
    size_t n, cap;
    struct backup_copy copy;
    struct backup_report *report;
    size_t cap_left_out;
};

/* --- reading the store -------------------------------------------------- */

static void leave_out(struct making *m, int64_t version)
{
    struct backup_report *r = m->report;

    XGROW(r->left_out, r->n_left_out, m->cap_left_out);
    r->left_out[r->n_left_out++] = version;
}

static int read_pointers(struct making *m, struct err *err)
{
    int rc = db_number(m->db, err, &m->head, "SELECT head FROM pointers", "");

    if (rc == 0)
        rc = db_number(m->db, err, &m->serving, "SELECT serving FROM pointers",
                       "");
    if (rc == ERR_NOTFOUND)
        rc = err_set(err, ERR_CORRUPT,
                     "%s/mneme.db: the row of pointers is missing", m->from);
    return rc;
}

static int add_item(struct making *m, sqlite3_stmt *q, struct err *err)
{
    const char *sha256 = (const char *)sqlite3_column_text(q, 3);
    struct db_cells c = {q, err, 0};
    struct item *item;

    XGROW(m->items, m->n, m->cap);
    item = &m->items[m->n++];
    item->version = db_cell(&c, 0, 1, DB_MOST);
    item->name = db_cell_text(&c, 1);
    item->bytes = db_cell(&c, 2, 0, INT64_C(1) << 50);
    snprintf(item->sha256, sizeof item->sha256, "%s", sha256 ? sha256 : "");
    item->fd = -1;
    m->copy.total += item->bytes;
    if (c.rc == 0 && !version_files_is_name(item->name))
        return err_set(err, ERR_CORRUPT,
                       "mneme.db: a version has no file named %.60s",
                       item->name);
    return c.rc;
}

static int read_items(struct making *m, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(m->db,
                        "SELECT version, name, version_files.bytes, sha256"
                        " FROM version_files JOIN versions USING (version)"
                        " WHERE state <> 'damaged' ORDER BY version DESC",
                        &q, err);

    if (rc)
        return rc;
    while ((rc = db_step(m->db, q, err)) == DB_ROW) {
        rc = add_item(m, q, err);
        if (rc)
            break;
    }
    db_done(q);
    return rc;
}

static int read_damaged(struct making *m, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(m->db,
                        "SELECT version FROM versions WHERE state = 'damaged'",
                        &q, err);

    if (rc)
        return rc;
    while ((rc = db_step(m->db, q, err)) == DB_ROW)
        leave_out(m, sqlite3_column_int64(q, 0));
    db_done(q);
    return rc;
}

static void close_items(struct making *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->items[i].fd >= 0)
            close(m->items[i].fd);
        free(m->items[i].name);
    }
    m->n = 0;
}

/* There may be many pinned versions. */
static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static char *path_of(const struct making *m, const struct item *item)
{
    char *dir = version_files_path(m->from, item->version);
    char *path = fileio_join(dir, item->name);

    free(dir);
    return path;
}

static bool is_needed(const struct making *m, int64_t version)
{
    return version == m->head || version == m->serving;
}

/* ERR_AGAIN: a needed file was removed. Another file that cannot be opened is
 * an error of copy_item. */
static int open_items(struct making *m, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < m->n && rc == 0; i++) {
        struct item *item = &m->items[i];
        char *path = path_of(m, item);

        item->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
                                  O_NONBLOCK);
        if (item->fd < 0 && errno == ENOENT && is_needed(m, item->version))
            rc = err_set(err, ERR_AGAIN, "%s: damaged: missing", path);
        free(path);
    }
    return rc;
}

static int read_store_once(struct making *m, struct err *err)
{
    int rc = db_begin_read(m->db, err);

    if (rc == 0)
        rc = read_pointers(m, err);
    if (rc == 0)
        rc = read_items(m, err);
    if (rc == 0)
        rc = read_damaged(m, err);
    if (rc == 0)
        rc = open_items(m, err);
    return rc;
}

static int read_store(struct making *m, struct err *err)
{
    int rc = ERR_AGAIN;

    raise_open_files();
    for (int i = 0; i < MAX_READS && rc == ERR_AGAIN; i++) {
        close_items(m);
        m->copy.total = 0;
        m->report->n_left_out = 0;
        rc = read_store_once(m, err);
        if (rc)
            db_end(m->db, rc, NULL);
    }
    if (rc != ERR_AGAIN)
        return rc;
    if (err)
        err->code = ERR_CORRUPT; /* the message stays */
    return ERR_CORRUPT;
}

/* --- copying ------------------------------------------------------------ */

static void report_database(int64_t done, int64_t of, void *arg)
{
    struct backup_copy *c = arg;

    if (c->progress)
        c->progress(done, c->total + of, c->arg);
}

static int copy_database(struct making *m, struct err *err)
{
    char *path = fileio_join(m->copy.to, "mneme.db");
    int rc = db_copy(m->db, path, report_database, &m->copy, &m->made, err);

    rc = db_end(m->db, rc, err);
    db_close(m->db);
    m->db = NULL;
    free(path);
    return rc;
}

static int copy_item(struct making *m, struct item *item, struct err *err)
{
    char *from = path_of(m, item);
    char *path = xasprintf("versions/%06lld/%s", (long long)item->version,
                           item->name);
    int rc = 0;

    if (item->fd < 0)
        item->fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
                                  O_NONBLOCK);
    if (item->fd < 0)
        rc = err_set_errno(err, ERR_CORRUPT, errno, "%s: cannot open", from);
    else
        rc = backup_copy_file(&m->copy, item->fd, from, path, item->sha256,
                              err);
    if (item->fd >= 0)
        close(item->fd);
    item->fd = -1;
    free(path);
    free(from);
    return rc;
}

/* Copies the files of the version of item `at`. *next is the first item of the
 * next version. */
static int copy_version(struct making *m, size_t at, size_t *next,
                        struct err *err)
{
    int64_t version = m->items[at].version;
    char *dir = version_files_path(m->copy.to, version);
    size_t before = m->copy.n;
    int rc = fileio_mkdirs(dir, err);

    for (; at < m->n && m->items[at].version == version; at++)
        if (rc == 0)
            rc = copy_item(m, &m->items[at], err);
    *next = at;
    if (rc == 0)
        rc = fileio_sync_dir(dir, err);
    if (rc == ERR_CORRUPT && !is_needed(m, version)) {
        backup_copy_cut(&m->copy, before);
        rc = fileio_remove_dir(dir, err);
        leave_out(m, version);
    } else if (rc == 0) {
        m->report->n_versions++;
    }
    free(dir);
    return rc;
}

static int copy_versions(struct making *m, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < m->n && rc == 0;)
        rc = copy_version(m, i, &i, err);
    return rc;
}

/* --- finishing the database --------------------------------------------- */

static int delete_left_out(struct making *m, struct err *err)
{
    int rc;

    if (m->report->n_left_out == 0)
        return 0;
    rc = db_begin(m->made, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < m->report->n_left_out && rc == 0; i++)
        rc = retention_remove_row(m->made, m->report->left_out[i], err);
    return db_end(m->made, rc, err);
}

static int finish_database(struct making *m, struct err *err)
{
    char *path = fileio_join(m->copy.to, "mneme.db");
    char sha256[SHA256_HEX];
    int rc = delete_left_out(m, err);

    if (rc == 0)
        rc = db_check(m->made, err);
    db_close(m->made);
    m->made = NULL;
    if (rc == 0)
        rc = checksum_sha256_file(path, sha256, err);
    if (rc == 0)
        backup_copy_add(&m->copy, "mneme.db", sha256);
    free(path);
    return rc;
}

/* --- the backup --------------------------------------------------------- */

static int make(struct making *m, struct err *err)
{
    int rc = read_store(m, err);

    if (rc == 0)
        rc = copy_database(m, err);
    if (rc == 0)
        rc = copy_versions(m, err);
    if (rc == 0)
        rc = finish_database(m, err);
    if (rc == 0)
        rc = backup_copy_end(&m->copy, 1, err);
    return rc;
}

void backup_report_release(struct backup_report *r)
{
    free(r->left_out);
    *r = (struct backup_report){0};
}

/* Refuses a target in the data directory, by the last directory of the path
 * that exists. */
static int refuse_inside(const char *from, const char *to, struct err *err)
{
    char *source = realpath(from, NULL), *path = xstrdup(to), *existing;
    size_t n = source ? strlen(source) : 0;
    int rc = 0;

    while (!(existing = realpath(path, NULL)) && errno == ENOENT &&
           strchr(path, '/'))
        *strrchr(path, '/') = '\0';
    if (!existing)
        existing = realpath(*path ? "." : "/", NULL);
    if (source && existing && strncmp(source, existing, n) == 0 &&
        (existing[n] == '/' || !existing[n]))
        rc = err_set(err, ERR_INVALID,
                     "%s is in the data directory %s: name a directory outside",
                     to, from);
    free(existing);
    free(path);
    free(source);
    return rc;
}

int backup_make(const char *from, const char *to, backup_progress_fn *progress,
                void *arg, struct backup_report *report, struct err *err)
{
    struct making m = {.from = from, .report = report};
    char *path = fileio_join(from, "mneme.db");
    int rc;

    *report = (struct backup_report){0};
    m.copy = (struct backup_copy){
        .to = to, .progress = progress, .arg = arg};
    rc = refuse_inside(from, to, err);
    if (rc == 0)
        rc = db_open_reader(path, &m.db, err);
    if (rc == 0)
        rc = backup_copy_begin(&m.copy, err);
    if (rc == 0) {
        rc = make(&m, err);
        db_close(m.made);
        if (rc)
            backup_copy_undo(&m.copy);
    }
    report->head = m.head;
    report->serving = m.serving;
    report->n_files = (int64_t)m.copy.n;
    report->bytes = m.copy.done;
    db_close(m.db);
    close_items(&m);
    backup_copy_release(&m.copy);
    free(m.items);
    free(path);
    if (rc)
        backup_report_release(report);
    return rc;
}
