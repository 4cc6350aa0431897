/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/xalloc.h"
#include "learner/hot.h"

#define HUGE_PAGE ((size_t)2 << 20)

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
        return err_set(err, ERR_CORRUPT, "tensor %s: not finite", name);
    return rc;
}

void *block_large(size_t n_bytes)
{
    size_t padded = (n_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *p;

    if (n_bytes < HUGE_PAGE)
        return xfloats((n_bytes + sizeof(float) - 1) / sizeof(float));
    p = aligned_alloc(HUGE_PAGE, padded);
    BUG_ON(!p);
#ifdef MADV_HUGEPAGE
    (void)madvise(p, padded, MADV_HUGEPAGE);
#endif
    memset(p, 0, padded);
    return p;
}

float *block_take(float *block, size_t *used, size_t n)
{
    float *p = block ? block + *used : NULL;

    *used += (n + 15) / 16 * 16;
    return p;
}
