/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fileio.h - reads and writes files; a file is written completely or not at
 * all.
 *
 * A file is written under a temporary name, synced and renamed, and then its
 * directory is synced. A failed sync is never repeated, because a second fsync
 * succeeds although data is lost: the error is ERR_IO and the caller stops. A
 * full disk is ERR_FULL.
 *
 * Files and directories made here are private, whatever the umask: 0600 and
 * 0700. A rewritten file becomes 0600, too.
 *
 * Every function that writes, syncs, renames, removes or opens calls
 * fileio_fault() first, so that a test can make any of these calls fail.
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

/* Appends a file of at most limit_bytes to out. Refuses a named pipe, which may
 * have no writer, but reads /dev/stdin. ERR_NOTFOUND, ERR_LIMIT, ERR_IO. */
int fileio_read(const char *path, size_t limit_bytes, struct buf *out,
                struct err *err);

/* Reads the next piece of fd, at most n_bytes, again after a signal. *n_read is
 * 0 at the end, and after an error. path is for the message. ERR_IO. */
int fileio_read_piece(int fd, void *to, size_t n_bytes, size_t *n_read,
                      const char *path, struct err *err);

/* Writes path so that a crash leaves the old file or the new one. The new file
 * has the name "path.tmp" at first, so a path may have one writer at a time. An
 * existing file, link or pipe of that name is deleted. */
int fileio_write_atomic(const char *path, const void *bytes, size_t n_bytes,
                        struct err *err);

/* Creates or truncates path, writes, syncs, closes; no rename. */
int fileio_write_sync(const char *path, const void *bytes, size_t n_bytes,
                      struct err *err);

/* Creates a file for writing; ERR_IO when the name is used. The caller writes,
 * syncs and closes it. */
int fileio_create(const char *path, int *fd, struct err *err);

/* Writes all bytes, or returns an error. */
int fileio_write_all(int fd, const void *bytes, size_t n_bytes,
                     const char *path, struct err *err);
int fileio_fsync(int fd, const char *path, struct err *err);
int fileio_sync_dir(const char *path, struct err *err);
/* The caller syncs the directory of both names. */
int fileio_rename(const char *from, const char *to, struct err *err);

/* ERR_NOTFOUND when path does not exist. */
int fileio_unlink(const char *path, struct err *err);

/* Makes a directory; ERR_IO when the name is used. */
int fileio_mkdir(const char *path, struct err *err);

/* As mkdir -p; existing directories keep their modes. */
int fileio_mkdirs(const char *path, struct err *err);

enum fileio_privacy {
    FILEIO_PRIVATE,   /* group and others had no permissions */
    FILEIO_TIGHTENED, /* their permissions were removed */
    FILEIO_OPEN       /* unchanged: see below; or it cannot be read */
};

/* Removes all permissions of group and others from a directory. Does not change
 * a directory of another user, a sticky one (as /tmp), and one that has entries
 * but none named `mark`. */
enum fileio_privacy fileio_make_private(const char *path, const char *mark);

/* Gives a file of this user the mode 0600, if it exists. */
void fileio_make_file_private(const char *path);

/* Deletes a directory and the plain files in it, but no directories in it. Does
 * nothing when it does not exist. */
int fileio_remove_dir(const char *path, struct err *err);

/* Deletes the plain files in a directory, which may be named by a link. */
int fileio_empty_dir(const char *path, struct err *err);

bool fileio_exists(const char *path);

/* Is path a directory that can be listed and has entries? */
bool fileio_has_entries(const char *path);

/* Returns "dir/name", to be freed. */
char *fileio_join(const char *dir, const char *name);

/* Is path still the name of the file or directory that is open as fd? */
bool fileio_names(const char *path, int fd);

/*
 * Locks a file against other processes until *lock_fd is closed or the process
 * ends, and writes the pid into it.
 *   returns   ERR_STATE when another process has the lock; the message has its
 *             pid
 */
int fileio_lock(const char *path, int *lock_fd, struct err *err);

/* Deletes the locked file and unlocks it. */
void fileio_unlock_delete(int lock_fd, const char *path);

/*
 * Opens /dev/null for each standard descriptor (0 to 2) that is closed.
 * Otherwise the next file would get its number, and output would go there. A
 * use of the descriptor is an error: 0 is opened for writing, 1 and 2 for
 * reading. main calls this first. Ends the process with status 1 when it fails.
 */
void fileio_occupy_closed(void);

/* For tests: called with "open", "write", "fsync", "rename", "link", "mkdir",
 * "unlink" or "rmdir" and a path. If it returns an errno value, that call fails
 * with it. NULL: not called. */
extern int (*fileio_fault)(const char *operation, const char *path);

#endif
