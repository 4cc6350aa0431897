/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/figure.h"

#include <math.h>

#include "base/err.h"

void figure_add(struct figure *f, double value)
{
    size_t i = f->n++;

    BUG_ON(i == FIGURE_MOST);
    for (; i > 0 && f->values[i - 1] > value; i--)
        f->values[i] = f->values[i - 1];
    f->values[i] = value;
}

double figure_median(const struct figure *f)
{
    if (f->n == 0)
        return (double)NAN;
    return (f->values[(f->n - 1) / 2] + f->values[f->n / 2]) / 2.0;
}

double figure_least(const struct figure *f)
{
    return f->n ? f->values[0] : (double)NAN;
}

double figure_most(const struct figure *f)
{
    return f->n ? f->values[f->n - 1] : (double)NAN;
}
