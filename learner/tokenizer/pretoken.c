/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/tokenizer/pretoken.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "learner/tokenizer/unicode_classes.h"

static enum unicode_class class_of(uint32_t c)
{
    size_t low = 0, high = unicode_ranges_n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (c > unicode_ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < unicode_ranges_n && unicode_ranges[low].first <= c)
        return unicode_ranges[low].is;
    return UNICODE_OTHER;
}

/* Returns the length of a well-formed character (RFC 3629), or 0, and its code
 * point. */
static size_t decode(const unsigned char *s, size_t n, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xc2 ? 0
                    : s[0] < 0xe0 ? 2
                    : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4
                                  : 0;

    if (length == 0 || length > n)
        return 0;
    *c = length == 1 ? s[0] : s[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (s[i] & 0x3f);
    }
    if (*c < least[length] || *c > 0x10ffff ||
        (*c >= 0xd800 && *c <= 0xdfff))
        return 0;
    return length;
}

/* Returns the class of the character at s, and its length. */
static enum unicode_class class_at(const char *s, size_t n, size_t *length)
{
    uint32_t c;
    unsigned char b = (unsigned char)s[0];

    *length = 1;
    if ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z'))
        return UNICODE_LETTER;
    if (b == ' ' || (b >= '\t' && b <= '\r'))
        return UNICODE_SPACE;
    if (b >= '0' && b <= '9')
        return UNICODE_NUMBER;
    if (b < 0x80)
        return UNICODE_OTHER;
    *length = decode((const unsigned char *)s, n, &c);
    if (*length == 0) {
        *length = 1;
        return UNICODE_OTHER;
    }
    return class_of(c);
}

/* Returns the length of 's 't 're 've 'm 'll 'd, or 0. */
static size_t contraction(const char *s, size_t n)
{
    if (n < 2 || s[0] != '\'')
        return 0;
    if (strchr("stmd", s[1]) && s[1])
        return 2;
    if (n >= 3 && (memcmp(s + 1, "re", 2) == 0 ||
                   memcmp(s + 1, "ve", 2) == 0 || memcmp(s + 1, "ll", 2) == 0))
        return 3;
    return 0;
}

/* Counts the bytes at the start that are of one class. */
static size_t run_of(enum unicode_class is, const char *s, size_t n)
{
    size_t at = 0, length;

    while (at < n && class_at(s + at, n - at, &length) == is)
        at += length;
    return at;
}

/* Counts white space: all of it at the end of the text, otherwise all but the
 * last character, which belongs to the next pre-token. A single one counts. */
static size_t space_run(const char *s, size_t n)
{
    size_t at = 0, last = 0, length;
    enum unicode_class next = UNICODE_SPACE;

    while (at < n) {
        next = class_at(s + at, n - at, &length);
        if (next != UNICODE_SPACE)
            break;
        last = at;
        at += length;
    }
    /* A number is a pre-token of its own, so the text ends before it. */
    if (at == n || next == UNICODE_NUMBER || last == 0)
        return at;
    return last;
}

size_t pretoken_next(const char *text, size_t n_bytes)
{
    size_t length, space, after;
    enum unicode_class is = class_at(text, n_bytes, &length);

    if (is == UNICODE_NUMBER)
        return length;
    after = contraction(text, n_bytes);
    if (after)
        return after;
    space = text[0] == ' ' && n_bytes > 1 ? 1 : 0;
    if (space)
        is = class_at(text + 1, n_bytes - 1, &length);
    if (is == UNICODE_LETTER || is == UNICODE_OTHER)
        return space + run_of(is, text + space, n_bytes - space);
    return space_run(text, n_bytes);
}
