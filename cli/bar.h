/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bar.h - a progress bar on a terminal, nothing in a pipe.
 *
 * It is drawn on stderr, a few times a second, in one line that is rewritten;
 * bar_clear takes it away.
 *
 *     feed  [#########               ]  41%  12,300 records, 2,000/s, 0:05
 *
 * Owner:   the caller
 * Threads: one at a time
 */
#ifndef MNEME_CLI_BAR_H
#define MNEME_CLI_BAR_H

#include <stdbool.h>
#include <stdint.h>

struct bar {
    const char *title; /* the caller's, stays */
    bool on;           /* stderr is a terminal */
    bool drawn;
    int64_t began_ms, drawn_ms;
};

void bar_begin(struct bar *b, const char *title);

/* share: 0 to 1, NaN when the end is not known. The text follows the bar. */
void bar_update(struct bar *b, double share, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Before anything else is printed, too: the next update draws it again. */
void bar_clear(struct bar *b);

double bar_seconds(const struct bar *b); /* since bar_begin */

#endif
