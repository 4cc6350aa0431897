/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup.h - a copy of a data directory, made while a daemon learns, and the
 * way back.
 *
 *     DIR/mneme.db             one state of the database, without a log
 *     DIR/versions/000042/     the files of each version that it names
 *     DIR/SHA256SUMS           the digests of all of them; written last
 *
 * The database and the list of versions are of one read transaction; each
 * version's files are opened in it, so that retention may remove them while
 * they are copied. Every file is read against its checksum. A version that is
 * not whole is left out, its rows too; head and serving have to be.
 *
 * A backup is a data directory itself: `mneme verify --all --data-dir DIR` and
 * `sha256sum -c SHA256SUMS` check it. While one is written, or restored, the
 * file `unfinished` is there, and store_open refuses.
 *
 * Only reads the directory that is backed up; no lock is needed.
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
    int64_t *left_out; /* versions that are not whole, or went meanwhile */
    size_t n_left_out;
};

void backup_report_release(struct backup_report *r);

/* Called now and then; NULL: not. */
typedef void backup_progress_fn(int64_t done_bytes, int64_t of_bytes,
                                void *arg);

/*
 * to   does not exist or is empty: else ERR_STATE
 * ERR_NOTFOUND when there is no store in `from`; ERR_CORRUPT when its database,
 * head or serving version is damaged. Nothing is left of a failed one.
 */
int backup_make(const char *from, const char *to, backup_progress_fn *progress,
                void *arg, struct backup_report *report, struct err *err);

/*
 * The same way back. ERR_NOTFOUND when `from` is no backup, or one that did not
 * end; ERR_CORRUPT names the file that is not as it was.
 */
int backup_restore(const char *from, const char *to,
                   backup_progress_fn *progress, void *arg,
                   struct backup_report *report, struct err *err);

#endif
