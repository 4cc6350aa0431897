/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A restore copies each file in the list and checks its digest. The database
 * gets a temporary name. It gets its own name when its rows and the list name
 * the same files with the same digests.
 */
#include "config.h"

#include "store/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/backup_copy.h"
#include "store/db.h"
#include "store/version_files.h"

#define LIST_BYTES ((size_t)64 << 20)
#define DATABASE "mneme.db"
#define DATABASE_NEW "mneme.db.new"

struct restoring {
    const char *from;
    struct backup_copy wanted; /* the list of the backup */
    struct backup_copy copy;
    struct backup_report *report;
};

/* --- the list ----------------------------------------------------------- */

/* The version of a path "versions/000042/NAME". Returns 0 for any other path:
 * a list from outside must not name files outside of the directory. */
static int64_t version_of(const char *path)
{
    char number[24];
    const char *slash;
    bool unfinished;
    int64_t version;

    if (strncmp(path, "versions/", 9) != 0)
        return 0;
    slash = strchr(path + 9, '/');
    if (!slash || !version_files_is_name(slash + 1) ||
        slash - (path + 9) >= (long)sizeof number)
        return 0;
    snprintf(number, sizeof number, "%.*s", (int)(slash - (path + 9)),
             path + 9);
    version = version_files_number(number, &unfinished);
    return unfinished ? 0 : version;
}

static int parse_line(struct restoring *r, char *line, struct err *err)
{
    if (line[0] == '#' || line[0] == '\0')
        return 0;
    if (strspn(line, "0123456789abcdef") != SHA256_HEX - 1 ||
        strncmp(line + SHA256_HEX - 1, "  ", 2) != 0 ||
        (!version_of(line + SHA256_HEX + 1) &&
         strcmp(line + SHA256_HEX + 1, DATABASE) != 0))
        return err_set(err, ERR_CORRUPT,
                       "%s/" BACKUP_SUMS ": damaged at: %.100s", r->from, line);
    line[SHA256_HEX - 1] = '\0';
    backup_copy_add(&r->wanted, line + SHA256_HEX + 1, line);
    return 0;
}

static int read_list(struct restoring *r, struct err *err)
{
    char *path = fileio_join(r->from, BACKUP_SUMS);
    struct buf text = BUF_INIT;
    char *line, *rest;
    int rc = fileio_read(path, LIST_BYTES, &text, err);

    if (rc == ERR_NOTFOUND)
        rc = err_set(err, rc,
                     "%s: not a complete backup: it has no " BACKUP_SUMS,
                     r->from);
    if (rc == 0 && memchr(text.data, '\0', text.len))
        rc = err_set(err, ERR_CORRUPT, "%s: damaged", path);
    rest = text.data;
    while (rc == 0 && (line = strsep(&rest, "\n")))
        rc = parse_line(r, line, err);
    buf_release(&text);
    free(path);
    return rc;
}

static const struct backup_sum *find(const struct backup_copy *c,
                                     const char *path)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->sums[i].path, path) == 0)
            return &c->sums[i];
    return NULL;
}

static void count_bytes(struct restoring *r)
{
    for (size_t i = 0; i < r->wanted.n; i++) {
        char *path = fileio_join(r->from, r->wanted.sums[i].path);
        struct stat st;

        if (stat(path, &st) == 0)
            r->copy.total += st.st_size;
        free(path);
    }
}

/* --- copying ------------------------------------------------------------ */

static int copy_one(struct restoring *r, const struct backup_sum *s,
                    const char *to, struct err *err)
{
    char *from = fileio_join(r->from, s->path);
    /* A link could lead out of the backup, and a FIFO would block. */
    int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int rc;

    if (fd < 0)
        rc = err_set_errno(err, ERR_CORRUPT, errno, "%s: cannot open", from);
    else
        rc = backup_copy_file(&r->copy, fd, from, to, s->sha256, err);
    if (fd >= 0)
        close(fd);
    free(from);
    return rc;
}

static int copy_all(struct restoring *r, struct err *err)
{
    int64_t last = 0;
    int rc = 0;

    for (size_t i = 0; i < r->wanted.n && rc == 0; i++) {
        const struct backup_sum *s = &r->wanted.sums[i];
        int64_t version = version_of(s->path);
        char *dir = version_files_path(r->copy.to, version);

        if (version && version != last)
            rc = fileio_mkdirs(dir, err);
        if (rc == 0)
            rc = copy_one(r, s, version ? s->path : DATABASE_NEW, err);
        if (rc == 0 && version)
            rc = fileio_sync_dir(dir, err);
        r->report->n_versions += version && version != last;
        last = version;
        free(dir);
    }
    return rc;
}

/* --- comparing database and list ---------------------------------------- */

static int check_file(struct restoring *r, sqlite3_stmt *q, struct err *err)
{
    const char *sha256 = (const char *)sqlite3_column_text(q, 2);
    const char *name = (const char *)sqlite3_column_text(q, 1);
    char *path = xasprintf("versions/%06lld/%s",
                           (long long)sqlite3_column_int64(q, 0),
                           name ? name : "(no name)");
    const struct backup_sum *s = find(&r->wanted, path);
    int rc = 0;

    if (!s || !sha256 || strcmp(s->sha256, sha256) != 0)
        rc = err_set(err, ERR_CORRUPT,
                     "%s/" BACKUP_SUMS ": %s is %s in the database of the "
                     "backup",
                     r->from, path, s ? "another file" : "left out, but");
    free(path);
    return rc;
}

static int check_files(struct restoring *r, struct db *db, struct err *err)
{
    sqlite3_stmt *q;
    int rc = db_prepare(db,
                        "SELECT version, name, sha256 FROM version_files", &q,
                        err);

    if (rc)
        return rc;
    while ((rc = db_step(db, q, err)) == DB_ROW) {
        rc = check_file(r, q, err);
        if (rc)
            break;
    }
    db_done(q);
    return rc;
}

static int check_database(struct restoring *r, struct err *err)
{
    char *path = fileio_join(r->copy.to, DATABASE_NEW);
    struct db *db = NULL;
    int rc = db_open_any(path, &db, err);

    if (rc == 0)
        rc = db_check(db, err);
    if (rc == 0)
        rc = check_files(r, db, err);
    if (rc == 0)
        rc = db_number(db, err, &r->report->head, "SELECT head FROM pointers",
                       "");
    if (rc == 0)
        rc = db_number(db, err, &r->report->serving,
                       "SELECT serving FROM pointers", "");
    db_close(db);
    free(path);
    return rc;
}

static int name_database(struct restoring *r, struct err *err)
{
    char *from = fileio_join(r->copy.to, DATABASE_NEW);
    char *to = fileio_join(r->copy.to, DATABASE);
    int rc = fileio_rename(from, to, err);

    free(to);
    free(from);
    return rc;
}

static int restore(struct restoring *r, struct err *err)
{
    int rc = copy_all(r, err);

    if (rc == 0)
        rc = check_database(r, err);
    if (rc == 0)
        rc = name_database(r, err);
    if (rc == 0)
        rc = backup_copy_end(&r->copy, 0, err);
    return rc;
}

int backup_restore(const char *from, const char *to,
                   backup_progress_fn *progress, void *arg,
                   struct backup_report *report, struct err *err)
{
    struct restoring r = {.from = from, .report = report};
    int rc;

    *report = (struct backup_report){0};
    r.copy = (struct backup_copy){.to = to, .progress = progress, .arg = arg};
    rc = read_list(&r, err);
    if (rc == 0 && !find(&r.wanted, DATABASE))
        rc = err_set(err, ERR_CORRUPT,
                     "%s/" BACKUP_SUMS ": damaged: " DATABASE " is not in it",
                     from);
    if (rc == 0)
        rc = backup_copy_begin(&r.copy, err);
    if (rc == 0) {
        count_bytes(&r);
        rc = restore(&r, err);
        if (rc)
            backup_copy_undo(&r.copy);
    }
    report->n_files = (int64_t)r.copy.n;
    report->bytes = r.copy.done;
    backup_copy_release(&r.copy);
    backup_copy_release(&r.wanted);
    return rc;
}
