/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/tensor.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [TENSOR_F32] = {"F32", 4}, [TENSOR_F64] = {"F64", 8},
    [TENSOR_I64] = {"I64", 8}, [TENSOR_U16] = {"U16", 2},
    [TENSOR_U8] = {"U8", 1},   [TENSOR_F16] = {"F16", 2},
    [TENSOR_BF16] = {"BF16", 2},
};

size_t tensor_type_size(enum tensor_type type)
{
    BUG_ON((size_t)type >= sizeof types / sizeof types[0]);
    return types[type].size;
}

size_t tensor_count(const struct tensor *t)
{
    size_t count = 1;

    for (int i = 0; i < t->n_dims; i++)
        if (__builtin_mul_overflow(count, t->shape[i], &count))
            BUG("tensor %s: the shape overflows", t->name);
    return count;
}

size_t tensor_bytes(const struct tensor *t)
{
    size_t bytes;

    if (__builtin_mul_overflow(tensor_count(t), tensor_type_size(t->type),
                               &bytes))
        BUG("tensor %s: the shape overflows", t->name);
    return bytes;
}

static struct tensor *add(struct tensor_list *l, const char *name,
                          enum tensor_type type, int n_dims,
                          const size_t *shape)
{
    struct tensor *t;

    BUG_ON(n_dims < 0 || n_dims > TENSOR_MAX_DIMS);
    XGROW(l->items, l->n, l->cap);
    t = &l->items[l->n++];
    memset(t, 0, sizeof *t);
    t->name = xstrdup(name);
    t->type = type;
    t->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++)
        t->shape[i] = shape[i];
    return t;
}

void tensor_add_borrowed(struct tensor_list *l, const char *name,
                         enum tensor_type type, int n_dims, const size_t *shape,
                         void *data)
{
    add(l, name, type, n_dims, shape)->data = data;
}

void *tensor_add_copy(struct tensor_list *l, const char *name,
                      enum tensor_type type, int n_dims, const size_t *shape,
                      const void *data)
{
    struct tensor *t = add(l, name, type, n_dims, shape);
    size_t n_bytes = tensor_bytes(t);

    t->data = xalloc_aligned(n_bytes);
    if (!t->data)
        BUG("tensor %s: out of memory: %zu bytes", name, n_bytes);
    t->owned = true;
    if (data && n_bytes)
        memcpy(t->data, data, n_bytes);
    return t->data;
}

void tensor_add_i64(struct tensor_list *l, const char *name,
                    const int64_t *values, size_t n)
{
    tensor_add_copy(l, name, TENSOR_I64, 1, &n, values);
}

void tensor_add_f64(struct tensor_list *l, const char *name,
                    const double *values, size_t n)
{
    tensor_add_copy(l, name, TENSOR_F64, 1, &n, values);
}

const struct tensor *tensor_find(const struct tensor_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->items[i].name, name))
            return &l->items[i];
    return NULL;
}

int tensor_expect(const struct tensor_list *l, const char *name,
                  enum tensor_type type, size_t n, const struct tensor **t,
                  struct err *err)
{
    const struct tensor *found = tensor_find(l, name);

    if (!found)
        return err_set(err, ERR_CORRUPT, "tensor %s is missing", name);
    if (found->type != type)
        return err_set(err, ERR_CORRUPT, "tensor %s is %s, expected %s", name,
                       types[found->type].name, types[type].name);
    if (n != SIZE_MAX && tensor_count(found) != n)
        return err_set(err, ERR_CORRUPT,
                       "tensor %s has %zu elements, expected %zu", name,
                       tensor_count(found), n);
    *t = found;
    return 0;
}

void tensor_list_release(struct tensor_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->items[i].name);
        if (l->items[i].owned)
            free(l->items[i].data);
    }
    free(l->items);
    *l = (struct tensor_list)TENSOR_LIST_INIT;
}
