/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base_util.h - what the tests of base/ share: a directory, a file's content, a
 * process that is to abort.
 */
#ifndef MNEME_TESTS_UTIL_BASE_UTIL_H
#define MNEME_TESTS_UTIL_BASE_UTIL_H

#include <stdbool.h>

/* cmocka set-up and tear-down: *state is the path of an empty directory. The
 * hooks of fileio, timing and log are as at start afterwards. */
int base_make_temp(void **state);
int base_remove_temp(void **state);

/* The file holds that and no more; fails the test otherwise. */
void base_assert_content(const char *path, const char *expected);

/* True when f, in a process of its own, ends by abort(). */
bool base_aborts(void (*f)(void));

#endif
