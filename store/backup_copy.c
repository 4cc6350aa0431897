/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/backup_copy.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/version_files.h"

#define PIECE_BYTES ((size_t)1 << 20)

/* --- the list ----------------------------------------------------------- */

void backup_copy_add(struct backup_copy *c, const char *path,
                     const char *sha256)
{
    XGROW(c->sums, c->n, c->cap);
    c->sums[c->n].path = xstrdup(path);
    snprintf(c->sums[c->n++].sha256, SHA256_HEX, "%s", sha256);
}

void backup_copy_cut(struct backup_copy *c, size_t n)
{
    while (c->n > n)
        free(c->sums[--c->n].path);
}

void backup_copy_release(struct backup_copy *c)
{
    backup_copy_cut(c, 0);
    free(c->sums);
    c->sums = NULL;
    c->cap = 0;
}

/* Writes the list in the format of sha256sum(1). */
static int write_sums(struct backup_copy *c, struct err *err)
{
    char *path = fileio_join(c->to, BACKUP_SUMS);
    struct buf text = BUF_INIT;
    int rc;

    buf_adds(&text, "# mneme backup; sha256sum -c " BACKUP_SUMS
                    " checks it, mneme restore restores it\n");
    for (size_t i = 0; i < c->n; i++)
        buf_addf(&text, "%s  %s\n", c->sums[i].sha256, c->sums[i].path);
    rc = fileio_write_atomic(path, text.data, text.len, err);
    buf_release(&text);
    free(path);
    return rc;
}

/* --- the target --------------------------------------------------------- */

static char *unfinished_path(const struct backup_copy *c)
{
    return fileio_join(c->to, BACKUP_UNFINISHED);
}

static bool is_ignored(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           strcmp(name, "lost+found") == 0 ||
           strcmp(name, BACKUP_UNFINISHED) == 0;
}

static int check_empty(const char *path, struct err *err)
{
    const struct dirent *e;
    DIR *dir = opendir(path);
    int rc = 0;

    if (!dir)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot list", path);
    while (rc == 0 && (e = readdir(dir)))
        if (!is_ignored(e->d_name))
            rc = err_set(err, ERR_STATE,
                         "%s: not empty (it has %s); name a new directory",
                         path, e->d_name);
    closedir(dir);
    return rc;
}

static int make_unfinished(struct backup_copy *c, struct err *err)
{
    char *path = unfinished_path(c);
    int fd = -1, rc = 0;

    if (fileio_exists(path))
        rc = err_set(err, ERR_STATE,
                     "%s: a backup or a restore into this directory is under "
                     "way, or did not end: then delete the directory",
                     path);
    if (rc == 0)
        rc = fileio_create(path, &fd, err);
    if (fd >= 0)
        close(fd);
    free(path);
    return rc;
}

/* Checks for entries again after the file `unfinished` exists: from then on no
 * daemon can start there. */
int backup_copy_begin(struct backup_copy *c, struct err *err)
{
    char *top = version_files_top(c->to);
    char *unfinished = unfinished_path(c);
    int rc = fileio_mkdirs(c->to, err);

    if (rc == 0)
        rc = check_empty(c->to, err);
    if (rc == 0)
        rc = make_unfinished(c, err);
    if (rc)
        goto out;
    rc = check_empty(c->to, err);
    if (rc == 0) {
        fileio_make_private(c->to, BACKUP_UNFINISHED);
        rc = fileio_sync_dir(c->to, err);
    }
    if (rc == 0)
        rc = fileio_mkdirs(top, err);
    if (rc)
        unlink(unfinished);
out:
    free(unfinished);
    free(top);
    return rc;
}

static int sync_parent(const char *path, struct err *err)
{
    char *copy = xstrdup(path);
    int rc = fileio_sync_dir(dirname(copy), err);

    free(copy);
    return rc;
}

int backup_copy_end(struct backup_copy *c, int with_sums, struct err *err)
{
    char *top = version_files_top(c->to);
    char *unfinished = unfinished_path(c);
    int rc = fileio_sync_dir(top, err);

    if (rc == 0)
        rc = fileio_sync_dir(c->to, err);
    if (rc == 0)
        rc = sync_parent(c->to, err);
    if (rc == 0 && with_sums)
        rc = write_sums(c, err);
    if (rc == 0)
        rc = fileio_unlink(unfinished, err);
    if (rc == 0)
        rc = fileio_sync_dir(c->to, err);
    free(unfinished);
    free(top);
    return rc;
}

static void remove_versions(const char *top)
{
    const struct dirent *e;
    DIR *dir = opendir(top);

    while (dir && (e = readdir(dir))) {
        char *path = fileio_join(top, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            fileio_remove_dir(path, NULL);
        free(path);
    }
    if (dir)
        closedir(dir);
    rmdir(top);
}

/* Deletes `unfinished` last. */
void backup_copy_undo(struct backup_copy *c)
{
    static const char *const files[] = {
        "mneme.db",        "mneme.db.new", "mneme.db-journal",
        BACKUP_SUMS ".tmp", BACKUP_SUMS,    BACKUP_UNFINISHED,
    };
    char *top = version_files_top(c->to);

    remove_versions(top);
    free(top);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = fileio_join(c->to, files[i]);

        unlink(path);
        free(path);
    }
}

/* --- a file ------------------------------------------------------------- */

static void report(struct backup_copy *c)
{
    if (c->progress)
        c->progress(c->done, c->total, c->arg);
}

static int copy_pieces(struct backup_copy *c, int in, int out, const char *from,
                       const char *to, struct checksum_stream *sum,
                       struct err *err)
{
    char *piece = xmalloc(PIECE_BYTES);
    size_t n = 0;
    int rc;

    while ((rc = fileio_read_piece(in, piece, PIECE_BYTES, &n, from, err)) ==
               0 && n) {
        checksum_stream_add(sum, piece, n);
        rc = fileio_write_all(out, piece, n, to, err);
        if (rc)
            break;
        c->done += (int64_t)n;
        report(c);
    }
    free(piece);
    if (rc && n == 0 && err)
        err->code = ERR_CORRUPT; /* another version may still be whole */
    return rc && n == 0 ? ERR_CORRUPT : rc;
}

static int copy_bytes(struct backup_copy *c, int in, const char *from,
                      const char *to, const char *sha256, struct err *err)
{
    struct checksum_stream *sum = checksum_stream_create();
    char hex[SHA256_HEX];
    int out = -1;
    int rc = fileio_create(to, &out, err);

    if (rc == 0)
        rc = copy_pieces(c, in, out, from, to, sum, err);
    if (rc == 0)
        rc = fileio_fsync(out, to, err);
    if (out >= 0 && close(out) != 0 && rc == 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot close", to);
    checksum_stream_finish(sum, hex);
    if (rc == 0 && strcmp(hex, sha256) != 0)
        rc = err_set(err, ERR_CORRUPT,
                     "%s: damaged: its SHA-256 is not %.16s... any more", from,
                     sha256);
    return rc;
}

/* Links to a copied file with the same digest: versions share files. */
static bool link_known(struct backup_copy *c, const char *to,
                       const char *sha256)
{
    bool linked = false;

    for (size_t i = c->n; i-- > 0 && !linked;) {
        char *known;

        if (strcmp(c->sums[i].sha256, sha256) != 0)
            continue;
        known = fileio_join(c->to, c->sums[i].path);
        linked = link(known, to) == 0;
        free(known);
    }
    return linked;
}

int backup_copy_file(struct backup_copy *c, int fd, const char *from,
                     const char *path, const char *sha256, struct err *err)
{
    char *to = fileio_join(c->to, path);
    int rc = 0;

    if (link_known(c, to, sha256)) {
        off_t bytes = lseek(fd, 0, SEEK_END);

        c->done += bytes > 0 ? bytes : 0;
        report(c);
    } else {
        rc = copy_bytes(c, fd, from, to, sha256, err);
    }
    if (rc == 0)
        backup_copy_add(c, path, sha256);
    free(to);
    return rc;
}
