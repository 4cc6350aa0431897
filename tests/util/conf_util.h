/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_util.h - configurations to load, and what is said about them.
 *
 * The tests run in a temporary directory, with one file in it.
 */
#ifndef MNEME_TESTS_UTIL_CONF_UTIL_H
#define MNEME_TESTS_UTIL_CONF_UTIL_H

#include <stddef.h>

#include "conf/conf.h"

#define UTIL_FILE "t.yaml"

/* cmocka set-up and tear-down of a group. */
int util_enter_temp(void **state);
int util_leave_temp(void **state);

/* Writes UTIL_FILE. */
void util_write_file(const char *text, size_t n_bytes);

/* Every problem, one a line; to be freed. */
char *util_lines(const struct conf_problems *p);

/* Loads a text (NULL: no file) and overrides; *problems is what came of it, to
 * be freed. */
struct conf *util_load(const char *text, const char *const *sets, size_t n_sets,
                       char **problems);

/* The same, without a problem. */
struct conf *util_load_good(const char *text);

/* How many keys differ. */
size_t util_differences(const struct conf *a, const struct conf *b);

void util_assert_key(const struct conf *c, const char *key,
                     const char *expected);

/* The text of a file of the source, to be freed. With MNEME_WRITE_DOCS=1 in
 * the environment `fresh` is written there first, unless it is NULL. */
char *util_document(const char *name, const char *fresh);

struct util_refused {
    const char *text;
    const char *problems; /* without the final newline */
};

void util_assert_refused(const struct util_refused *x);

#endif
