/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.h - reads the lines of a file, which may be compressed.
 *
 * A name that ends in .gz or .zst, in any case, means a compressed file; any
 * other file is plain. A line ends with LF or CR LF, which are not part of the
 * line. Memory is bounded: of a line longer than max_bytes, the first max_bytes
 * are kept.
 *
 * After the end of the file, lines_next continues when the file has grown, also
 * after the end of a compressed member. Zeros after a member are padding. Other
 * bytes that are no member are skipped and counted.
 *
 * A regular file that is rewritten during reading would give pieces of lines.
 * So before each read, the LINES_TAIL bytes that were read last are compared
 * with the file.
 *
 * Owner:   the caller
 * Threads: one at a time
 */
#ifndef MNEME_BASE_LINES_H
#define MNEME_BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define LINES_TAIL 4096

struct lines;

struct line {
    const char *bytes; /* valid until the next call */
    size_t n_bytes;
    bool too_long; /* bytes are only the first max_bytes of the line */
};

/* Opens path, or standard input when path is NULL. Returns NULL and sets err
 * (ERR_IO) when that fails. */
struct lines *lines_open(const char *path, size_t max_bytes, struct err *err);
void lines_close(struct lines *l);

/*
 * Reads the next complete line.
 *   returns  0; ERR_END when there is none yet; ERR_AGAIN when a pipe had no
 *            bytes for 100 ms; ERR_STATE, also at every later call, when the
 *            file was truncated or rewritten; ERR_INVALID when zstd needs more
 *            memory than is allowed; ERR_IO, ERR_CORRUPT
 */
int lines_next(struct lines *l, struct line *line, struct err *err);

/*
 * Reads the bytes after the last line end as a line, when the caller knows that
 * the file is complete. ERR_END when there are none, ERR_CORRUPT when a
 * compressed file is incomplete.
 */
int lines_rest(struct lines *l, struct line *line, struct err *err);

/* Skips n lines. ERR_END when there are fewer; other errors as lines_next. */
int lines_skip(struct lines *l, int64_t n, struct err *err);

/* The identity of the open file, to find out whether its path names another
 * file. */
dev_t lines_device(const struct lines *l);
ino_t lines_inode(const struct lines *l);
bool lines_same_file(const struct lines *l, dev_t device, ino_t inode);
/* The size of the file when it was opened. */
int64_t lines_size(const struct lines *l);
/* The number of bytes of the file that have been read. */
int64_t lines_bytes_read(const struct lines *l);
/* Did the file have unread bytes at the last check of its size? */
bool lines_is_behind(const struct lines *l);
/* Does the file have unread bytes now? */
bool lines_has_grown(const struct lines *l);
/* The number of bytes after a compressed member that were skipped, without
 * padding. */
int64_t lines_ignored(const struct lines *l);
/* Is it a regular file, which can be read again? */
bool lines_is_regular(const struct lines *l);

#endif
