/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_position.h - opens a file of lines at a stored position.
 *
 * A path may name another file after a rotation, and inode numbers are used
 * again. So the last learned line is read again, and its hash compared. That
 * line may now exceed the limit of a line. Then it is read up to
 * CONF_MAX_RECORD_BYTES, which takes as much memory until the function returns.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_STREAM_FILE_POSITION_H
#define MNEME_DAEMON_STREAM_FILE_POSITION_H

#include <stddef.h>

#include "base/err.h"
#include "base/lines.h"
#include "daemon/stream/source.h"

/*
 * Opens the file at->topic so that the next line has the number
 * at->next_offset.
 *   line_bytes  a longer line is cut there
 *   reader      out, for lines_close()
 *   returns     0; ERR_STATE: it is another file, or lines are missing
 */
int file_position_open(struct lines **reader, const struct source_position *at,
                       size_t line_bytes, struct err *err);

#endif
