/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/average.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/hot.h"

#define YOUNG_UPDATES 10.0

void average_init(struct average *a, const struct average_options *options,
                  const float *w, size_t n_params)
{
    *a = (struct average){.options = *options};
    if (!options->enabled)
        return;
    a->weights = xfloats(n_params);
    memcpy(a->weights, w, n_params * sizeof *w);
}

void average_release(struct average *a)
{
    free(a->weights);
    memset(a, 0, sizeof *a);
}

float average_decay(const struct average *a, int64_t updates)
{
    double t = (double)updates;
    float young = (float)((1.0 + t) / (YOUNG_UPDATES + t));

    return young < a->options.decay ? young : a->options.decay;
}

/* a + (1 - d)(w - a) = w - d (w - a). In this form, d = 0 gives w exactly, and
 * an average that equals w stays. */
HOT static void follow(float *restrict a, const float *restrict w, size_t n,
                       float d)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        a[i] = w[i] - d * (w[i] - a[i]);
}

void average_follow(struct average *a, const float *w, float decay, size_t from,
                    size_t to)
{
    if (a->weights)
        follow(a->weights + from, w + from, to - from, decay);
}
