/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/live.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/timing.h"

#define SCREEN_BYTES ((size_t)256 << 10)
#define SLICE_MS 100 /* delay of a signal that comes just before poll() */

volatile sig_atomic_t live_stop;
static volatile sig_atomic_t resized, suspended;

static void on_signal(int signal_number)
{
    if (signal_number == SIGWINCH)
        resized = 1;
    else if (signal_number == SIGTSTP)
        suspended = 1;
    else
        live_stop = 1;
}

/* --- the terminal ------------------------------------------------------- */

/* Switches to the alternate screen, without a cursor and line breaks. */
static void enter(struct live *l)
{
    if (l->on_screen) {
        fputs("\033[?1049h\033[?25l\033[?7l", stdout);
        fflush(stdout);
    }
    if (l->has_keys) {
        struct termios raw = l->before;

        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
}

static void leave(struct live *l)
{
    if (l->has_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &l->before);
    if (l->on_screen) {
        fputs("\033[?7h\033[?25h\033[?1049l", stdout);
        fflush(stdout);
    }
}

void live_measure(struct live *l)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;

    l->columns = known && size.ws_col > 0 ? size.ws_col : 80;
    l->rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

void live_begin(struct live *l, bool plain)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_signal};
    const char *term = getenv("TERM");

    memset(l, 0, sizeof *l);
    l->on_screen = !plain && isatty(STDOUT_FILENO) && term &&
                   strcmp(term, "dumb") != 0;
    l->has_keys = l->on_screen && tcgetattr(STDIN_FILENO, &l->before) == 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        sigaction(ends[i], &action, NULL);
    if (l->on_screen) {
        sigaction(SIGWINCH, &action, NULL);
        sigaction(SIGTSTP, &action, NULL);
    }
    live_measure(l);
    if (l->on_screen) /* one write for a screen, so that it does not flicker */
        setvbuf(stdout, NULL, _IOFBF, SCREEN_BYTES);
    enter(l);
}

void live_end(struct live *l)
{
    leave(l);
}

/* --- showing ------------------------------------------------------------ */

/* Returns the number of bytes of a line's first `columns` characters. */
static size_t bytes_of_columns(const char *line, size_t n, int columns)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)line[i] & 0xc0) != 0x80 && columns-- == 0)
            return i;
    return n;
}

static int count_lines(const char *text)
{
    int n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

void live_show(const struct live *l, const char *text)
{
    int n = count_lines(text);
    int shown = n > l->rows ? l->rows - 1 : n;

    if (!l->on_screen) {
        for (; *text; text++)
            if (*text != LIVE_BOLD && *text != LIVE_ALERT)
                fputc(*text, stdout);
        return;
    }
    fputs("\033[?2026h\033[H", stdout);
    for (int i = 0; i < shown; i++) {
        size_t length = strcspn(text, "\n");
        bool marked = *text == LIVE_BOLD || *text == LIVE_ALERT;

        /* Clears first, since a full line leaves the cursor on its last
         * character. */
        fputs("\033[K", stdout);
        if (marked)
            fputs(*text == LIVE_BOLD ? "\033[1m" : "\033[1;31m", stdout);
        fwrite(text + marked, 1,
               bytes_of_columns(text + marked, length - marked, l->columns),
               stdout);
        fputs(marked ? "\033[m" : "", stdout);
        fputs(i + 1 < l->rows ? "\n" : "", stdout);
        text += length + 1;
    }
    if (shown < n)
        printf("\033[K%.*s", l->columns,
               "... the window is too small for the rest");
    else if (shown < l->rows)
        fputs("\033[J", stdout);
    fputs("\033[?2026l", stdout);
}

/* --- waiting ------------------------------------------------------------ */

static void suspend(struct live *l)
{
    leave(l);
    raise(SIGSTOP);
    suspended = 0;
    enter(l);
    resized = 1;
}

/* Reads a key that poll() has announced. False: the key is q. */
static bool read_key(struct live *l)
{
    char key;

    if (read(STDIN_FILENO, &key, 1) == 1)
        return key != 'q' && key != 'Q';
    l->has_keys = false; /* the terminal was closed */
    return true;
}

enum live_event live_wait(struct live *l, int64_t until_ms)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

    while (!live_stop) {
        int64_t left = until_ms - timing_mono_ms();

        if (suspended)
            suspend(l);
        if (resized) {
            resized = 0;
            return LIVE_RESIZED;
        }
        if (left <= 0)
            return LIVE_TIME;
        if (poll(&p, l->has_keys, left < SLICE_MS ? (int)left : SLICE_MS) > 0 &&
            !read_key(l))
            live_stop = 1;
    }
    return LIVE_QUIT;
}
