/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/board/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

static bool ends_with(const char *s, size_t n, const char *end)
{
    size_t n_end = strlen(end);

    return n > n_end && memcmp(s + n - n_end, end, n_end) == 0;
}

static const char *prefix_of(const char *name)
{
    return strncmp(name, "process_", 8) == 0 ? "" : "mneme_";
}

static void add_family(struct buf *out, const char *name, const char *help,
                       const char *type)
{
    const char *prefix = prefix_of(name);

    buf_addf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help,
             prefix, name, type);
}

void metrics_family(struct buf *out, const char *name, const char *help)
{
    add_family(out, name, help,
               ends_with(name, strlen(name), "_total") ? "counter" : "gauge");
}

void metrics_histogram_family(struct buf *out, const char *name,
                              const char *help)
{
    add_family(out, name, help, "histogram");
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
    buf_addf(out, "%s%s", prefix_of(name), name);
    for (size_t i = 0; i < n_labels; i++) {
        buf_addf(out, "%s%s=\"", i ? "," : "{", labels[i].name);
        add_label_value(out, labels[i].value);
        buf_adds(out, "\"");
    }
    buf_addf(out, is_whole ? "%s %.0f\n" : "%s %.10g\n", n_labels ? "}" : "",
             value);
}

void metrics_histogram(struct buf *out, const char *name,
                       const struct metrics_label *labels, size_t n_labels,
                       const struct histogram *h)
{
    struct metrics_label all[METRICS_MAX_LABELS];
    char part[96];
    int64_t n = 0;

    BUG_ON(n_labels >= METRICS_MAX_LABELS);
    for (size_t i = 0; i < n_labels; i++)
        all[i] = labels[i];
    snprintf(part, sizeof part, "%s_bucket", name);
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        n += h->counts[i];
        all[n_labels] = (struct metrics_label){
            "le", i < HISTOGRAM_BUCKETS ? histogram_bounds[i] : "+Inf"};
        metrics_sample(out, part, all, n_labels + 1, (double)n);
    }
    snprintf(part, sizeof part, "%s_sum", name);
    metrics_sample(out, part, labels, n_labels, h->sum);
    snprintf(part, sizeof part, "%s_count", name);
    metrics_sample(out, part, labels, n_labels, (double)n);
}

/* --- OpenMetrics -------------------------------------------------------- */

/* Copies the line "# HELP name ..." or "# TYPE name ..." without the `_total`
 * of the name, and adds the unit after the type.
 *   name  begins n_name bytes in the line, which ends at `end` */
static void convert_family(struct buf *out, const char *line, const char *end)
{
    static const char *const units[] = {"seconds", "bytes"};
    const char *name = line + strlen("# TYPE ");
    size_t n = strcspn(name, " ");
    const char *rest = name + n;

    if (ends_with(name, n, "_total"))
        n -= strlen("_total");
    buf_add(out, line, (size_t)(name - line) + n);
    buf_add(out, rest, (size_t)(end - rest));
    if (line[2] != 'T')
        return;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (ends_with(name, n, units[i]) &&
            name[n - strlen(units[i]) - 1] == '_')
            buf_addf(out, "# UNIT %.*s %s\n", (int)n, name, units[i]);
}

void metrics_to_openmetrics(struct buf *text)
{
    struct buf out = BUF_INIT;
    const char *line = text->data;

    while (line && *line) {
        const char *end = strchr(line, '\n') + 1;

        if (line[0] == '#')
            convert_family(&out, line, end);
        else
            buf_add(&out, line, (size_t)(end - line));
        line = end;
    }
    buf_adds(&out, "# EOF\n");
    buf_release(text);
    *text = out;
}
