/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h - shows a text again and again, until the user ends it.
 *
 * On a terminal, live_begin switches to the alternate screen, and reads keys
 * if the standard input is a terminal, too; live_end restores both. Into a
 * pipe, the texts follow each other. q, SIGINT, SIGTERM, SIGHUP and SIGQUIT end
 * it. Ctrl-Z and a new window size are handled.
 *
 * Owner:   the caller
 * Threads: the main one, one struct at a time: it handles signals
 */
#ifndef MNEME_CLI_LIVE_H
#define MNEME_CLI_LIVE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

struct live {
    bool on_screen; /* the standard output is a terminal */
    bool has_keys;
    struct termios before;
    int columns, rows; /* of the terminal; set by live_measure */
};

enum live_event { LIVE_TIME, LIVE_RESIZED, LIVE_QUIT };

/* plain: treat a terminal as a pipe. */
void live_begin(struct live *l, bool plain);
void live_end(struct live *l);

/* Reads the terminal's size. */
void live_measure(struct live *l);

/* A line that begins with one of these is shown in another style on a terminal.
 * It has no width. */
#define LIVE_BOLD '\001'
#define LIVE_ALERT '\002'

/* Replaces the text on the screen, at once. Cuts lines that are too long or too
 * many. */
void live_show(const struct live *l, const char *text);

/* Waits for the time (timing_mono_ms), the key q or a signal. */
enum live_event live_wait(struct live *l, int64_t until_ms);

/* Not 0 after a signal or the key q. */
extern volatile sig_atomic_t live_stop;

#endif
