/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - is it UTF-8, and where does a character end.
 *
 * The strict form of RFC 3629: no overlong forms, no surrogates, nothing
 * above U+10FFFF.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_UTF8_H
#define MNEME_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool utf8_valid(const char *s, size_t n_bytes);

/* Length of the valid character at the beginning of s; 0: there is none. */
size_t utf8_character(const char *s, size_t n_bytes);

/* The longest prefix that ends on a character: n_bytes, or up to 3 fewer when
 * the last character is cut. Bytes that can never be UTF-8 do not count as
 * cut. */
size_t utf8_whole(const char *s, size_t n_bytes);

/* Appends s to out with every byte that is not part of a valid character
 * replaced by U+FFFD. */
struct buf;
void utf8_repair(const char *s, size_t n_bytes, struct buf *out);

#endif
