/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xalloc.h - allocation that cannot fail, for small objects.
 *
 * Running out of memory for a few bytes is not something a caller can mend:
 * these abort with a line on stderr. Anything whose size comes from outside
 * is checked against a limit first; large blocks use xalloc_aligned.
 *
 * Owner:    the caller; all of it, the aligned blocks too, is released with
 *           free()
 * Threads:  any
 */
#ifndef MNEME_BASE_XALLOC_H
#define MNEME_BASE_XALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *xmalloc(size_t n_bytes);
void *xcalloc(size_t n, size_t size); /* zeroed; n * size is checked */
void *xrealloc(void *p, size_t n_bytes);
void *xreallocarray(void *p, size_t n, size_t size); /* n * size is checked */
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n_bytes);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory on a 64-byte boundary, for vectors; large pages from 8 MiB on.
 * Returns NULL when there is none. */
void *xalloc_aligned(size_t n_bytes);

/* The same for what is walked through for every token, which would otherwise
 * need more translations than the processor keeps: whole large pages from 2
 * MiB on. Aborts when there is none. */
void *xalloc_large(size_t n_bytes);

/* Zeroed float[n] on a 64-byte boundary; aborts when there is none. */
float *xfloats(size_t n);

/* Test hook: true makes that allocation one that failed. NULL: none. */
extern bool (*xalloc_fault)(void);

/* Room for one more element: doubles *cap when n == *cap. */
#define XGROW(array, n, cap)                                                   \
    do {                                                                       \
        if ((n) == (cap)) {                                                    \
            (cap) = (cap) ? 2 * (cap) : 16;                                    \
            (array) = xreallocarray((array), (cap), sizeof *(array));          \
        }                                                                      \
    } while (0)

#endif
