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
 * JSON allows numbers of any size, but jansson refuses a text with an integer
 * beyond 64 bits or a number beyond a double. Rewrites such numbers in place,
 * with the same length: an integer becomes a real of about that size, and a
 * number beyond a double becomes +-1e308. So a field that nobody reads may hold
 * any number, and a field that is read gets one that is out of range.
 *   text  n bytes, and a NUL after them
 */
void json_value_fit_numbers(char *text, size_t n);

#endif
