/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bar.h - a progress bar on stderr, if that is a terminal.
 *
 * The bar is one line, which is printed again a few times a second.
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
    const char *title; /* stays the caller's */
    bool on;           /* stderr is a terminal */
    bool shown;
    int64_t began_ms, shown_ms;
};

void bar_begin(struct bar *b, const char *title);

/* share: 0 to 1; NaN when the total is unknown. The text follows the bar. */
void bar_update(struct bar *b, double share, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Removes the bar, also before other output. bar_update shows it again. */
void bar_clear(struct bar *b);

double bar_seconds(const struct bar *b); /* since bar_begin */

#endif
