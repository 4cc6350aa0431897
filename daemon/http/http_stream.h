/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_stream.h - server-sent events: one thread writes them, the connection's
 * sends them.
 *
 * An endpoint leaves a stream as its reply (reply.stream, with reply.status
 * 200 and reply.version); the server reads it to its end and frees it. A
 * writer is never held up by a slow client: one that lets too much wait is
 * no longer told anything.
 *
 * Threads: as said at each
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_STREAM_H
#define MNEME_DAEMON_HTTP_HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

struct http_stream; /* fields are in http_stream.c */

/* Writes events, on the stream's own thread; the stream ends when it returns.
 * arg is its own: the request may be gone by then. */
typedef void http_stream_fn(struct http_stream *s, void *arg);

/* Threads: an endpoint. fn begins with http_stream_start. release(arg), which
 * may be NULL, is called once, after fn or instead of it. */
struct http_stream *http_stream_create(http_stream_fn *fn, void *arg,
                                       void (*release)(void *arg));

/* Threads: the writer. All return true when the client has left: fn should then
 * return. body is taken over; a text must have no line ends. http_stream_event
 * sends a name and an id as well. */
bool http_stream_json(struct http_stream *s, json_t *body);
bool http_stream_text(struct http_stream *s, const char *text);
bool http_stream_event(struct http_stream *s, const char *name, const char *id,
                       const char *text);
bool http_stream_deaf(struct http_stream *s);

/* --- for the server ----------------------------------------------------- */

#define HTTP_STREAM_TYPE "text/event-stream; charset=utf-8"

/* Starts the writer; at_end(arg) is called when it has returned: its place to
 * compute is free again. False: there is no thread, and at_end is not called.
 */
bool http_stream_start(struct http_stream *s, void (*at_end)(void *arg),
                       void *arg);

/* The next bytes, waiting for them; a comment when it takes long, so that no
 * proxy hangs up. 0 at the end. Threads: the connection's */
size_t http_stream_read(struct http_stream *s, char *bytes, size_t size);

/* Nobody listens: tells the writer and waits for it. NULL is fine. */
void http_stream_free(struct http_stream *s);

#endif
