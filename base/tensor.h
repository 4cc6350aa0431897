/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.h - a named block of numbers, and a list of them: what the learner
 * and the replay buffer hand to the store, and get back from it, without any
 * of them knowing the other.
 *
 * Owner:   a list owns its names; each block is either owned (freed with the
 *          list) or borrowed, as tensor_add_* says
 * Threads: any, one at a time for a list
 */
#ifndef MNEME_BASE_TENSOR_H
#define MNEME_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum tensor_type { TENSOR_F32, TENSOR_F64, TENSOR_I64, TENSOR_U16, TENSOR_U8 };

/* The largest counter that is accepted from a file: more than can be counted,
 * and small enough that sums do not overflow. */
#define TENSOR_COUNTER_MOST (INT64_C(1) << 60)

#define TENSOR_MAX_DIMS 4

struct tensor {
    char *name;
    enum tensor_type type;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS];
    void *data; /* row-major, the last dimension fastest */
    bool owned;
};

struct tensor_list {
    struct tensor *items;
    size_t n, cap;
};

#define TENSOR_LIST_INIT {NULL, 0, 0}

size_t tensor_type_size(enum tensor_type type);
size_t tensor_count(const struct tensor *t); /* elements */
size_t tensor_bytes(const struct tensor *t);

/* Borrow: data stays the caller's and outlives the list. */
void tensor_add_borrowed(struct tensor_list *l, const char *name,
                         enum tensor_type type, int n_dims,
                         const size_t *shape, void *data);
/* Copy: zeroed when data is NULL. Returns the list's own block, 64-byte
 * aligned. */
void *tensor_add_copy(struct tensor_list *l, const char *name,
                      enum tensor_type type, int n_dims, const size_t *shape,
                      const void *data);

/* One-dimensional shorthands for tensor_add_copy. */
void tensor_add_i64(struct tensor_list *l, const char *name,
                    const int64_t *values, size_t n);
void tensor_add_f64(struct tensor_list *l, const char *name,
                    const double *values, size_t n);

const struct tensor *tensor_find(const struct tensor_list *l,
                                 const char *name);

/* The tensor of that name, type and number of elements, or ERR_CORRUPT with
 * what is wrong. n == SIZE_MAX: any number. */
int tensor_expect(const struct tensor_list *l, const char *name,
                  enum tensor_type type, size_t n, const struct tensor **t,
                  struct err *err);

void tensor_list_release(struct tensor_list *l);

#endif
