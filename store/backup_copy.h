/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup_copy.h - copies files into an empty directory, for a backup and for a
 * restore. Checks each file's digest and keeps the list of digests.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_BACKUP_COPY_H
#define MNEME_STORE_BACKUP_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "store/backup.h"

struct backup_sum {
    char *path; /* relative to the directory */
    char sha256[SHA256_HEX];
};

struct backup_copy {
    const char *to;
    struct backup_sum *sums; /* the copied files */
    size_t n, cap;
    int64_t done, total; /* bytes */
    backup_progress_fn *progress;
    void *arg;
};

/* Makes the target directory if necessary, checks that it is empty, and creates
 * the file `unfinished` in it. */
int backup_copy_begin(struct backup_copy *c, struct err *err);

/* Syncs the target, writes the list of digests (with_sums: 1), and deletes the
 * file `unfinished`. */
int backup_copy_end(struct backup_copy *c, int with_sums, struct err *err);

/* Removes everything from the target. */
void backup_copy_undo(struct backup_copy *c);
void backup_copy_release(struct backup_copy *c);

/*
 * Copies the file fd to `path` below the target and syncs it. If a file with
 * the same digest was copied before, links to it. fd stays open. ERR_CORRUPT:
 * fd cannot be read, or its digest is not sha256.
 *   from  the name of fd, for messages
 */
int backup_copy_file(struct backup_copy *c, int fd, const char *from,
                     const char *path, const char *sha256, struct err *err);

/* Adds an entry to the list of digests. */
void backup_copy_add(struct backup_copy *c, const char *path,
                     const char *sha256);
/* Removes all entries but the first n from the list. */
void backup_copy_cut(struct backup_copy *c, size_t n);

#endif
