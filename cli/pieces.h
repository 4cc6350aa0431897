/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pieces.h - any number of texts, a line each, asked in pieces.
 *
 * The lines come from the argument or the standard input, and end as they do
 * for the daemon's source (base/lines.h). Answers are printed as they come, in
 * the order of the lines. The version that answers the first piece answers all
 * of them. Memory is bounded by the longest line.
 *
 * With --json the output is one document: the reply to a single request with
 * all the lines would have the same members. It is a whole document also when
 * the daemon fails half-way; it holds what was answered by then.
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

/* Text of the argument or, without one or with "-", the standard input? */
bool pieces_from_stdin(const struct verb_args *args);

/* An error names the line. Texts that came before it have been printed. */
int pieces_ask(const struct verb_args *args, const struct pieces *p,
               struct err *err);

#endif
