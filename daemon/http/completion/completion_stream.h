/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion_stream.h - completions as server-sent events.
 *
 * A piece has the next part of a choice's text, in whole characters. Bytes
 * that may begin a stop string are sent later, or not at all.
 *
 * For completions and chats a piece is an event. An error is an event, too. The
 * last event is always [DONE]. api_responses.c makes its own events of pieces.
 *
 * Threads: the stream's writer
 */
#ifndef MNEME_DAEMON_HTTP_COMPLETION_COMPLETION_STREAM_H
#define MNEME_DAEMON_HTTP_COMPLETION_COMPLETION_STREAM_H

#include "base/buf.h"
#include "daemon/http/completion/completion.h"
#include "daemon/http/wire/http_stream.h"

struct completion_piece {
    const char *text; /* NULL: the piece has only logprobs and the reason */
    size_t n;
    json_t *logprobs;   /* of its tokens; the receiver takes it over */
    const char *reason; /* of the last piece: why the choice ends */
};

/* Returns true when the stream is closed: the generation then ends. */
typedef bool completion_piece_fn(const struct completion_piece *piece,
                                 void *arg);

/*
 * Generates a choice of a prompt, piece by piece, and counts its tokens.
 * Returns 0 or the error of infer_complete.
 */
int completion_stream_choice(struct completion *job, size_t prompt,
                             int64_t choice, completion_piece_fn *fn, void *arg,
                             struct err *err);

/* An http_stream_fn: generates every choice of a struct completion. */
void completion_stream_write(struct http_stream *s, void *completion);

/* The error of a generation, with OpenAI's fields. */
json_t *completion_stream_error(const struct completion *job,
                                const struct err *err);

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
