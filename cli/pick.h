/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.h - reads values from the daemon's JSON by a path of keys with dots.
 *
 * A value that is missing, null or of another type is no error, because an
 * older or newer daemon may send other members.
 *
 * Owner:   the JSON owns texts and values
 * Threads: any
 */
#ifndef MNEME_CLI_PICK_H
#define MNEME_CLI_PICK_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

json_t *pick(const json_t *root, const char *path);         /* or NULL */
const char *pick_text(const json_t *root, const char *path); /* or NULL */
const char *pick_text_or(const json_t *root, const char *path,
                         const char *otherwise);
double pick_real(const json_t *root, const char *path);     /* or NaN */
int64_t pick_integer(const json_t *root, const char *path, int64_t otherwise);
bool pick_true(const json_t *root, const char *path);

/* Converts a number of seconds or an ISO 8601 text in UTC to milliseconds since
 * 1970; -1: no time. */
int64_t pick_time_ms(const json_t *root, const char *path);

/* Prints JSON on the standard output, indented, with a line feed. */
void pick_print(const json_t *root);

#endif
