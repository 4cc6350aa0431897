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

#endif
