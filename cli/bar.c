/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/bar.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/timing.h"

#define UPDATE_MS 200
#define CELLS 24 /* of the bar */

void bar_begin(struct bar *b, const char *title)
{
    const char *term = getenv("TERM");

    memset(b, 0, sizeof *b);
    b->title = title;
    b->on = isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
    b->began_ms = timing_mono_ms();
}

double bar_seconds(const struct bar *b)
{
    return (double)(timing_mono_ms() - b->began_ms) / 1000;
}

void bar_update(struct bar *b, double share, const char *fmt, ...)
{
    int64_t now = timing_mono_ms();
    char cells[CELLS + 1] = "", text[256], line[512];
    struct winsize size;
    int seconds = (int)bar_seconds(b);
    va_list ap;

    if (!b->on || (b->shown && now - b->shown_ms < UPDATE_MS))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (share >= 0) { /* not NaN */
        share = share > 1 ? 1 : share;
        memset(cells, '#', (size_t)(share * CELLS));
        snprintf(line, sizeof line, "%s  [%-*s] %3.0f%%  %s  %d:%02d", b->title,
                 CELLS, cells, floor(share * 100), text, seconds / 60,
                 seconds % 60);
    } else {
        snprintf(line, sizeof line, "%s  %s  %d:%02d", b->title, text,
                 seconds / 60, seconds % 60);
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        size.ws_col = 80;
    fprintf(stderr, "\r\033[K%.*s", size.ws_col - 1, line);
    fflush(stderr);
    b->shown = true;
    b->shown_ms = now;
}

void bar_clear(struct bar *b)
{
    if (b->shown)
        fputs("\r\033[K", stderr);
    b->shown = false;
}
