/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json_value.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

json_t *json_value_real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *json_value_text(const char *s)
{
    return json_value_bytes(s, strlen(s));
}

json_t *json_value_bytes(const char *s, size_t n)
{
    struct buf text = BUF_INIT;
    json_t *json;

    buf_adds(&text, "");
    utf8_repair(s, n, &text);
    json = json_stringn(text.data, text.len);
    buf_release(&text);
    return json;
}

/* --- numbers of any size ------------------------------------------------ */

/* Returns how many of the n characters form a number by JSON's grammar; all of
 * them are a number if the result is n. *is_real: the number has a fraction or
 * an exponent. */
static size_t number_length(const char *s, size_t n, bool *is_real)
{
    static const char digits[] = "0123456789";
    size_t i = s[0] == '-', whole = strspn(s + i, digits);

    if (whole == 0 || (s[i] == '0' && whole > 1))
        return 0;
    i += whole;
    *is_real = i < n;
    if (s[i] == '.') {
        size_t part = strspn(s + i + 1, digits);

        i += part ? 1 + part : 0;
    }
    if (s[i] == 'e' || s[i] == 'E') {
        size_t sign = s[i + 1] == '+' || s[i + 1] == '-';
        size_t part = strspn(s + i + 1 + sign, digits);

        i += part ? 1 + sign + part : 0;
    }
    return i;
}

/* Rewrites the number at text[0] to text[n - 1], if these are a number. */
static void fit_number(char *text, size_t n)
{
    bool is_real = false, negative = text[0] == '-';

    if (number_length(text, n, &is_real) != n)
        return;
    errno = 0;
    if (!is_real) {
        (void)strtoll(text, NULL, 10);
        if (errno != ERANGE)
            return;
        /* It has 19 digits at least: the last two become an exponent. */
        memcpy(text + n - 2, "e2", 2);
    }
    if (isfinite(strtod(text, NULL)))
        return;
    memset(text, ' ', n);
    memcpy(text, negative ? "-1e308" : "1e308", negative ? 6 : 5);
}

void json_value_fit_numbers(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = strspn(text + i, "+-.0123456789eE");

        if (text[i] == '"') {
            while (++i < n && text[i] != '"')
                i += text[i] == '\\';
        } else if (length) {
            /* Shorter numbers need no change; `true` is no number. */
            if (length >= 5 && strchr("-0123456789", text[i]))
                fit_number(text + i, length);
            i += length - 1;
        }
    }
}

/* --- names with a NUL --------------------------------------------------- */

void json_value_fit_names(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t begin = i, end;

        if (text[i] != '"')
            continue;
        while (++i < n && text[i] != '"')
            i += text[i] == '\\';
        if (i >= n)
            return;
        end = i;
        if (text[i + 1 + strspn(text + i + 1, " \t\r\n")] != ':')
            continue;
        for (size_t k = begin + 1; k < end; k++) {
            if (strncmp(text + k, "\\u0000", 6) == 0)
                memcpy(text + k, "\\ufffd", 6);
            k += text[k] == '\\';
        }
    }
}
