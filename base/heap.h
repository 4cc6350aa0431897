/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - makes functions for a binary heap in an array of any type.
 *
 * HEAP_DEFINE(name, type, before) defines
 *
 *     void name_push(type *items, size_t *n, type item);
 *     type name_pop(type *items, size_t *n);
 *     void name_sink(type *items, size_t n, size_t at);
 *
 * name_push adds an item; the array must have room for it. name_pop removes and
 * returns the first item, items[0]. name_sink moves the item `at` down to where
 * it belongs; calls for n / 2 - 1 down to 0 make any array a heap.
 *
 *   before  bool before(const type *a, const type *b): a comes out before b
 */
#ifndef MNEME_BASE_HEAP_H
#define MNEME_BASE_HEAP_H

#include <stddef.h>

#define HEAP_DEFINE(name, type, before)                                        \
    __attribute__((unused)) static void name##_sink(type *items, size_t n,     \
                                                    size_t at)                 \
    {                                                                          \
        type moved = items[at];                                                \
                                                                               \
        for (size_t child; (child = 2 * at + 1) < n; at = child) {             \
            if (child + 1 < n && before(&items[child + 1], &items[child]))     \
                child++;                                                       \
            if (!before(&items[child], &moved))                                \
                break;                                                         \
            items[at] = items[child];                                          \
        }                                                                      \
        items[at] = moved;                                                     \
    }                                                                          \
                                                                               \
    __attribute__((unused)) static void name##_push(type *items, size_t *n,    \
                                                    type item)                 \
    {                                                                          \
        size_t at = (*n)++;                                                    \
                                                                               \
        for (; at > 0 && before(&item, &items[(at - 1) / 2]);                  \
             at = (at - 1) / 2)                                                \
            items[at] = items[(at - 1) / 2];                                   \
        items[at] = item;                                                      \
    }                                                                          \
                                                                               \
    __attribute__((unused)) static type name##_pop(type *items, size_t *n)     \
    {                                                                          \
        type top = items[0];                                                   \
                                                                               \
        items[0] = items[--*n];                                                \
        name##_sink(items, *n, 0);                                             \
        return top;                                                            \
    }

#endif
