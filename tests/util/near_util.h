/* SPDX-License-Identifier: Apache-2.0 */
/*
 * near_util.h - floats that are as good as the ones that were wanted.
 */
#ifndef MNEME_TESTS_UTIL_NEAR_UTIL_H
#define MNEME_TESTS_UTIL_NEAR_UTIL_H

#include <stddef.h>

/* Each of got[n] is off by tolerance * (1 + |want|) at most; fails the test
 * otherwise, with its place in `what`. */
void util_expect_near(const char *what, const float *got, const float *want,
                      size_t n, double tolerance);

#endif
