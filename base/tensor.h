/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.h - a tensor: a named block of numbers; and a list of tensors. The
 * learner and the replay buffer pass such lists to the store and get them back,
 * so that none of them needs the others' types.
 *
 * Owner:   a list owns its names; it owns a block and frees it, or it borrows
 *          the block, as each tensor_add function says
 * Threads: any, one at a time for a list
 */
#ifndef MNEME_BASE_TENSOR_H
#define MNEME_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* TENSOR_F16 and TENSOR_BF16 (half.h) are only written, for other programs:
 * readers convert them to TENSOR_F32. */
enum tensor_type {
    TENSOR_F32,
    TENSOR_F64,
    TENSOR_I64,
    TENSOR_U16,
    TENSOR_U8,
    TENSOR_F16,
    TENSOR_BF16
};

/* The largest counter that is accepted from a file. It is larger than any real
 * counter, and small enough that sums do not overflow. */
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

/* Adds a borrowed block: data must outlive the list. */
void tensor_add_borrowed(struct tensor_list *l, const char *name,
                         enum tensor_type type, int n_dims,
                         const size_t *shape, void *data);

/* Adds a copy of data, or zeros when data is NULL. Returns the list's block,
 * which is 64-byte aligned. */
void *tensor_add_copy(struct tensor_list *l, const char *name,
                      enum tensor_type type, int n_dims, const size_t *shape,
                      const void *data);

/* As tensor_add_copy, for one dimension. */
void tensor_add_i64(struct tensor_list *l, const char *name,
                    const int64_t *values, size_t n);
void tensor_add_f64(struct tensor_list *l, const char *name,
                    const double *values, size_t n);

const struct tensor *tensor_find(const struct tensor_list *l,
                                 const char *name);

/* Finds the tensor of that name and checks its type and its number of elements
 * (n == SIZE_MAX: any number). ERR_CORRUPT: the tensor is missing, or has
 * another type or number of elements. */
int tensor_expect(const struct tensor_list *l, const char *name,
                  enum tensor_type type, size_t n, const struct tensor **t,
                  struct err *err);

void tensor_list_release(struct tensor_list *l);

#endif
