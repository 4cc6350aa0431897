/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - checks and repairs UTF-8, and finds the end of a character.
 *
 * UTF-8 is the strict form of RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_UTF8_H
#define MNEME_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool utf8_valid(const char *s, size_t n_bytes);

/* The length of the valid character at the beginning of s; 0: there is none. */
size_t utf8_character(const char *s, size_t n_bytes);

/* Returns the same length, and the character's code point. */
size_t utf8_decode(const char *s, size_t n_bytes, uint32_t *code_point);

/* The length of s without a cut character at its end: n_bytes, or up to 3 less.
 * Bytes that cannot be UTF-8 are no cut character. */
size_t utf8_whole(const char *s, size_t n_bytes);

/* Appends s to out; every byte that is not part of a valid character becomes
 * U+FFFD. */
struct buf;
void utf8_repair(const char *s, size_t n_bytes, struct buf *out);

#endif
