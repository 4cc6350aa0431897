/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion_stream.h - completions as server-sent events.
 *
 * An event has the next piece of a choice's text, in whole characters. Bytes
 * that may begin a stop string are sent later, or not at all. An error is an
 * event, too. The last event is always [DONE].
 *
 * Threads: the stream's writer
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_STREAM_H
#define MNEME_DAEMON_HTTP_COMPLETION_STREAM_H

#include "base/buf.h"
#include "daemon/http/http_stream.h"

/* An http_stream_fn: generates every choice of a struct completion. */
void completion_stream_write(struct http_stream *s, void *completion);

/*
 * Adds the bytes of a token, and moves all that can be sent now to out, as
 * valid UTF-8. An incomplete character and the possible beginning of a stop
 * string stay. So a token costs the same however long the text is.
 *   unsent  the bytes that stay; empty at first
 *   stop    n_stop strings that end the text
 */
void completion_stream_add(struct buf *unsent, const char *bytes,
                           size_t n_bytes, const char *const *stop,
                           size_t n_stop, struct buf *out);

#endif
