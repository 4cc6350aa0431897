/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - prints text in aligned columns.
 *
 * Cells may hold text from any record. Control characters are printed as '?',
 * so that no text can control the terminal.
 *
 *     struct table t;
 *     table_init(&t, "l:NAME r:BYTES");
 *     table_cell(&t, "%s", name);
 *     table_cell(&t, "%lld", bytes);      fills the row; the next one begins
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
    size_t widths[TABLE_MAX_COLUMNS]; /* of the rows that were flushed */
    bool begun;                       /* the heading was flushed */
};

/* columns: "l:NAME r:NAME ..." for left and right alignment; an underscore
 * becomes a space. */
void table_init(struct table *t, const char *columns);
void table_column(struct table *t, char align, const char *name);
void table_cell(struct table *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void table_real(struct table *t, double value, int digits); /* NaN: "-" */
void table_time(struct table *t, int64_t wall_ms); /* local; < 0: "-" */
void table_print(const struct table *t, FILE *out);
/* Drops all rows after the first n. */
void table_keep_rows(struct table *t, size_t n);

/* Shortens the texts of the first column, but not below 8 characters, to fit
 * the table into a number of terminal columns. */
void table_narrow(struct table *t, size_t columns);

/* Counts the characters of a text, which are its terminal columns unless some
 * have double width. */
size_t table_width(const char *text, size_t n_bytes);

/* For long tables: prints the new rows, the first time with the heading, and
 * frees them. Columns never become narrower. */
void table_flush(struct table *t, FILE *out);
void table_release(struct table *t);

/* Prints text with control characters, except line feeds and tabs, as '?'. */
void table_print_text(const char *text, size_t n_bytes, FILE *out);

/* Does the same for a text of one line, where line feeds become '?', too. */
void table_print_name(const char *text, FILE *out);

#endif
