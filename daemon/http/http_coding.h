/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_coding.h - decompresses the body of a request: gzip and zstd.
 *
 * Owner:   the request
 * Threads: the connection's
 */
#ifndef MNEME_DAEMON_HTTP_HTTP_CODING_H
#define MNEME_DAEMON_HTTP_HTTP_CODING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* The value of Accept-Encoding with a 415. */
#define HTTP_CODINGS "gzip, zstd"

/* The memory of a decoder: the largest window of zstd, and its buffers. */
#define HTTP_CODING_BYTES ((size_t)9 << 20)

struct http_coding; /* fields are in http_coding.c */

/* name: the value of Content-Encoding. NULL: it is not supported. */
struct http_coding *http_coding_create(const char *name);
void http_coding_free(struct http_coding *c); /* NULL is fine */

/* The most memory that it takes. */
size_t http_coding_bytes(const struct http_coding *c);

enum http_coding_result {
    HTTP_CODING_OK,
    HTTP_CODING_TOO_LARGE, /* `out` would have more than max_bytes */
    HTTP_CODING_BAD        /* not compressed as it says, or zstd's window is
                              larger than 8 MiB */
};

/* Decompresses the next bytes to the end of `out`. */
enum http_coding_result http_coding_decode(struct http_coding *c,
                                           const char *bytes, size_t n,
                                           size_t max_bytes, struct buf *out);

/* Is the data complete? */
bool http_coding_is_complete(const struct http_coding *c);

#endif
