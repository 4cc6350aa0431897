/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - aligned columns of text.
 *
 * What a cell holds may come from anybody's records: control characters are
 * shown as '?', so that no name can move the cursor.
 *
 *     struct table t;
 *     table_init(&t, "l:NAME r:BYTES");
 *     table_cell(&t, "%s", name);
 *     table_cell(&t, "%lld", bytes);      a row is full: the next one begins
 *     table_print(&t, stdout);
 *     table_release(&t);
 *
 * Owner:   the caller; cells are copies
 * Threads: one at a time
 */
#ifndef MNEME_CLI_TABLE_H
#define MNEME_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_MAX_COLUMNS 32

struct table {
    char align[TABLE_MAX_COLUMNS]; /* 'l' or 'r' */
    size_t n_columns;
    char **cells; /* the first row is the heading */
    size_t n_cells, cap_cells;
    size_t widths[TABLE_MAX_COLUMNS]; /* of what table_flush has printed */
    bool begun;                       /* table_flush has printed the heading */
};

/* Columns as "l:NAME r:NAME ...", left or right aligned; an underscore stands
 * for a space. */
void table_init(struct table *t, const char *columns);
void table_column(struct table *t, char align, const char *name);
void table_cell(struct table *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void table_real(struct table *t, double value, int digits); /* NaN: "-" */
void table_time(struct table *t, int64_t wall_ms); /* local; < 0: "-" */
void table_print(const struct table *t, FILE *out);
/* Drops all rows after the first n. */
void table_keep_rows(struct table *t, size_t n);

/* Shortens the texts of the first column, to 8 characters at least, so that the
 * table fits into so many columns of the terminal. */
void table_narrow(struct table *t, size_t columns);

/* Characters of n bytes of text: its columns, but for characters of double
 * width. */
size_t table_width(const char *text, size_t n_bytes);

/* For tables of any length: prints the new rows, with the heading before the
 * first ones, and frees them. Columns never become narrower. */
void table_flush(struct table *t, FILE *out);
void table_release(struct table *t);

/* Prints text with control characters as '?', but for line feeds and tabs. */
void table_print_text(const char *text, size_t n_bytes, FILE *out);

/* The same for a text of one line, such as a name: line feeds are hidden too.
 */
void table_print_name(const char *text, FILE *out);

#endif
