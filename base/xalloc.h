/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xalloc.h - allocates memory; for small objects, without an error to handle.
 *
 * No caller can continue without memory for a small object, so these functions
 * abort with a line on stderr. A caller checks sizes from outside against a
 * limit first. Large blocks use xalloc_aligned.
 *
 * Owner:    the caller, who calls free(), also for aligned blocks
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

/* Allocates zeroed memory with 64-byte alignment, for vectors; in large pages
 * from 8 MiB on. Returns NULL when there is no memory. */
void *xalloc_aligned(size_t n_bytes);

/* As xalloc_aligned, in whole large pages from 2 MiB on; aborts when there is
 * no memory. For blocks that are read for every token: small pages would need
 * more address translations than the processor keeps. */
void *xalloc_large(size_t n_bytes);

/* Allocates zeroed float[n] with 64-byte alignment; aborts when there is no
 * memory. */
float *xfloats(size_t n);

/* For tests: when it returns true, the allocation fails. NULL: not called. */
extern bool (*xalloc_fault)(void);

/* Makes room for one more element: doubles cap when n == cap. */
#define XGROW(array, n, cap)                                                   \
    do {                                                                       \
        if ((n) == (cap)) {                                                    \
            (cap) = (cap) ? 2 * (cap) : 16;                                    \
            (array) = xreallocarray((array), (cap), sizeof *(array));          \
        }                                                                      \
    } while (0)

#endif
