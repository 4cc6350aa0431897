/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.h - reading values out of the daemon's JSON, by dotted path.
 *
 * What is not there, null, or of another type is not an error: a newer or an
 * older daemon may say more or less.
 *
 * Owner:   texts and values belong to the JSON
 * Threads: any
 */
#ifndef MNEME_CLI_PICK_H
#define MNEME_CLI_PICK_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

json_t *pick(const json_t *root, const char *path);         /* or NULL */
const char *pick_text(const json_t *root, const char *path); /* or NULL */
double pick_real(const json_t *root, const char *path);     /* or NaN */
int64_t pick_integer(const json_t *root, const char *path, int64_t otherwise);
bool pick_true(const json_t *root, const char *path);

/* Unix milliseconds of a time that is a number of seconds or an ISO 8601 text
 * in UTC; -1 when there is none. */
int64_t pick_time_ms(const json_t *root, const char *path);

/* Prints JSON for people and programs, with a line feed. */
void pick_print(const json_t *root);

#endif
