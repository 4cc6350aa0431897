/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/xalloc.h"

void buf_reserve(struct buf *b, size_t extra_bytes)
{
    size_t need;

    if (__builtin_add_overflow(b->len, extra_bytes, &need) ||
        __builtin_add_overflow(need, (size_t)1, &need))
        BUG("a buffer of %zu + %zu bytes", b->len, extra_bytes);
    if (need <= b->cap)
        return;
    b->cap = need > 2 * b->cap ? need : 2 * b->cap;
    b->data = xrealloc(b->data, b->cap);
}

void buf_add(struct buf *b, const void *bytes, size_t n_bytes)
{
    buf_reserve(b, n_bytes);
    if (n_bytes)
        memcpy(b->data + b->len, bytes, n_bytes);
    b->len += n_bytes;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    BUG_ON(n < 0);
    buf_reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

void buf_release(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

char *buf_detach(struct buf *b)
{
    char *data;

    buf_reserve(b, 0);
    b->data[b->len] = '\0';
    data = b->data;
    b->data = NULL;
    b->len = b->cap = 0;
    return data;
}
