/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_value.h - converts values that JSON or jansson cannot represent.
 *
 * Owner:   the caller owns the returned reference
 * Threads: any
 */
#ifndef MNEME_BASE_JSON_VALUE_H
#define MNEME_BASE_JSON_VALUE_H

#include <stddef.h>

#include <jansson.h>

/* Returns null when x is not finite. */
json_t *json_value_real(double x);

/* Make a string of any bytes, such as a text that was cut inside a character.
 * Bytes that are not UTF-8 become U+FFFD. */
json_t *json_value_text(const char *s);
json_t *json_value_bytes(const char *s, size_t n);

/*
 * JSON allows numbers of any size, but jansson refuses a text with an integer
 * beyond 64 bits or a number beyond a double. Rewrites such numbers in place,
 * with the same length: an integer becomes a real of about that size, and a
 * number beyond a double becomes +-1e308. So a field that is not used may have
 * any number, and a field that is used gets a number that is out of range.
 *   text  n bytes, followed by a NUL
 */
void json_value_fit_numbers(char *text, size_t n);

/* JSON allows a NUL in a name, but jansson refuses it. Rewrites the escapes of
 * NUL in names as those of U+FFFD, with the same length. text as above. */
void json_value_fit_names(char *text, size_t n);

#endif
