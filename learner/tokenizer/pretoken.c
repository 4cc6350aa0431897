/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/tokenizer/pretoken.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
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
    *length = utf8_decode(s, n, &c);
    if (*length == 0) {
        *length = 1;
        return UNICODE_OTHER;
    }
    return class_of(c);
}

/* --- GPT-2 and SmolLM --------------------------------------------------- */

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

/*
 * Counts white space: all of it at the end of the text, otherwise all but the
 * last character, which belongs to the next pre-token. A single one counts.
 *   numbers_apart  a number is a text of its own, so the text ends before it
 */
static size_t space_run(bool numbers_apart, const char *s, size_t n)
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
    if (at == n || (numbers_apart && next == UNICODE_NUMBER) || last == 0)
        return at;
    return last;
}

static size_t next_of_gpt2(bool numbers_apart, const char *text, size_t n_bytes)
{
    size_t length, space, after;
    enum unicode_class is = class_at(text, n_bytes, &length);

    if (numbers_apart && is == UNICODE_NUMBER)
        return length;
    after = contraction(text, n_bytes);
    if (after)
        return after;
    space = text[0] == ' ' && n_bytes > 1 ? 1 : 0;
    if (space)
        is = class_at(text + 1, n_bytes - 1, &length);
    if (is == UNICODE_LETTER || is == UNICODE_OTHER ||
        (is == UNICODE_NUMBER && !numbers_apart))
        return space + run_of(is, text + space, n_bytes - space);
    return space_run(numbers_apart, text, n_bytes);
}

/* --- Llama 3 and Qwen2 -------------------------------------------------- */

/* Does what contraction does, in any case. The long s (U+017F) is a lower case
 * of S. */
static size_t contraction_any_case(const char *s, size_t n)
{
    char small[3] = "'";

    if (n < 2 || s[0] != '\'')
        return 0;
    if (n >= 3 && memcmp(s + 1, "\xc5\xbf", 2) == 0)
        return 3;
    for (size_t i = 1; i < 3 && i < n; i++)
        small[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 'a' - 'A' : s[i]);
    return contraction(small, n < 3 ? n : 3);
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* Counts up to `most` number characters. */
static size_t numbers(int most, const char *s, size_t n)
{
    size_t at = 0, length;

    for (int i = 0; i < most && at < n; i++) {
        if (class_at(s + at, n - at, &length) != UNICODE_NUMBER)
            break;
        at += length;
    }
    return at;
}

/* Counts white space up to its last line end; without one, as space_run. */
static size_t space_or_lines(const char *s, size_t n)
{
    size_t run = run_of(UNICODE_SPACE, s, n), lines = run;

    while (lines && !is_newline(s[lines - 1]))
        lines--;
    return lines ? lines : space_run(false, s, n);
}

static size_t next_of_llama3(int most_numbers, const char *text, size_t n_bytes)
{
    size_t length, after, begin;
    enum unicode_class is = class_at(text, n_bytes, &length), second;

    if (is == UNICODE_LETTER)
        return run_of(is, text, n_bytes);
    if (is == UNICODE_NUMBER)
        return numbers(most_numbers, text, n_bytes);
    after = contraction_any_case(text, n_bytes);
    if (after)
        return after;
    second = UNICODE_SPACE;
    if (length < n_bytes)
        second = class_at(text + length, n_bytes - length, &after);
    if (second == UNICODE_LETTER && !is_newline(text[0]))
        return length + run_of(second, text + length, n_bytes - length);
    if (is == UNICODE_SPACE && (text[0] != ' ' || second != UNICODE_OTHER))
        return space_or_lines(text, n_bytes);
    begin = is == UNICODE_SPACE ? length : 0;
    after = begin + run_of(UNICODE_OTHER, text + begin, n_bytes - begin);
    while (after < n_bytes && is_newline(text[after]))
        after++;
    return after;
}

size_t pretoken_next(enum pretoken_kind kind, const char *text, size_t n_bytes)
{
    switch (kind) {
    case PRETOKEN_LLAMA3:
        return next_of_llama3(3, text, n_bytes);
    case PRETOKEN_QWEN2:
        return next_of_llama3(1, text, n_bytes);
    default:
        return next_of_gpt2(kind == PRETOKEN_SMOLLM, text, n_bytes);
    }
}
