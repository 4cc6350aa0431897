/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_coding.h - decompresses the body of a request: gzip and zstd.
 *
 * A decoder and the text that it makes take memory only after `charge` has
 * agreed. So a request without a body costs nothing, and a zstd frame costs the
 * window that its header asks for.
 *
 * Owner:   the request
 * Threads: the connection's
 */
#ifndef MNEME_DAEMON_HTTP_WIRE_HTTP_CODING_H
#define MNEME_DAEMON_HTTP_WIRE_HTTP_CODING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* The value of Accept-Encoding with a 415. */
#define HTTP_CODINGS "gzip, zstd"

/* Bytes of memory for a byte of a body: buffers double. */
#define HTTP_BODY_GROWTH 2

struct http_coding; /* fields are in http_coding.c */

/* name: the value of Content-Encoding. NULL: it is not supported. */
struct http_coding *http_coding_create(const char *name);
void http_coding_free(struct http_coding *c); /* NULL is fine */

enum http_coding_result {
    HTTP_CODING_OK,
    HTTP_CODING_TOO_LARGE, /* `out` would have more than max_bytes */
    HTTP_CODING_BAD,       /* not compressed as it says, or zstd's window is
                              larger than 8 MiB */
    HTTP_CODING_NO_MEMORY  /* `charge` has refused */
};

struct http_coding_limits {
    size_t max_bytes; /* of the decompressed body */
    /* May the decoder and its output take n_bytes more? */
    bool (*charge)(void *arg, size_t n_bytes);
    void *arg;
};

/* Decompresses the next bytes of the body to the end of `out`. After another
 * result than HTTP_CODING_OK it must not be called again. */
enum http_coding_result
http_coding_decode(struct http_coding *c, const char *bytes, size_t n,
                   const struct http_coding_limits *limits, struct buf *out);

/* Is the data complete? */
bool http_coding_is_complete(const struct http_coding *c);

#endif
