/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/board/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

void metrics_family(struct buf *out, const char *name, const char *help)
{
    static const char total[] = "_total";
    size_t n = strlen(name), end = sizeof total - 1;
    bool is_counter = n > end && strcmp(name + n - end, total) == 0;

    buf_addf(out, "# HELP mneme_%s %s\n# TYPE mneme_%s %s\n", name, help,
             name, is_counter ? "counter" : "gauge");
}

/*
 * The number of bytes at the start of s that are written as `\xHH`, each byte
 * as one escape. 0: the character is written as it is.
 *
 * Some readers end a line at a control character (C0, DEL, C1), at U+2028 or at
 * U+2029. A backslash before an `x` is escaped as well, so that two names never
 * give the same label: Prometheus refuses a scrape with a repeated series.
 */
static size_t bytes_to_escape(const char *s, size_t n_bytes)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] == '\n')
        return 0; /* the text format has an escape for it */
    if (u[0] < 0x20 || u[0] == 0x7f)
        return 1;
    if (u[0] == '\\')
        return n_bytes > 1 && u[1] == 'x';
    if (n_bytes > 1 && u[0] == 0xc2 && u[1] < 0xa0)
        return 2;
    if (n_bytes > 2 && u[0] == 0xe2 && u[1] == 0x80 &&
        (u[2] == 0xa8 || u[2] == 0xa9))
        return 3;
    return utf8_character(s, n_bytes) ? 0 : 1;
}

static void add_label_value(struct buf *out, const char *s)
{
    size_t left = strlen(s);

    while (left) {
        size_t n = bytes_to_escape(s, left);
        size_t whole = n ? n : utf8_character(s, left);

        for (size_t i = 0; i < n; i++)
            buf_addf(out, "\\\\x%02x", (unsigned)(unsigned char)s[i]);
        if (!n && *s == '\n')
            buf_adds(out, "\\n");
        else if (!n && (*s == '"' || *s == '\\'))
            buf_addf(out, "\\%c", *s);
        else if (!n)
            buf_add(out, s, whole);
        s += whole;
        left -= whole;
    }
}

void metrics_sample(struct buf *out, const char *name,
                    const struct metrics_label *labels, size_t n_labels,
                    double value)
{
    /* A double holds each whole number below 2^53. */
    bool is_whole = value == floor(value) && fabs(value) < 0x1p53;

    if (!isfinite(value))
        return;
    buf_addf(out, "mneme_%s", name);
    for (size_t i = 0; i < n_labels; i++) {
        buf_addf(out, "%s%s=\"", i ? "," : "{", labels[i].name);
        add_label_value(out, labels[i].value);
        buf_adds(out, "\"");
    }
    buf_addf(out, is_whole ? "%s %.0f\n" : "%s %.10g\n", n_labels ? "}" : "",
             value);
}
