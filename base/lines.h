/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.h - the lines of a file, as it is or compressed.
 *
 * What the file's name ends in decides: .gz, .zst, anything else is plain.
 * A line ends with LF or CR LF, which are not part of it. Memory is bounded by
 * the longest line that is wanted: of a longer one the first max_bytes are
 * kept.
 *
 * The end of the file is no end for the reader: when more has been written
 * lines_next goes on, also after the end of a compressed member. Zeros after a
 * member are padding. Other bytes that are no member are skipped and counted.
 *
 * A regular file that is rewritten while it is read would give pieces of lines.
 * So before each read, the last LINES_TAIL bytes that were read are compared
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
    const char *bytes; /* until the next call */
    size_t n_bytes;
    bool too_long; /* bytes are the first max_bytes of it */
};

/* path NULL: standard input. ERR_IO. */
struct lines *lines_open(const char *path, size_t max_bytes, struct err *err);
void lines_close(struct lines *l);

/*
 * The next whole line.
 *   returns  0; ERR_END when there is none yet; ERR_AGAIN when nothing came
 *            for 100 ms (a pipe); ERR_STATE, from then on, when the file has
 *            been truncated or rewritten; ERR_INVALID when zstd wants
 *            more memory than is allowed; ERR_IO, ERR_CORRUPT
 */
int lines_next(struct lines *l, struct line *line, struct err *err);

/*
 * What stands after the last line end, as a line; the caller knows that no
 * more comes. ERR_END when there is nothing, ERR_CORRUPT when a compressed
 * file breaks off.
 */
int lines_rest(struct lines *l, struct line *line, struct err *err);

/* Reads past n lines. ERR_END when there are fewer; else as lines_next. */
int lines_skip(struct lines *l, int64_t n, struct err *err);

/* Which file it is, for finding out that the path names another one. */
dev_t lines_device(const struct lines *l);
ino_t lines_inode(const struct lines *l);
bool lines_same_file(const struct lines *l, dev_t device, ino_t inode);
/* How long it was when it was opened. */
int64_t lines_size(const struct lines *l);
/* How far the file itself has been read. */
int64_t lines_bytes_read(const struct lines *l);
/* At the last read, had the file bytes behind the last one that was read? */
bool lines_is_behind(const struct lines *l);
/* Has the file now bytes behind the last one that was read? */
bool lines_has_grown(const struct lines *l);
/* Bytes after the last compressed member that were skipped, without padding. */
int64_t lines_ignored(const struct lines *l);
/* A regular file, which can be read again. */
bool lines_is_regular(const struct lines *l);

#endif
