/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.h - the frame of `mneme top`: the state of the daemon on one screen.
 *
 * Use:      top_add for each status, then top_frame at any size
 * Owner:    the caller; top_add keeps references to its arguments
 * Threads:  the main one
 */
#ifndef MNEME_CLI_TOP_H
#define MNEME_CLI_TOP_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define TOP_HISTORY 48 /* statuses that a sparkline can show */

/* The last values of a figure, oldest first. */
struct top_series {
    double values[TOP_HISTORY];
    size_t n;
};

struct top {
    const char *address;
    bool utf8;        /* the terminal shows blocks; else ASCII is used */
    json_t *status;   /* newest; NULL: none */
    json_t *versions; /* of GET /v1/versions, newest first; NULL: none */
    struct top_series lag, records, tokens, loss;
};

/* All zero, then address and utf8. */
void top_release(struct top *t);

/* Takes over both; versions NULL: as before. */
void top_add(struct top *t, json_t *status, json_t *versions);

/*
 * Returns the frame as lines, to be freed.
 *   columns   of the window; longer lines are cut
 *   rows      of the window; lists are cut to fit. 0: no limit
 * A line may begin with LIVE_BOLD or LIVE_ALERT (live.h).
 */
char *top_frame(const struct top *t, int columns, int rows);

#endif
