/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_preload.so - the n-th operation on a file of a directory fails, in a
 * program that knows nothing of it: for LD_PRELOAD.
 *
 *     MNEME_FAULT_DIR    operations on what is below it count
 *     MNEME_FAULT_LOG    a line for each: OPERATION PATH, and then `room` if
 *                        it takes room, and `fails` if it does
 *     MNEME_FAULT_ERRNO  ENOSPC: those that take room, or EIO: all
 *     MNEME_FAULT_AT     which fails, from 1; 0: none
 *     MNEME_FAULT_LASTS  set: all that come after it fail, too
 *     MNEME_FAULT_AFTER  they count once this file is there
 *     MNEME_FAULT_ONLY   "OPERATION NAME": none but this operation counts, on a
 *                        file of this name
 *
 * A write that fails has written half. What passes goes to the kernel by
 * syscall(2). Every name that mnemed or SQLite calls is here, the ones for
 * large files, too: a name that is missing would be an operation that never
 * fails, which tests/flows/flow_faults.py looks for.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_FILES 1024
#define PATH_BYTES 256

static const char *dir, *after, *only;
static bool lasts;
static int errnum, log_fd = -1;
static long at;
static atomic_long count;
static char names[MOST_FILES][PATH_BYTES]; /* of open files below dir, or "" */

static void __attribute__((constructor)) set_up(void)
{
    const char *log = getenv("MNEME_FAULT_LOG");
    const char *e = getenv("MNEME_FAULT_ERRNO");
    const char *n = getenv("MNEME_FAULT_AT");

    dir = getenv("MNEME_FAULT_DIR");
    after = getenv("MNEME_FAULT_AFTER");
    only = getenv("MNEME_FAULT_ONLY");
    lasts = getenv("MNEME_FAULT_LASTS") != NULL;
    errnum = e && strcmp(e, "ENOSPC") == 0 ? ENOSPC : EIO;
    at = n ? atol(n) : 0;
    if (log)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static bool is_below(const char *path)
{
    size_t n = dir ? strlen(dir) : 0;

    return n && path && strncmp(path, dir, n) == 0 &&
           (path[n] == '/' || path[n] == '\0');
}

static bool is_time(void)
{
    return !after || syscall(SYS_faccessat, AT_FDCWD, after, F_OK) == 0;
}

static bool is_wanted(const char *operation, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = strlen(operation);

    return !only || (strncmp(only, operation, n) == 0 && only[n] == ' ' && slash
                     && strcmp(only + n + 1, slash + 1) == 0);
}

/* Does this one fail? Then errno is set. */
static bool fails(const char *operation, const char *path, bool takes_room)
{
    char line[PATH_BYTES + 64];
    bool it_does;
    long n;
    int len;

    if (!is_below(path) || (errnum == ENOSPC && !takes_room) ||
        !is_wanted(operation, path) || !is_time())
        return false;
    n = atomic_fetch_add(&count, 1) + 1;
    it_does = at && (n == at || (lasts && n > at));
    len = snprintf(line, sizeof line, "%s %s%s%s\n", operation, path,
                   takes_room ? " room" : "", it_does ? " fails" : "");
    if (log_fd >= 0)
        syscall(SYS_write, log_fd, line, (size_t)len);
    if (it_does)
        errno = errnum;
    return it_does;
}

static const char *name_of(int fd)
{
    return fd >= 0 && fd < MOST_FILES ? names[fd] : "";
}

static int open_any(const char *path, int flags, mode_t mode)
{
    int fd;

    if (fails("open", path, flags & O_CREAT))
        return -1;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < MOST_FILES)
        snprintf(names[fd], PATH_BYTES, "%s", is_below(path) ? path : "");
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_any(path, flags, mode);
}

int close(int fd)
{
    if (fd >= 0 && fd < MOST_FILES)
        names[fd][0] = '\0';
    return (int)syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    if (!fails("write", name_of(fd), true))
        return syscall(SYS_write, fd, bytes, n);
    syscall(SYS_write, fd, bytes, n / 2);
    errno = errnum;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    if (!fails("pwrite", name_of(fd), true))
        return syscall(SYS_pwrite64, fd, bytes, n, offset);
    syscall(SYS_pwrite64, fd, bytes, n / 2, offset);
    errno = errnum;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
    return pwrite(fd, bytes, n, offset);
}

int fsync(int fd)
{
    if (fails("fsync", name_of(fd), true))
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    if (fails("fdatasync", name_of(fd), true))
        return -1;
    return (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t size)
{
    if (fails("ftruncate", name_of(fd), true))
        return -1;
    return (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

void *mmap(void *address, size_t n, int protection, int flags, int fd,
           off_t offset)
{
    if (fails("mmap", name_of(fd), false))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, n, protection, flags, fd,
                           offset);
}

void *mmap64(void *address, size_t n, int protection, int flags, int fd,
             off64_t offset)
{
    return mmap(address, n, protection, flags, fd, offset);
}

int rename(const char *from, const char *to)
{
    if (fails("rename", to, true))
        return -1;
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int link(const char *from, const char *to)
{
    if (fails("link", to, true))
        return -1;
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int mkdir(const char *path, mode_t mode)
{
    if (fails("mkdir", path, true))
        return -1;
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int unlink(const char *path)
{
    if (fails("unlink", path, false))
        return -1;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    if (fails("rmdir", path, false))
        return -1;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}
