/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_place.h - the place in a file of lines where reading goes on.
 *
 * Is it still the same file? A path says nothing after a rotation, and inode
 * numbers are used again; so the line that was learned last is read again and
 * its hash compared. It was read whole when it was learned: one that is longer
 * than the limit by now is read again, up to CONF_MAX_RECORD_BYTES of it, which
 * takes as much memory until file_place_open returns.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_STREAM_FILE_PLACE_H
#define MNEME_DAEMON_STREAM_FILE_PLACE_H

#include <stddef.h>

#include "base/err.h"
#include "base/lines.h"
#include "daemon/stream/source.h"

/*
 * Opens the file at->topic with the next line at at->next_offset, when it is
 * the file that was learned from. ERR_STATE: it is not, or lines are missing.
 *   line_bytes  a longer line is cut there
 *   reader      out, for lines_close()
 */
int file_place_open(struct lines **reader, const struct source_position *at,
                    size_t line_bytes, struct err *err);

#endif
