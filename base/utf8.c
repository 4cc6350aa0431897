/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte tells the length. After E0, ED, F0 and F4 it also limits the
 * second byte: these limits refuse overlong forms, surrogates and code points
 * above U+10FFFF. All other bytes are 80..BF (RFC 3629, section 4).
 */
#include "config.h"

#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "base/buf.h"

#define CUT (-1)
#define NEVER 0

static int length_by_first(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c < 0xc2)
        return NEVER;
    if (c < 0xe0)
        return 2;
    if (c < 0xf0)
        return 3;
    return c < 0xf5 ? 4 : NEVER;
}

/* Returns the length of the character at s; NEVER when these bytes cannot begin
 * a character; CUT when they can, but the rest is missing. n > 0. */
static int character(const unsigned char *s, size_t n)
{
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    int length = length_by_first(s[0]);

    for (int i = 1; i < length; i++) {
        if ((size_t)i == n)
            return CUT;
        if (s[i] < low || s[i] > high)
            return NEVER;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* Returns the number of ASCII bytes at the start of s, in steps of eight. */
static size_t ascii_prefix(const unsigned char *s, size_t n_bytes)
{
    size_t at = 0;
    uint64_t eight;

    while (at + sizeof eight <= n_bytes) {
        memcpy(&eight, s + at, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080))
            break;
        at += sizeof eight;
    }
    return at;
}

/* Returns the number of bytes before the first invalid one. */
static size_t valid_prefix(const unsigned char *s, size_t n_bytes)
{
    size_t at = 0;

    while (at < n_bytes) {
        int length;

        if (s[at] < 0x80) {
            size_t n = ascii_prefix(s + at, n_bytes - at);

            at += n ? n : 1;
            continue;
        }
        length = character(s + at, n_bytes - at);

        if (length <= 0)
            break;
        at += (size_t)length;
    }
    return at;
}

bool utf8_valid(const char *s, size_t n_bytes)
{
    return valid_prefix((const unsigned char *)s, n_bytes) == n_bytes;
}

size_t utf8_character(const char *s, size_t n_bytes)
{
    int length = n_bytes ? character((const unsigned char *)s, n_bytes) : 0;

    return length > 0 ? (size_t)length : 0;
}

size_t utf8_decode(const char *s, size_t n_bytes, uint32_t *code_point)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t length = utf8_character(s, n_bytes);
    uint32_t c = length <= 1 ? 0x7f : 0x7fU >> length;

    if (length == 0)
        return 0;
    c &= u[0];
    for (size_t i = 1; i < length; i++)
        c = c << 6 | (u[i] & 0x3f);
    *code_point = c;
    return length;
}

size_t utf8_whole(const char *s, size_t n_bytes)
{
    const unsigned char *u = (const unsigned char *)s;

    for (size_t back = 1; back <= 3 && back <= n_bytes; back++) {
        size_t at = n_bytes - back;

        if ((u[at] & 0xc0) == 0x80)
            continue; /* not the first byte of a character */
        return character(u + at, back) == CUT ? at : n_bytes;
    }
    return n_bytes;
}

void utf8_repair(const char *s, size_t n_bytes, struct buf *out)
{
    size_t at = 0;

    while (at < n_bytes) {
        size_t good = valid_prefix((const unsigned char *)s + at, n_bytes - at);

        buf_add(out, s + at, good);
        at += good;
        if (at < n_bytes) {
            buf_adds(out, "\xef\xbf\xbd");
            at++;
        }
    }
}
