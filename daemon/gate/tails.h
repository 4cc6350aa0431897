/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tails.h - tail probabilities and quantiles of the distributions that the
 * gate's tests use.
 *
 * Student's t and the binomial distribution are both the regularised incomplete
 * beta function I_x(a, b) (Abramowitz, Stegun 1964, 26.5). Its continued
 * fraction is evaluated by Lentz's method (Press et al. 2007, Numerical
 * Recipes, 6.4).
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_TAILS_H
#define MNEME_DAEMON_GATE_TAILS_H

#include <stdint.h>

/* P(T > t) of Student's t with n >= 1 degrees of freedom:
 * I_x(n/2, 1/2) / 2 with x = n / (n + t^2), for t > 0 (26.7.1). */
double tails_student(double t, double n);

/* P(X >= k) for the number X of heads in n throws of a fair coin:
 * I_{1/2}(k, n - k + 1) (26.5.24). */
double tails_coin(int64_t k, int64_t n);

/* The x with P(Z < x) = p of a standard normal Z, for 0 < p < 1: Acklam's
 * rational approximation (2003), relative error below 1.2e-9. */
double tails_normal_quantile(double p);

#endif
