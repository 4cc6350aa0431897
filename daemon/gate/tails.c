/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/tails.h"

#include <math.h>

/* --- the normal distribution -------------------------------------------- */

static double tail_quantile(double q)
{
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01,
                               2.445134137142996e+00, 3.754408661907416e+00};

    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q +
            c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
}

static double centre_quantile(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    double q = p - 0.5, r = q * q;

    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r +
            a[5]) *
           q /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

double tails_normal_quantile(double p)
{
    const double low = 0.02425;

    if (p < low)
        return tail_quantile(sqrt(-2 * log(p)));
    if (p > 1 - low)
        return -tail_quantile(sqrt(-2 * log(1 - p)));
    return centre_quantile(p);
}

/* --- the incomplete beta function --------------------------------------- */

/* The continued fraction of I_x(a, b) (26.5.8). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;

    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 500; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd =
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double last;

        d = 1 / (1 + even * d);
        c = 1 + even / c;
        f *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        last = c * d;
        f *= last;
        if (fabs(last - 1) < 1e-14)
            break;
    }
    return f;
}

/* lgamma() writes the global variable signgam, so threads would race. */
static double log_gamma(double x)
{
    int sign;

    return lgamma_r(x, &sign);
}

static double incomplete_beta(double x, double a, double b)
{
    double front;

    if (x <= 0 || x >= 1)
        return x >= 1;
    front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) +
                b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(x, a, b) / a;
    return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double tails_coin(int64_t k, int64_t n)
{
    if (k <= 0)
        return 1;
    return k > n ? 0 : incomplete_beta(0.5, (double)k, (double)(n - k + 1));
}

double tails_student(double t, double n)
{
    double both = incomplete_beta(n / (n + t * t), n / 2, 0.5);

    return t > 0 ? both / 2 : 1 - both / 2;
}
