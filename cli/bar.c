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

#define REDRAW_MS 200
#define CELLS 24

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

static int columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void draw_share(char *line, size_t size, double share)
{
    char cells[CELLS + 1];
    int full;

    if (!(share >= 0)) { /* NaN too */
        line[0] = '\0';
        return;
    }
    share = share > 1 ? 1 : share;
    full = (int)(share * CELLS);
    memset(cells, ' ', CELLS);
    memset(cells, '#', (size_t)full);
    cells[CELLS] = '\0';
    snprintf(line, size, "[%s] %3.0f%%  ", cells, floor(share * 100));
}

void bar_update(struct bar *b, double share, const char *fmt, ...)
{
    int64_t now = timing_mono_ms();
    char cells[64], text[256], line[512];
    int seconds = (int)bar_seconds(b);
    va_list ap;

    if (!b->on || (b->drawn && now - b->drawn_ms < REDRAW_MS))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    draw_share(cells, sizeof cells, share);
    snprintf(line, sizeof line, "%s  %s%s  %d:%02d", b->title, cells, text,
             seconds / 60, seconds % 60);
    fprintf(stderr, "\r\033[K%.*s", columns() - 1, line);
    fflush(stderr);
    b->drawn = true;
    b->drawn_ms = now;
}

void bar_clear(struct bar *b)
{
    if (b->drawn)
        fputs("\r\033[K", stderr);
    b->drawn = false;
}
