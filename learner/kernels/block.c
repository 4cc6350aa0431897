/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/kernels/block.h"

#include <math.h>

#include "learner/kernels/hot.h"

HOT bool block_finite(const float *x, size_t n)
{
    int bad = 0;

#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < n; i++)
        bad |= !(fabsf(x[i]) < INFINITY);
    return !bad;
}

int block_expect(const struct tensor_list *l, const char *name, size_t n,
                 const struct tensor **t, struct err *err)
{
    int rc = tensor_expect(l, name, TENSOR_F32, n, t, err);

    if (rc == 0 && !block_finite((*t)->data, tensor_count(*t)))
        return err_set(err, ERR_CORRUPT, "tensor %s: a value is not finite",
                       name);
    return rc;
}

int block_expect_squares(const struct tensor_list *l, const char *name,
                         size_t n, const struct tensor **t, struct err *err)
{
    int rc = block_expect(l, name, n, t, err);

    for (size_t i = 0; rc == 0 && i < tensor_count(*t); i++)
        if (((const float *)(*t)->data)[i] < 0.0f)
            rc = err_set(err, ERR_CORRUPT, "tensor %s: a value is negative",
                         name);
    return rc;
}

float *block_alloc(float *block, size_t *used, size_t n)
{
    float *p = block ? block + *used : NULL;

    *used += (n + 15) / 16 * 16;
    return p;
}
