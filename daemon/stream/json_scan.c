/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pointer moves over the text. No JSON contains a NUL, so the one behind the
 * text ends every loop, and no function checks for the end first. Each function
 * takes a pointer and returns the next one, or NULL when the JSON is invalid.
 * Nested values take one bit for each level instead of recursion.
 */
#include "config.h"

#include "daemon/stream/json_scan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT 0xfffd

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* Reads four hexadecimal digits. -1: there are fewer. */
static int32_t hex4(const char *p)
{
    int32_t x = 0;

    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);

        if (digit < 0)
            return -1;
        x = x * 16 + digit;
    }
    return x;
}

/* Reads \uXXXX or a surrogate pair; *p is behind the u. Half a pair gives
 * REPLACEMENT. -1: a digit is missing. */
static int32_t unescape(const char **p)
{
    int32_t high = hex4(*p), low;

    if (high < 0)
        return -1;
    *p += 4;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || (*p)[0] != '\\' || (*p)[1] != 'u')
        return REPLACEMENT;
    low = hex4(*p + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return REPLACEMENT; /* then the second \u is read by itself */
    *p += 6;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static char *put_utf8(char *to, int32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | (c >> 6));
        *to++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | (c >> 12));
        *to++ = (char)(0x80 | ((c >> 6) & 63));
        *to++ = (char)(0x80 | (c & 63));
    } else {
        *to++ = (char)(0xf0 | (c >> 18));
        *to++ = (char)(0x80 | ((c >> 12) & 63));
        *to++ = (char)(0x80 | ((c >> 6) & 63));
        *to++ = (char)(0x80 | (c & 63));
    }
    return to;
}

/* Reads an escape, from behind its backslash. Appends its character to *to,
 * unless that is NULL. */
static const char *read_escape(const char *p, char **to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name = *p ? strchr(names, *p) : NULL;
    int32_t c;

    if (name) {
        c = values[name - names];
        p++;
    } else if (*p == 'u') {
        p++;
        c = unescape(&p);
    } else {
        return NULL;
    }
    if (c < 0)
        return NULL;
    if (*to)
        *to = put_utf8(*to, c);
    return p;
}

/* Reads a string, from behind its opening quote.
 *   to  NULL, or room for as many bytes as the string takes in JSON
 *   n   out, the bytes written to `to` */
static const char *read_string(const char *p, char *to, size_t *n)
{
    char *begin = to;

    for (;;) {
        const char *run = p;

        while ((unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
            p++;
        if (to) {
            memcpy(to, run, (size_t)(p - run));
            to += p - run;
        }
        if (*p == '"')
            break;
        if (*p != '\\')
            return NULL; /* a control character, or the end */
        p = read_escape(p + 1, &to);
        if (!p)
            return NULL;
    }
    if (to)
        *n = (size_t)(to - begin);
    return p + 1;
}

static const char *skip_digits(const char *p)
{
    if (!is_digit(*p))
        return NULL;
    while (is_digit(*p))
        p++;
    return p;
}

static const char *skip_number(const char *p)
{
    p += *p == '-';
    p = *p == '0' ? p + 1 : skip_digits(p);
    if (p && *p == '.')
        p = skip_digits(p + 1);
    if (p && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '+' || *p == '-';
        p = skip_digits(p);
    }
    return p;
}

/* Skips a string, number or word. */
static const char *skip_scalar(const char *p)
{
    static const char *const words[] = {"true", "false", "null"};

    if (*p == '"')
        return read_string(p + 1, NULL, NULL);
    if (*p == '-' || is_digit(*p))
        return skip_number(p);
    for (size_t i = 0; i < 3; i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    return NULL;
}

/* Skips a member's name and colon. */
static const char *skip_name(const char *p)
{
    p = skip_space(p);
    p = *p == '"' ? read_string(p + 1, NULL, NULL) : NULL;
    if (!p)
        return NULL;
    p = skip_space(p);
    return *p == ':' ? p + 1 : NULL;
}

/* The open levels. Bit i of objects: level i is an object, not an array. */
struct nest {
    uint64_t objects;
    int depth;
    bool too_deep;
};

static bool in_object(const struct nest *nest)
{
    return nest->objects >> (nest->depth - 1) & 1;
}

/* Enters an object or array. *value: it is not empty, and a value follows. */
static const char *enter(const char *p, struct nest *nest, bool *value)
{
    bool object = *p == '{';

    p = skip_space(p + 1);
    *value = *p != (object ? '}' : ']');
    if (!*value)
        return p + 1;
    if (nest->depth == JSON_SCAN_MAX_DEPTH) {
        nest->too_deep = true;
        return NULL;
    }
    nest->objects &= ~(UINT64_C(1) << nest->depth);
    nest->objects |= (uint64_t)object << nest->depth++;
    return object ? skip_name(p) : p;
}

/* Leaves the levels that end after a value. *value: another value follows. */
static const char *leave(const char *p, struct nest *nest, bool *value)
{
    *value = false;
    while (nest->depth) {
        bool object = in_object(nest);

        p = skip_space(p);
        if (*p == ',') {
            *value = true;
            return object ? skip_name(p + 1) : p + 1;
        }
        if (*p++ != (object ? '}' : ']'))
            return NULL;
        nest->depth--;
    }
    return p;
}

/* Skips a value of any kind. */
static const char *skip_value(const char *p, bool *too_deep)
{
    struct nest nest = {0, 0, false};
    bool value;

    do {
        p = skip_space(p);
        value = false;
        p = *p == '{' || *p == '[' ? enter(p, &nest, &value) : skip_scalar(p);
        if (p && !value)
            p = leave(p, &nest, &value);
    } while (p && value);
    *too_deep |= nest.too_deep;
    return p;
}

/* Reads a name and its colon, and finds the field of this name, if any. False:
 * invalid JSON. */
static bool read_name(const char **p, struct json_field *fields,
                      size_t n_fields, struct json_field **found)
{
    const char *begin = skip_space(*p);
    char name[128]; /* with escapes such as \u0061, six bytes for each letter */
    size_t n;

    *found = NULL;
    *p = skip_name(begin);
    if (!*p)
        return false;
    if ((size_t)(*p - begin) >= sizeof name)
        return true;
    read_string(begin + 1, name, &n);
    for (size_t i = 0; i < n_fields; i++)
        if (n && fields[i].name[0] == name[0] && /* most differ here */
            strlen(fields[i].name) == n && memcmp(fields[i].name, name, n) == 0)
            *found = &fields[i];
    return true;
}

/* Reads a string into a field, from behind its opening quote. */
static const char *read_text(const char *p, struct json_field *f, char **room)
{
    const char *begin = p;

    while ((unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
        p++;
    f->kind = JSON_FIELD_STRING;
    if (*p == '"') {
        f->string = begin;
        f->n_bytes = (size_t)(p - begin);
        return p + 1;
    }
    p = read_string(begin, *room, &f->n_bytes);
    if (!p)
        return NULL;
    f->string = *room;
    *room += f->n_bytes;
    *(*room)++ = '\0';
    return p;
}

static const char *read_field(const char *p, struct json_field *f, char **room,
                              bool *too_deep)
{
    const char *begin = skip_space(p), *end;

    if (*begin == '"')
        return read_text(begin + 1, f, room);
    end = skip_value(begin, too_deep);
    if (!end)
        return NULL;
    if (*begin == '-' || is_digit(*begin)) {
        f->kind = JSON_FIELD_NUMBER;
        f->number = strtod(begin, NULL);
    } else {
        f->kind = *begin == 'n' ? JSON_FIELD_NULL : JSON_FIELD_OTHER;
    }
    return end;
}

/* Reads the members of an object, from behind its opening brace. */
static const char *scan_members(const char *p, struct json_field *fields,
                                size_t n_fields, char **room, bool *too_deep)
{
    struct json_field *f;

    p = skip_space(p);
    if (*p == '}')
        return p + 1;
    for (;;) {
        if (!read_name(&p, fields, n_fields, &f))
            return NULL;
        p = f ? read_field(p, f, room, too_deep) : skip_value(p, too_deep);
        if (!p)
            return NULL;
        p = skip_space(p);
        if (*p == '}')
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

enum json_scan_outcome json_scan(const char *json, size_t n_bytes,
                                 struct json_field *fields, size_t n_fields,
                                 char **room)
{
    const char *p = skip_space(json);
    bool too_deep = false;

    p = *p == '{' ? scan_members(p + 1, fields, n_fields, room, &too_deep)
                  : NULL;
    if (p && skip_space(p) == json + n_bytes)
        return JSON_SCAN_READ;
    for (size_t i = 0; i < n_fields; i++)
        fields[i].kind = JSON_FIELD_ABSENT;
    return too_deep ? JSON_SCAN_TOO_DEEP : JSON_SCAN_BROKEN;
}

/* --- bytes that are not valid JSON -------------------------------------- */

/* Compares a string, from behind its opening quote, with `want`. Returns the
 * pointer behind the closing quote, or NULL when they differ. */
static const char *match_string(const char *p, char quote, const char *want)
{
    while (*p != quote) {
        char decoded[4], *end = decoded;

        if (*p == '\\') {
            p = read_escape(p + 1, &end);
            if (!p)
                return NULL;
        } else {
            *end++ = *p++;
        }
        for (const char *c = decoded; c < end; c++)
            if (*c == '\0' || *c != *want++)
                return NULL;
    }
    return *want ? NULL : p + 1;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

bool json_scan_has_member(const char *bytes, size_t n_bytes, const char *name,
                          const char *value)
{
    for (size_t i = 0; i < n_bytes; i++) {
        const char *p = bytes + i;

        if (!is_quote(*p) || !(p = match_string(p + 1, *p, name)))
            continue;
        p = skip_space(p);
        if (*p != ':')
            continue;
        p = skip_space(p + 1);
        if (!value || (is_quote(*p) && match_string(p + 1, *p, value)))
            return true;
    }
    return false;
}

/* Tells whether a character may stand around a key: a blank, a quote of any
 * kind (curly quotes by their bytes), or a backslash. */
static bool is_around_key(char c)
{
    return c && strchr(" \t\r\n\"'`\\\xe2\x80\x98\x99\x9c\x9d", c);
}

bool json_scan_has_key(const char *bytes, size_t n_bytes, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 1; i + n <= n_bytes; i++) {
        const char *before = bytes + i, *after = bytes + i + n;
        int n_quotes = 0;

        if (memcmp(before, name, n) != 0)
            continue;
        while (before > bytes && is_around_key(before[-1]))
            before--;
        for (; is_around_key(*after); after++)
            n_quotes += is_quote(*after);
        /* Two quotes: the colon between key and value is missing. */
        if (before > bytes && (before[-1] == '{' || before[-1] == ',') &&
            (*after == ':' || *after == '=' || n_quotes > 1))
            return true;
    }
    return false;
}
