/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "eval/measures.h"

#include <math.h>

double measures_mean(const double *values, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return n ? sum / (double)n : NAN;
}

double measures_final_mean(const double *a, size_t n)
{
    return n ? measures_mean(a + (n - 1) * n, n) : NAN;
}

double measures_backward_transfer(const double *a, size_t n)
{
    double sum = 0.0;

    for (size_t j = 0; j + 1 < n; j++)
        sum += a[j * n + j] - a[(n - 1) * n + j];
    return n > 1 ? sum / (double)(n - 1) : NAN;
}

double measures_forgetting(const double *a, size_t n)
{
    double sum = 0.0;

    for (size_t j = 0; j + 1 < n; j++) {
        double best = a[j];

        for (size_t i = 1; i + 1 < n; i++)
            best = fmin(best, a[i * n + j]);
        sum += a[(n - 1) * n + j] - best;
    }
    return n > 1 ? sum / (double)(n - 1) : NAN;
}

double measures_newest(const double *a, size_t n)
{
    return n ? a[n * n - 1] : NAN;
}

double measures_worst_unseen(const double *start, const double *a, size_t n)
{
    double worst = NAN;

    for (size_t j = 0; j < n; j++) {
        worst = fmax(worst, start[j]);
        for (size_t i = 0; i < j; i++)
            worst = fmax(worst, a[i * n + j]);
    }
    return worst;
}

double measures_retention(double naive, double ours, double joint)
{
    return naive == joint ? NAN : (naive - ours) / (naive - joint);
}

double measures_anytime(const double *a, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += measures_mean(a + i * n, i + 1);
    return n ? sum / (double)n : NAN;
}
