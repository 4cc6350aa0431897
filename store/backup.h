/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup.h - backs up a data directory while a daemon learns, and restores it.
 *
 *     DIR/mneme.db             one state of the database, without a log
 *     DIR/versions/000042/     the files of each version in the database
 *     DIR/SHA256SUMS           the digests of all these files; written last
 *
 * One read transaction covers the database and the list of versions. The files
 * of each version are opened in that transaction, so retention may remove them
 * while they are copied. Every file is checked against its digest. The backup
 * leaves out an incomplete version with its rows. The head version and the
 * serving version must be complete.
 *
 * `mneme verify --all --data-dir DIR` and `sha256sum -c SHA256SUMS` check a
 * backup. During a backup or a restore the target has a file `unfinished`.
 * store_open refuses such a directory, and a backup.
 *
 * A backup only reads its source, and needs no lock.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_BACKUP_H
#define MNEME_STORE_BACKUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BACKUP_UNFINISHED "unfinished"
#define BACKUP_SUMS "SHA256SUMS"

struct backup_report {
    int64_t head, serving; /* 0: none yet */
    int64_t n_versions, n_files, bytes;
    int64_t *left_out; /* versions that are incomplete or were removed */
    size_t n_left_out;
};

void backup_report_release(struct backup_report *r);

/* Called from time to time during a copy; may be NULL. */
typedef void backup_progress_fn(int64_t done_bytes, int64_t of_bytes,
                                void *arg);

/*
 * Makes a backup of `from` in `to`, which does not exist or is empty (else
 * ERR_STATE). ERR_NOTFOUND when there is no store in `from`; ERR_CORRUPT when
 * its database, head version or serving version is damaged. A failed backup
 * leaves no files.
 */
int backup_make(const char *from, const char *to, backup_progress_fn *progress,
                void *arg, struct backup_report *report, struct err *err);

/*
 * Makes a data directory `to` of the backup `from`. ERR_NOTFOUND when `from` is
 * no complete backup; ERR_CORRUPT names a damaged file.
 */
int backup_restore(const char *from, const char *to,
                   backup_progress_fn *progress, void *arg,
                   struct backup_report *report, struct err *err);

#endif
