/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h - a screen that is drawn again and again until its user ends it.
 *
 * On a terminal it uses the alternate screen, and reads keys when the standard
 * input is a terminal, too; live_end restores both. Into a pipe, the texts
 * follow each other. q, SIGINT, SIGTERM, SIGHUP and SIGQUIT end it. It handles
 * Ctrl-Z and changes of the window's size.
 *
 * Owner:   the caller
 * Threads: the main one; one at a time, for signals reach it
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
    int columns, rows; /* of the terminal, since live_measure */
};

enum live_event { LIVE_TIME, LIVE_RESIZED, LIVE_QUIT };

/* plain: behaves as for a pipe, even on a terminal. */
void live_begin(struct live *l, bool plain);
void live_end(struct live *l);

/* Reads the terminal's size. */
void live_measure(struct live *l);

/* Shows a text in place of the last one. Lines that are too long or too many
 * are cut. */
void live_draw(const struct live *l, const char *text);

/* Waits for the time (timing_mono_ms), a key or a signal. */
enum live_event live_wait(struct live *l, int64_t until_ms);

/* Not 0 once the user wants to end it. */
extern volatile sig_atomic_t live_stop;

#endif
