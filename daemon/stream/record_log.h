/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_log.h - the durable log of the records that arrived over HTTP.
 *
 * DATA_DIR/records has the segments of the log: files of lines, each named
 * after the offset of its first line (00000000000000000042.jsonl). A line is a
 * record as it arrived. The offset of a record is the number of its line,
 * counted over all segments from 0 on.
 *
 *     append        writes and syncs; the records are durable on return
 *     keep_from     says which records may not be removed
 *     reader        reads durable records only, in order
 *
 * 1. An offset is never given twice. A record that is durable keeps its offset.
 * 2. An append that fails leaves nothing. A crash during an append leaves an
 *    incomplete line, which opening removes, or whole lines. They are read like
 *    other records, although no client was told that they are durable.
 * 3. The log is never larger than its limit. An append that needs room removes
 *    the oldest segments, if all of their records are before keep_from.
 * 4. After a failed sync, every append fails until the log is opened again.
 * 5. A reader returns durable records only.
 *
 * Owner:   struct source_http
 * Threads: any; a reader is used by one thread at a time. Only append and
 *          begin_at wait for the disk, and no other call waits for them.
 */
#ifndef MNEME_DAEMON_STREAM_RECORD_LOG_H
#define MNEME_DAEMON_STREAM_RECORD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/lines.h"

struct record_log; /* fields are in record_log.c */

struct record_log_options {
    const char *data_dir;
    int64_t limit_bytes;
    bool reads_only; /* another process may append: change no file */
};

/* Opens the log, and makes its directory if it is missing. Offsets that no
 * segment has are no error; reading one of them is ERR_STATE. ERR_IO. */
int record_log_open(const struct record_log_options *options,
                    struct record_log **log, struct err *err);
void record_log_close(struct record_log *l); /* NULL is fine */

/* Offsets of the first record in the log and after the last durable one. */
int64_t record_log_first(struct record_log *l);
int64_t record_log_end(struct record_log *l);

/*
 * Appends records, and syncs. A record has no line feed.
 *   lines    the records, a line feed after each
 *   n        their number, at least 1
 *   *first   the offset of the first one
 *   returns  ERR_AGAIN: the log is full of records that must be kept;
 *            ERR_LIMIT: n_bytes exceeds the log's limit less one segment (a
 *            sixteenth of the limit, at most 64 MiB); ERR_FULL: the disk is
 *            full; ERR_IO
 */
int record_log_append(struct record_log *l, const char *lines, size_t n_bytes,
                      int64_t n, int64_t *first, struct err *err);

/*
 * Keeps the records from `offset` on, and no longer those before it.
 * ERR_STATE, with nothing changed: a record from `offset` on was removed, or
 * `offset` is behind the end.
 */
int record_log_keep_from(struct record_log *l, int64_t offset, struct err *err);

/* Continues at `offset`, which is behind the end: no record gets an offset
 * before it. Keeps the records from it on. */
int record_log_begin_at(struct record_log *l, int64_t offset, struct err *err);

struct record_log_reader;

/* Reads from `offset` on, which is in the log or at its end. Of a line longer
 * than max_bytes, the first max_bytes are returned. */
struct record_log_reader *
record_log_read_from(struct record_log *l, int64_t offset, size_t max_bytes);
void record_log_reader_free(struct record_log_reader *r); /* NULL is fine */

/* Reads the next record; the line is valid until the next call. ERR_END: there
 * is no further durable record yet. ERR_STATE: the record is not in the log.
 * ERR_IO. */
int record_log_read(struct record_log_reader *r, struct line *line,
                    struct err *err);

#endif
