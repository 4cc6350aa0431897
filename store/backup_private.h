/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup_private.h - what making and restoring share: a target that was empty,
 * files copied into it against their digests, the list of digests.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_BACKUP_PRIVATE_H
#define MNEME_STORE_BACKUP_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "store/backup.h"

struct backup_sum {
    char *path; /* below the directory */
    char sha256[SHA256_HEX];
};

struct backup_copy {
    const char *to;
    struct backup_sum *sums; /* what has been copied */
    size_t n, cap;
    int64_t done, total; /* bytes */
    backup_progress_fn *progress;
    void *arg;
};

/* Takes an empty directory, made if need be, and marks it unfinished. */
int backup_copy_begin(struct backup_copy *c, struct err *err);

/* Writes the list (with_sums: 1), syncs, and takes the mark away. */
int backup_copy_end(struct backup_copy *c, int with_sums, struct err *err);

/* Removes everything that is in the target, which was empty. */
void backup_copy_undo(struct backup_copy *c);
void backup_copy_release(struct backup_copy *c);

/*
 * Copies fd, of that digest, to `path` below the target, synced; what is there
 * already with that digest is linked. ERR_CORRUPT: it cannot be read or is
 * not what it was. fd stays open.
 *   from  its name, for messages
 */
int backup_copy_file(struct backup_copy *c, int fd, const char *from,
                     const char *path, const char *sha256, struct err *err);

void backup_copy_add(struct backup_copy *c, const char *path,
                     const char *sha256);
/* Forgets all but the first n. */
void backup_copy_cut(struct backup_copy *c, size_t n);

#endif
