/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_vfs.h - SQLite's own writes and syncs, failing on request.
 */
#ifndef MNEME_TESTS_UTIL_FAULT_VFS_H
#define MNEME_TESTS_UTIL_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>

/* What befalls an operation. */
enum fault_vfs { FAULT_NONE, FAULT_IO, FAULT_FULL, FAULT_DIE };

/* Asked before each opening, write, sync, truncation and deletion; NULL: none.
 * FAULT_DIE writes half and ends the process with status 7. */
extern enum fault_vfs (*fault_vfs_hook)(void);

enum fault_vfs_op {
    FAULT_VFS_OPEN,
    FAULT_VFS_WRITE,
    FAULT_VFS_TRUNCATE,
    FAULT_VFS_SYNC,
    FAULT_VFS_DELETE
};

/* Told of each of them before it is done; NULL: nobody. path is NULL for a
 * temporary file; `at` is the place, or the size. */
extern void (*fault_vfs_watch)(enum fault_vfs_op op, const char *path,
                               const void *bytes, int n_bytes, int64_t at);

/* Becomes the VFS of every connection opened from then on. */
void fault_vfs_install(void);

#endif
