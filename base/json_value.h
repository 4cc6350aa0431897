/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_value.h - values that JSON cannot hold as they are.
 *
 * Owner:   the caller has the reference
 * Threads: any
 */
#ifndef MNEME_BASE_JSON_VALUE_H
#define MNEME_BASE_JSON_VALUE_H

#include <stddef.h>

#include <jansson.h>

/* null when x is not finite. */
json_t *json_value_real(double x);

/* A text that may have been cut inside a character, or be anything: what is
 * not UTF-8 becomes U+FFFD. */
json_t *json_value_text(const char *s);
json_t *json_value_bytes(const char *s, size_t n);

/*
 * JSON's grammar has numbers of any size, and jansson refuses a text that has
 * one beyond 64 bits or a double. Rewrites such numbers in place, as long as
 * they were: an integer becomes a real of that size, and what is beyond a
 * double +-1e308. So a field that nobody reads may hold them, and one that is
 * read gets a number out of its range.
 *   text  n bytes, and a NUL after them
 */
void json_value_fit_numbers(char *text, size_t n);

#endif
