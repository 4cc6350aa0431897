/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pieces.h - sends any number of lines to the daemon, in several requests.
 *
 * The lines are read from the argument or the standard input, and split as the
 * daemon's source does (base/lines.h). Answers are printed as they arrive, in
 * the order of the lines. The version that answers the first request answers
 * all requests. The longest line bounds the memory.
 *
 * With --json, the output is one document with the members of a single reply.
 * It is complete JSON even when a request fails; it then has the answers
 * before that request.
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
    const char *path;     /* of the HTTP request */
    const char *text_key; /* of the texts in the request */
    const char *rows_key; /* of the rows in the reply, one for each text */
    size_t most_lines;    /* in one request */
    json_t *body;         /* of the request, without texts; gets the version */
    const char *columns;  /* for table_init; NULL: no table */
    /* Prints the rows, or adds them to the table. first: the line number of
     * the first row, from 1. */
    void (*print)(const json_t *rows, int64_t first, struct table *t);
};

/* True when the text comes from the standard input: no argument, or "-". */
bool pieces_from_stdin(const struct verb_args *args);

/* Sends all lines. An error names the line; earlier answers are printed. */
int pieces_send(const struct verb_args *args, const struct pieces *p,
               struct err *err);

#endif
