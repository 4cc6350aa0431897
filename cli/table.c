/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/xalloc.h"

/* True for control characters of ASCII, DEL, and C1 in UTF-8. */
static bool is_control(const unsigned char *s)
{
    return *s < 0x20 || *s == 0x7f ||
           (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0);
}

static void hide_controls(char *text)
{
    for (unsigned char *s = (unsigned char *)text; *s; s++)
        if (is_control(s)) {
            if (*s == 0xc2)
                *s++ = '?';
            *s = '?';
        }
}

void table_print_text(const char *text, size_t n_bytes, FILE *out)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = 0; i < n_bytes; i++) {
        bool c1 = s[i] == 0xc2 && i + 1 < n_bytes && s[i + 1] >= 0x80 &&
                  s[i + 1] < 0xa0;
        bool c0 = (s[i] < 0x20 && s[i] != '\n' && s[i] != '\t') ||
                  s[i] == 0x7f;

        fputc(c0 || c1 ? '?' : s[i], out);
        i += c1;
    }
}

void table_print_name(const char *text, FILE *out)
{
    char *copy = xstrdup(text);

    hide_controls(copy);
    fputs(copy, out);
    free(copy);
}

static void add_cell(struct table *t, char *text)
{
    hide_controls(text);
    XGROW(t->cells, t->n_cells, t->cap_cells);
    t->cells[t->n_cells++] = text;
}

void table_column(struct table *t, char align, const char *name)
{
    BUG_ON(t->n_columns == TABLE_MAX_COLUMNS || t->n_cells != t->n_columns);
    t->align[t->n_columns++] = align;
    add_cell(t, xstrdup(name));
}

void table_init(struct table *t, const char *columns)
{
    memset(t, 0, sizeof *t);
    while (*columns) {
        size_t n = strcspn(columns, " ");
        char *name = xstrndup(columns + 2, n - 2);

        for (char *s = name; *s; s++)
            if (*s == '_')
                *s = ' ';
        table_column(t, columns[0], name);
        free(name);
        columns += n + (columns[n] == ' ');
    }
}

void table_cell(struct table *t, const char *fmt, ...)
{
    char *text;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("out of memory");
    va_end(ap);
    add_cell(t, text);
}

void table_real(struct table *t, double value, int digits)
{
    if (isfinite(value))
        table_cell(t, "%.*f", digits, value);
    else
        table_cell(t, "-");
}

void table_time(struct table *t, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[32];

    if (wall_ms < 0 || !localtime_r(&seconds, &tm)) {
        table_cell(t, "-");
        return;
    }
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    table_cell(t, "%s", text);
}

size_t table_width(const char *text, size_t n_bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static size_t width(const char *text)
{
    return table_width(text, strlen(text));
}

static size_t column_width(const struct table *t, size_t column)
{
    size_t widest = 0;

    for (size_t i = column; i < t->n_cells; i += t->n_columns) {
        size_t w = width(t->cells[i]);

        widest = w > widest ? w : widest;
    }
    return widest;
}

static void print_row(const struct table *t, size_t first,
                      const size_t *widths, FILE *out)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        const char *cell = t->cells[first + c];
        bool is_last = c + 1 == t->n_columns;
        int pad = (int)(widths[c] - width(cell));

        if (t->align[c] == 'r')
            fprintf(out, "%*s%s", pad, "", cell);
        else
            fprintf(out, "%s%*s", cell, is_last ? 0 : pad, "");
        fputs(is_last ? "\n" : "  ", out);
    }
}

void table_print(const struct table *t, FILE *out)
{
    size_t widths[TABLE_MAX_COLUMNS];

    for (size_t c = 0; c < t->n_columns; c++)
        widths[c] = column_width(t, c);
    for (size_t i = 0; i < t->n_cells; i += t->n_columns)
        print_row(t, i, widths, out);
}

void table_keep_rows(struct table *t, size_t n)
{
    while (t->n_cells > (n + 1) * t->n_columns)
        free(t->cells[--t->n_cells]);
}

/* Cuts a text to `most` characters, of which the last two are dots. */
static void shorten(char *text, size_t most)
{
    size_t n = strlen(text);

    if (table_width(text, n) <= most)
        return;
    while (n && table_width(text, n) > most - 2)
        n--;
    memcpy(text + n, "..", sizeof "..");
}

void table_narrow(struct table *t, size_t columns)
{
    size_t first = column_width(t, 0);
    size_t all = first + 2 * (t->n_columns - 1), over;

    for (size_t c = 1; c < t->n_columns; c++)
        all += column_width(t, c);
    over = all > columns ? all - columns : 0;
    first = over + 8 < first ? first - over : 8;
    for (size_t i = 0; i < t->n_cells; i += t->n_columns)
        shorten(t->cells[i], first);
}

void table_flush(struct table *t, FILE *out)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        size_t w = column_width(t, c);

        t->widths[c] = w > t->widths[c] ? w : t->widths[c];
    }
    for (size_t i = t->begun ? t->n_columns : 0; i < t->n_cells;
         i += t->n_columns)
        print_row(t, i, t->widths, out);
    while (t->n_cells > t->n_columns)
        free(t->cells[--t->n_cells]);
    t->begun = true;
}

void table_release(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    memset(t, 0, sizeof *t);
}
