/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_rotation.h - notices that a followed file was rotated, and finds the
 * copies that logrotate made of it.
 *
 * A renamed file may still be open in its writer. So it is read on until no
 * line has come for QUIET_MS, for at least GRACE_MS and at most GRACE_MOST_MS.
 * After that it is watched for OLD_MS: a line that is written now is a gap.
 *
 * Owner:   struct source_file
 * Threads: the reading thread
 */
#ifndef MNEME_DAEMON_STREAM_FILE_ROTATION_H
#define MNEME_DAEMON_STREAM_FILE_ROTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lines.h"
#include "daemon/stream/source.h"

#define FILE_ROTATION_COPIES 3

struct file_rotation {
    const char *path;
    char *copies[FILE_ROTATION_COPIES]; /* PATH.1, PATH.1.gz, PATH.1.zst */
    int64_t renamed_ms; /* since when the path names another file or none; 0: it
                           names the file that is read */
    struct lines *old;  /* a renamed file that was read to its end, or NULL */
    int64_t old_ms;     /* since when it is watched */
};

/* path lives as long as the struct. */
void file_rotation_init(struct file_rotation *r, const char *path);
void file_rotation_release(struct file_rotation *r);

/*
 * Opens the copy that holds the last learned line, after that line. Without
 * such a line it opens none, since nothing tells the copies apart.
 *   path     out, the path of the copy
 *   returns  NULL when there is none
 */
struct lines *file_rotation_open_copy(const struct file_rotation *r,
                                      const struct source_position *at,
                                      size_t line_bytes, const char **path);

/* Checks whether the path still names the reader's file, and sets renamed_ms.
 */
void file_rotation_check(struct file_rotation *r, const struct lines *reader);

/*
 * Tells whether the writer of a renamed file may still append to it.
 *   open_path  path of the file that is read; compressed copies do not grow
 *   line_ms    when its last line was read
 */
bool file_rotation_may_grow(const struct file_rotation *r,
                            const char *open_path, int64_t line_ms);

/* Watches a renamed file from now on, instead of an earlier one. Takes the
 * reader over. */
void file_rotation_watch_old(struct file_rotation *r, struct lines *reader);

/* Tells, once, whether the watched file has grown. */
bool file_rotation_old_has_grown(struct file_rotation *r);

#endif
