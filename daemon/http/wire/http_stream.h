/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_stream.h - server-sent events: one thread writes them, the connection's
 * thread sends them.
 *
 * An endpoint leaves a stream as its reply (reply.stream, with reply.status
 * 200). The server sends the stream to its end and frees it. The writer never
 * waits for a slow client: when 16 MiB are unsent, the stream counts as closed.
 *
 * Owner:   the request whose reply it is
 * Threads: as said at each
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_STREAM_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct http_slots;
struct http_stream; /* fields are in http_stream.c */

/* Writes events, on the stream's own thread; the stream ends when it returns.
 * The request may be gone by then, so the function may use only its arg. */
typedef void http_stream_fn(struct http_stream *s, void *arg);

/* Threads: an endpoint. fn begins with http_stream_start. release(arg), which
 * may be NULL, is called once: after fn, or instead of fn. */
struct http_stream *http_stream_create(http_stream_fn *fn, void *arg,
                                       void (*release)(void *arg));

/* Threads: the writer. All return true when the stream is closed: fn should
 * then return. Takes body over; a text must have no line ends.
 * http_stream_event sends a name and an id as well; NULL: none. */
bool http_stream_json(struct http_stream *s, json_t *body);
bool http_stream_text(struct http_stream *s, const char *text);
bool http_stream_event(struct http_stream *s, const char *name, const char *id,
                       const char *text);
bool http_stream_closed(struct http_stream *s);

/* --- for the server ----------------------------------------------------- */

#define HTTP_STREAM_TYPE "text/event-stream; charset=utf-8"

/*
 * Starts the writer, which puts its slot back when it returns.
 *   slots    NULL: the writer has no slot
 *   returns  false when no thread can be started; the caller keeps the slot
 */
bool http_stream_start(struct http_stream *s, struct http_slots *slots,
                       uint64_t holder);

/*
 * Waits for the next bytes. After 10 s without an event they are a comment, so
 * that no proxy closes the connection.
 *   client_fd  its socket; -1: none
 *   returns    0 at the end, and half a second after the client has left or has
 *              closed its sending side (http_cancel.h)
 * Threads: the connection's
 */
size_t http_stream_read(struct http_stream *s, int client_fd, char *bytes,
                        size_t size);

/* Closes the stream and waits for its writer. NULL is fine. */
void http_stream_free(struct http_stream *s);

#endif
