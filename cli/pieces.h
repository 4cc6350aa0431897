/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pieces.h - asks the daemon about any number of lines, in several requests.
 *
 * The lines come from the argument or the standard input, and end as they do
 * for the daemon's source (base/lines.h). Answers are printed as they come, in
 * the order of the lines. The version that answers the first piece answers all
 * of them. Memory is bounded by the longest line.
 *
 * With --json the output is one document, with the members that the reply to a
 * single request would have. It is complete JSON even when the daemon fails
 * half-way; it then has the answers up to that point.
 *
 * Owner:   the caller
 * Threads: one at a time
 */
#ifndef MNEME_CLI_PIECES_H
#define MNEME_CLI_PIECES_H

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "cli/table.h"
#include "cli/verb.h"

struct pieces {
    const char *path;     /* where to ask */
    const char *text_key; /* of the question: the texts */
    const char *rows_key; /* of the reply: a row for each text */
    size_t most_lines;    /* in one request */
    json_t *question;     /* without the texts; its model is set */
    const char *columns;  /* of the table as in table.h; NULL: none */
    /* Prints the rows, or adds them to the table; first: the number of the
     * first one's line, from 1. */
    void (*print)(const json_t *rows, int64_t first, struct table *t);
};

/* Does the text come from the standard input: no argument, or "-"? */
bool pieces_from_stdin(const struct verb_args *args);

/* An error names the line. The answers to earlier lines have been printed. */
int pieces_ask(const struct verb_args *args, const struct pieces *p,
               struct err *err);

#endif
