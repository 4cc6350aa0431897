/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fileio.h - files that are there whole or not at all.
 *
 * A file is written under a temporary name, synced, renamed, and its directory
 * synced. A failed sync is never retried: the error is ERR_IO and the caller
 * stops (a second fsync "succeeds" on lost data). A full disk is ERR_FULL.
 *
 * Files and directories that are made here are private, whatever the umask:
 * 0600 and 0700. A file that is rewritten becomes 0600, too.
 *
 * Every function here that writes, syncs, renames, removes or opens first asks
 * fileio_fault(), so that a test can make the n-th of them fail.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_FILEIO_H
#define MNEME_BASE_FILEIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Reads a whole file of at most limit_bytes into out (appended). A pipe with
 * a name is refused, since it may have no writer; /dev/stdin is read.
 * ERR_NOTFOUND, ERR_LIMIT, ERR_IO. */
int fileio_read(const char *path, size_t limit_bytes, struct buf *out,
                struct err *err);

/* Writes path so that after a crash it is the old file or the new one. The
 * new one is "path.tmp" until then: one writer of a path at a time. A file,
 * link or pipe that has that name before is deleted. */
int fileio_write_atomic(const char *path, const void *bytes, size_t n_bytes,
                        struct err *err);

/* Creates or truncates path, writes, syncs, closes; no rename. */
int fileio_write_sync(const char *path, const void *bytes, size_t n_bytes,
                      struct err *err);

/* A new file for writing; ERR_IO when there is one of that name. The caller
 * writes, syncs and closes it. */
int fileio_create(const char *path, int *fd, struct err *err);

/* All of it, or an error. */
int fileio_write_all(int fd, const void *bytes, size_t n_bytes,
                     const char *path, struct err *err);
int fileio_fsync(int fd, const char *path, struct err *err);
int fileio_sync_dir(const char *path, struct err *err); /* a directory */
/* The caller syncs the directory. */
int fileio_rename(const char *from, const char *to, struct err *err);

/* ERR_NOTFOUND when it is not there. */
int fileio_unlink(const char *path, struct err *err);

/* Makes a directory; ERR_IO when the name is taken. */
int fileio_mkdir(const char *path, struct err *err);

/* mkdir -p; existing directories keep their modes. */
int fileio_mkdirs(const char *path, struct err *err);

enum fileio_privacy {
    FILEIO_PRIVATE,   /* group and others had no permissions */
    FILEIO_TIGHTENED, /* their permissions were removed */
    FILEIO_OPEN       /* left as it is: see below; or it cannot be read */
};

/* Removes all permissions of group and others from a directory. Left alone are
 * directories of another user, shared ones (sticky, as /tmp), and those that
 * have entries, but none named `mark`. */
enum fileio_privacy fileio_make_private(const char *path, const char *mark);

/* Gives a file of this user the mode 0600, if it exists. */
void fileio_make_file_private(const char *path);

/* Deletes a directory with the plain files in it (one level, as a version
 * has), or nothing when it is not there. */
int fileio_remove_dir(const char *path, struct err *err);

bool fileio_exists(const char *path);

/* Is it a directory that can be listed, with something in it? */
bool fileio_has_entries(const char *path);

/* "dir/name", to be freed. */
char *fileio_join(const char *dir, const char *name);

/* Does the path still name the file or directory that is open as fd? False also
 * when it names nothing any more. */
bool fileio_names(const char *path, int fd);

/*
 * A lock that a second process cannot take, held until fileio_unlock or the end
 * of the process. The file holds our pid.
 *   *lock_fd  for fileio_unlock, or for fileio_unlock_delete, which also
 *             deletes the file
 *   returns   ERR_STATE naming the holder's pid when somebody has it
 */
int fileio_lock(const char *path, int *lock_fd, struct err *err);
void fileio_unlock(int lock_fd);
void fileio_unlock_delete(int lock_fd, const char *path);

/*
 * Puts /dev/null where a standard descriptor (0 to 2) is closed: the next file
 * would get its number, and output would go there. It is opened the wrong way
 * round, so that using it is an error. First thing in main; ends the process
 * with 1 when it cannot.
 */
void fileio_occupy_closed(void);

/* Test hook: called with "open", "write", "fsync", "rename", "link", "mkdir",
 * "unlink" or "rmdir" and a path; a non-zero errno value makes that call fail
 * with it. NULL: none. */
extern int (*fileio_fault)(const char *operation, const char *path);

#endif
