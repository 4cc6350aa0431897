/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_vfs.h - SQLite's own writes and syncs, failing on request.
 */
#ifndef MNEME_TESTS_FAULT_VFS_H
#define MNEME_TESTS_FAULT_VFS_H

#include <stdbool.h>

/* What befalls an operation. */
enum fault_vfs { FAULT_NONE, FAULT_IO, FAULT_FULL, FAULT_DIE };

/* Asked before each write, sync and truncation; NULL: none. FAULT_DIE writes
 * half and ends the process with status 7. */
extern enum fault_vfs (*fault_vfs_hook)(void);

/* Becomes the VFS of every connection opened from then on. */
void fault_vfs_install(void);

#endif
