/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "conf/conf_quote.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

#define SHORT_BYTES 40

/* Tells whether a text needs no quotes: it has only letters, digits and signs
 * without a meaning in YAML, and is no word with a meaning. */
static bool is_plain(const char *s)
{
    static const char *const taken[] = {"null", "Null", "NULL", "random"};
    static const char safe[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_./-";

    if (*s == '\0' || *s == '-' || strspn(s, safe) != strlen(s) ||
        strcmp(s, "...") == 0)
        return false;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (strcmp(s, taken[i]) == 0)
            return false;
    }
    return true;
}

/* Prints one character of UTF-8 for double quotes, and returns its bytes.
 * Escapes characters that YAML refuses, or reads as line ends. */
static size_t print_escaped(const char *s, struct buf *out)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned code;

    if (u[0] == '"' || u[0] == '\\') {
        buf_addf(out, "\\%c", s[0]);
        return 1;
    }
    if (u[0] < 0x20 || u[0] == 0x7f) {
        buf_addf(out, "\\x%02x", u[0]);
        return 1;
    }
    if (u[0] == 0xc2 && u[1] < 0xa0) {
        buf_addf(out, "\\x%02x", u[1]);
        return 2;
    }
    if ((u[0] & 0xf0) == 0xe0) {
        code = (u[0] & 0xfu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
        if (code == 0x2028 || code == 0x2029 || code >= 0xfeff) {
            buf_addf(out, "\\u%04x", code);
            return 3;
        }
    }
    buf_addc(out, s[0]);
    return 1;
}

void conf_quote_yaml(const char *text, struct buf *out)
{
    if (is_plain(text)) {
        buf_adds(out, text);
        return;
    }
    buf_addc(out, '"');
    while (*text)
        text += print_escaped(text, out);
    buf_addc(out, '"');
}

void conf_quote_short(const char *text, struct buf *out)
{
    struct buf whole = BUF_INIT;
    size_t n = strlen(text);
    bool is_cut = n > SHORT_BYTES;

    utf8_repair(text, is_cut ? utf8_whole(text, SHORT_BYTES) : n, &whole);
    buf_addc(out, '\'');
    for (size_t i = 0; i < whole.len; i++) {
        unsigned char ch = (unsigned char)whole.data[i];

        if (ch < 0x20 || ch == 0x7f)
            buf_addc(out, '?');
        else
            buf_addc(out, whole.data[i]);
    }
    buf_adds(out, is_cut ? "...'" : "'");
    buf_release(&whole);
}
