/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/xalloc.h"

#define FILE_MODE 0600
#define DIR_MODE 0700

/* The size of a piece, for files whose size is not known. */
#define PIECE_BYTES (64 * 1024)

int (*fileio_fault)(const char *operation, const char *path);

/* True, with errno set, when a test makes this call fail. */
static bool faulted(const char *operation, const char *path)
{
    int errnum = fileio_fault ? fileio_fault(operation, path) : 0;

    if (errnum)
        errno = errnum;
    return errnum != 0;
}

/* Is it a file of this user with another mode than FILE_MODE? Files of other
 * users keep their modes. */
static bool has_wrong_mode(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() &&
           (st->st_mode & 07777) != FILE_MODE;
}

static void make_private(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && has_wrong_mode(&st))
        (void)!fchmod(fd, FILE_MODE);
}

static int open_file(const char *path, int flags, int *fd, struct err *err)
{
    enum err_code code;

    *fd = -1;
    if (!faulted("open", path))
        *fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    if (*fd >= 0) {
        if (flags & O_CREAT)
            make_private(*fd);
        return 0;
    }
    /* ERR_NOTFOUND is only for a file that should exist. */
    code = ERR_IO;
    if (!(flags & O_CREAT) && (errno == ENOENT || errno == ENOTDIR))
        code = ERR_NOTFOUND;
    return err_set_errno(err, code, errno, "%s: cannot open", path);
}

int fileio_read_piece(int fd, void *to, size_t n_bytes, size_t *n_read,
                      const char *path, struct err *err)
{
    ssize_t n;

    do
        n = read(fd, to, n_bytes);
    while (n < 0 && errno == EINTR);
    *n_read = n > 0 ? (size_t)n : 0;
    return n < 0 ? err_set_errno(err, ERR_IO, errno, "%s: cannot read", path)
                 : 0;
}

/* Reads to the end, or to one byte over the limit, which is an error. The first
 * piece is one byte larger than the expected size, to find the end at once. */
static int read_limited(int fd, size_t expected_bytes, size_t limit_bytes,
                        struct buf *out, const char *path, struct err *err)
{
    size_t left = limit_bytes < SIZE_MAX ? limit_bytes + 1 : SIZE_MAX;
    size_t piece = expected_bytes ? expected_bytes + 1 : PIECE_BYTES;
    size_t n;

    for (;;) {
        if (piece > left)
            piece = left;
        buf_reserve(out, piece);
        if (fileio_read_piece(fd, out->data + out->len, piece, &n, path, err))
            return ERR_IO;
        if (!n)
            return 0;
        out->len += n;
        left -= n;
        if (!left)
            return err_set(err, ERR_LIMIT,
                           "%s: larger than the limit of %zu bytes", path,
                           limit_bytes);
        piece = PIECE_BYTES;
    }
}

/* Is it a pipe without a name, such as /dev/stdin? It has a writer, so this
 * makes its reads wait. A named pipe may have no writer. */
static bool is_unnamed_pipe(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC &&
           fcntl(fd, F_SETFL, 0) == 0;
}

int fileio_read(const char *path, size_t limit_bytes, struct buf *out,
                struct err *err)
{
    size_t before = out->len;
    size_t expected = 0;
    struct stat st;
    int fd, rc;

    rc = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd, err);
    if (rc)
        return rc;
    memset(&st, 0, sizeof st);
    if (!fstat(fd, &st) && S_ISREG(st.st_mode))
        expected = (size_t)st.st_size;
    /* Reads of a terminal wait for its user. O_NONBLOCK is only for open(). */
    if (S_ISCHR(st.st_mode))
        fcntl(fd, F_SETFL, 0);
    if (S_ISFIFO(st.st_mode) && !is_unnamed_pipe(fd))
        rc = err_set(err, ERR_IO, "%s: a named pipe, not a file", path);
    else if (expected > limit_bytes)
        rc = err_set(err, ERR_LIMIT,
                     "%s: %zu bytes, larger than the limit of %zu bytes", path,
                     expected, limit_bytes);
    else
        rc = read_limited(fd, expected, limit_bytes, out, path, err);
    if (rc)
        out->len = before;
    if (out->data)
        out->data[out->len] = '\0';
    close(fd);
    return rc;
}

int fileio_create(const char *path, int *fd, struct err *err)
{
    return open_file(path, O_WRONLY | O_CREAT | O_EXCL, fd, err);
}

int fileio_write_all(int fd, const void *bytes, size_t n_bytes,
                     const char *path, struct err *err)
{
    const char *p = bytes;

    while (n_bytes) {
        ssize_t n = faulted("write", path) ? -1 : write(fd, p, n_bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set_errno(err, ERR_IO, n ? errno : EIO,
                                 "%s: cannot write", path);
        p += n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

int fileio_fsync(int fd, const char *path, struct err *err)
{
    if (faulted("fsync", path) || fsync(fd))
        return err_set_errno(err, ERR_IO, errno, "%s: cannot sync", path);
    return 0;
}

int fileio_sync_dir(const char *path, struct err *err)
{
    int fd, rc;

    rc = open_file(path, O_RDONLY | O_DIRECTORY, &fd, err);
    if (rc)
        return rc;
    rc = fileio_fsync(fd, path, err);
    close(fd);
    return rc;
}

int fileio_rename(const char *from, const char *to, struct err *err)
{
    if (faulted("rename", to) || rename(from, to))
        return err_set_errno(err, ERR_IO, errno, "%s: cannot rename to %s",
                             from, to);
    return 0;
}

/* Creates, writes, syncs and closes a file. `flags` are additional flags of
 * open(). */
static int write_sync(const char *path, int flags, const void *bytes,
                      size_t n_bytes, struct err *err)
{
    int fd, rc;

    rc = open_file(path, O_WRONLY | O_CREAT | O_TRUNC | flags, &fd, err);
    if (rc)
        return rc;
    rc = fileio_write_all(fd, bytes, n_bytes, path, err);
    if (!rc)
        rc = fileio_fsync(fd, path, err);
    if (close(fd) && !rc)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot close", path);
    return rc;
}

int fileio_write_sync(const char *path, const void *bytes, size_t n_bytes,
                      struct err *err)
{
    return write_sync(path, 0, bytes, n_bytes, err);
}

/* Syncs the directory that has the entry of path. */
static int sync_parent(const char *path, struct err *err)
{
    char *copy = xstrdup(path);
    int rc = fileio_sync_dir(dirname(copy), err);

    free(copy);
    return rc;
}

int fileio_write_atomic(const char *path, const void *bytes, size_t n_bytes,
                        struct err *err)
{
    char *temporary = xasprintf("%s.tmp", path);
    int rc;

    /* A crash or another program may have left a file, link or pipe. */
    unlink(temporary);
    rc = write_sync(temporary, O_EXCL, bytes, n_bytes, err);
    if (!rc)
        rc = fileio_rename(temporary, path, err);
    if (rc)
        unlink(temporary);
    else
        rc = sync_parent(path, err);
    free(temporary);
    return rc;
}

int fileio_mkdir(const char *path, struct err *err)
{
    struct stat st;

    if (faulted("mkdir", path) || mkdir(path, DIR_MODE))
        return err_set_errno(err, ERR_IO, errno,
                             "%s: cannot make the directory", path);
    /* The umask may have removed permissions of the owner. */
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
        (st.st_mode & 0777) != DIR_MODE)
        (void)!chmod(path, DIR_MODE);
    return 0;
}

static int make_dir(const char *path, struct err *err)
{
    struct stat st;
    int errnum;

    if (fileio_mkdir(path, NULL) == 0)
        return 0;
    errnum = errno;
    /* An existing directory is fine, whatever the error: "/" of a read-only
     * system gives EROFS. */
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        return 0;
    if (errnum == EEXIST)
        errnum = ENOTDIR;
    return err_set_errno(err, ERR_IO, errnum, "%s: cannot make the directory",
                         path);
}

int fileio_mkdirs(const char *path, struct err *err)
{
    char *part = xstrdup(path);
    int rc = 0;

    for (char *p = part; *p && !rc; p++) {
        if (*p != '/' || p == part)
            continue;
        *p = '\0';
        rc = make_dir(part, err);
        *p = '/';
    }
    if (!rc)
        rc = make_dir(part, err);
    free(part);
    return rc;
}

bool fileio_has_entries(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir)))
        found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return found;
}

enum fileio_privacy fileio_make_private(const char *path, const char *mark)
{
    char *marked = fileio_join(path, mark);
    enum fileio_privacy result = FILEIO_OPEN;
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0)
        goto out;
    if ((st.st_mode & 0077) == 0)
        result = FILEIO_PRIVATE;
    else if (st.st_uid == geteuid() && !(st.st_mode & S_ISVTX) &&
             (fileio_exists(marked) || !fileio_has_entries(path)) &&
             fchmod(fd, st.st_mode & 07700) == 0)
        result = FILEIO_TIGHTENED;
out:
    if (fd >= 0)
        close(fd);
    free(marked);
    return result;
}

void fileio_make_file_private(const char *path)
{
    struct stat st;

    /* Uses the name: to open and close the file would drop SQLite's locks. */
    if (lstat(path, &st) == 0 && has_wrong_mode(&st))
        (void)!chmod(path, FILE_MODE);
}

int fileio_unlink(const char *path, struct err *err)
{
    if (!faulted("unlink", path) && unlink(path) == 0)
        return 0;
    return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, errno,
                         "%s: cannot delete", path);
}

static int remove_entries(DIR *dir, const char *path, struct err *err)
{
    struct err why = ERR_INIT; /* a missing entry is no error */
    const struct dirent *e;
    int rc = 0;

    while (rc == 0 && (errno = 0, e = readdir(dir))) {
        char *entry;

        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        entry = fileio_join(path, e->d_name);
        rc = fileio_unlink(entry, &why);
        if (rc == ERR_NOTFOUND)
            rc = 0;
        free(entry);
    }
    if (rc)
        return err_set(err, why.code, "%s", why.msg);
    if (errno)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot list", path);
    return 0;
}

int fileio_remove_dir(const char *path, struct err *err)
{
    DIR *dir = NULL;
    int fd, rc;

    if (!fileio_exists(path))
        return 0;
    rc = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, &fd, err);
    if (rc)
        return rc;
    dir = fdopendir(fd);
    if (!dir) {
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot list", path);
        close(fd);
        return rc;
    }
    rc = remove_entries(dir, path, err);
    if (!rc && (faulted("rmdir", path) || rmdir(path)) && errno != ENOENT)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot delete", path);
    closedir(dir);
    return rc;
}

int fileio_empty_dir(const char *path, struct err *err)
{
    DIR *dir = opendir(path);
    int rc;

    if (!dir)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot list", path);
    rc = remove_entries(dir, path, err);
    closedir(dir);
    return rc;
}

bool fileio_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

char *fileio_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);

    return xasprintf(n && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

/* Sets the error of a file that another process has locked. */
static int refuse_locked(int fd, const char *path, struct err *err)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid;

    text[n > 0 ? n : 0] = '\0';
    pid = strtol(text, NULL, 10);
    if (pid > 0)
        return err_set(err, ERR_STATE, "%s: in use by process %ld", path, pid);
    return err_set(err, ERR_STATE, "%s: in use by another process", path);
}

/* Overwrites the old pid, then truncates. So a full disk needs no new block,
 * and the daemon can start. */
static int write_pid(int fd, const char *path, struct err *err)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    int rc;

    rc = fileio_write_all(fd, text, (size_t)n, path, err);
    if (!rc && ftruncate(fd, n))
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot truncate", path);
    return rc;
}

bool fileio_names(const char *path, int fd)
{
    struct stat ours, theirs;

    return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* Uses flock, not fcntl: when a library opens and closes the same path, it does
 * not drop a lock of flock. */
int fileio_lock(const char *path, int *lock_fd, struct err *err)
{
    int fd, rc;

again:
    rc = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, &fd, err);
    if (rc)
        return rc;
    while ((rc = flock(fd, LOCK_EX | LOCK_NB)) && errno == EINTR)
        ;
    if (rc && errno == EWOULDBLOCK)
        rc = refuse_locked(fd, path, err);
    else if (rc)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot lock", path);
    else if (fileio_names(path, fd)) /* its last owner may have deleted it */
        rc = write_pid(fd, path, err);
    else {
        close(fd);
        goto again;
    }
    if (rc)
        close(fd);
    else
        *lock_fd = fd;
    return rc;
}

/* Deletes the file while it is locked. A process that has opened it already
 * finds this out with fileio_names, and opens the new file. */
void fileio_unlock_delete(int lock_fd, const char *path)
{
    if (!faulted("unlink", path))
        unlink(path);
    close(lock_fd);
}

void fileio_occupy_closed(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            _exit(1);
}
