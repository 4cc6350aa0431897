/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/xalloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool (*xalloc_fault)(void);

static void *checked(void *p, size_t n_bytes)
{
    if (!p || (xalloc_fault && xalloc_fault())) {
        fprintf(stderr, "mneme: out of memory: %zu bytes\n", n_bytes);
        abort();
    }
    return p;
}

static size_t product(size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes))
        checked(NULL, SIZE_MAX);
    return bytes;
}

void *xmalloc(size_t n_bytes)
{
    return checked(malloc(n_bytes ? n_bytes : 1), n_bytes);
}

void *xcalloc(size_t n, size_t size)
{
    return checked(calloc(n ? n : 1, size ? size : 1), product(n, size));
}

void *xrealloc(void *p, size_t n_bytes)
{
    return checked(realloc(p, n_bytes ? n_bytes : 1), n_bytes);
}

void *xreallocarray(void *p, size_t n, size_t size)
{
    return xrealloc(p, product(n, size));
}

char *xstrdup(const char *s)
{
    return checked(strdup(s), strlen(s) + 1);
}

char *xstrndup(const char *s, size_t n)
{
    return checked(strndup(s, n), n + 1);
}

void *xmemdup(const void *p, size_t n_bytes)
{
    void *copy = xmalloc(n_bytes);

    if (n_bytes)
        memcpy(copy, p, n_bytes);
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return checked(n < 0 ? NULL : s, strlen(fmt));
}

#define LINE 64
#define LARGE_PAGE ((size_t)2 << 20)

/* Allocates zeroed memory. An alignment of LARGE_PAGE also requests large
 * pages. */
static void *aligned(size_t n_bytes, size_t alignment)
{
    size_t padded;
    void *p;

    if (n_bytes > PTRDIFF_MAX - LARGE_PAGE)
        return NULL; /* no object is larger */
    padded = n_bytes ? (n_bytes + LINE - 1) / LINE * LINE : LINE;
    if (posix_memalign(&p, alignment, padded) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (alignment == LARGE_PAGE)
        (void)madvise(p, padded, MADV_HUGEPAGE);
#endif
    memset(p, 0, padded);
    return p;
}

/* A block of several large pages is aligned to them and requests them.
 * Otherwise random reads of a large table would wait more for page tables than
 * for memory. */
void *xalloc_aligned(size_t n_bytes)
{
    return aligned(n_bytes, n_bytes >= 4 * LARGE_PAGE ? LARGE_PAGE : LINE);
}

/* Rounds up to whole large pages, so that the end of the block is not in small
 * pages. */
void *xalloc_large(size_t n_bytes)
{
    size_t beyond = n_bytes % LARGE_PAGE, padded;

    if (n_bytes < LARGE_PAGE)
        return checked(aligned(n_bytes, LINE), n_bytes);
    if (__builtin_add_overflow(n_bytes, beyond ? LARGE_PAGE - beyond : 0,
                               &padded))
        checked(NULL, n_bytes);
    return checked(aligned(padded, LARGE_PAGE), n_bytes);
}

float *xfloats(size_t n)
{
    size_t bytes = product(n, sizeof(float));

    return checked(xalloc_aligned(bytes), bytes);
}
