/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growable array of bytes, always followed by a NUL.
 *
 *     struct buf b = BUF_INIT;
 *     buf_addf(&b, "%d", 7);
 *     ... b.data, b.len ...
 *     buf_release(&b);
 *
 * Owner:   the caller; the caller also frees what buf_detach returns
 * Threads: any, one at a time for a buffer
 */
#ifndef MNEME_BASE_BUF_H
#define MNEME_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* NULL before the first use */
    size_t len;
    size_t cap;
};

#define BUF_INIT {NULL, 0, 0}

void buf_add(struct buf *b, const void *bytes, size_t n_bytes);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void buf_reserve(struct buf *b, size_t extra_bytes);
void buf_clear(struct buf *b); /* sets the length to 0, keeps the memory */
void buf_release(struct buf *b);
char *buf_detach(struct buf *b); /* never NULL; empties the buffer */

#endif
