/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log.h - the newest events, numbered: a client that reconnects reads on
 * from the last event that it got.
 *
 * One thread of the log watches and adds events; any number of readers follow.
 * An id is START-N: N counts from 1, START tells one run of the daemon from
 * another. EVENT_LOG_KEPT events are kept. A reader that was away for longer,
 * or comes from another run, is told so by an event `missed`.
 *
 * Owner:   the log copies what it is given
 * Threads: as said at each
 */
#ifndef MNEME_DAEMON_BOARD_EVENT_LOG_H
#define MNEME_DAEMON_BOARD_EVENT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#define EVENT_LOG_KEPT 2048 /* a quarter of an hour of two a second */

struct event_log; /* fields are in event_log.c */

/* Runs on the log's own thread: adds events until event_log_pause is true. */
typedef void event_log_fn(struct event_log *l, void *arg);

/* Threads: main. arg outlives the log. */
struct event_log *event_log_create(event_log_fn *watch, void *arg);

/* Lets fn look a last time, then ends its thread. Readers get the events that
 * they have not read yet, and then EVENT_END. Threads: main */
void event_log_stop(struct event_log *l);
void event_log_free(struct event_log *l); /* after the stop; NULL is fine */

/* --- for the watching thread -------------------------------------------- */

/* Adds an event. `more` is an object, which is taken over; the event's name and
 * time are added to it.
 *   name  outlives the log */
void event_log_add(struct event_log *l, const char *name, json_t *more);

/* Sleeps for ms, or until the log is stopped, which is true. */
bool event_log_pause(struct event_log *l, int64_t ms);

/* --- for a reader; threads: any ----------------------------------------- */

struct event {
    const char *name;
    char id[48];
    char *json; /* one line; the reader frees it */
};

/* A position to read from: after the newest event, or after the event with the
 * id that a client sent. Any text may be given as an id. */
int64_t event_log_newest(struct event_log *l);
int64_t event_log_after(struct event_log *l, const char *id);

enum event_found { EVENT_FOUND, EVENT_NONE_YET, EVENT_END };

/* The next event after position *at, which moves on. Waits at most wait_ms. */
enum event_found event_log_next(struct event_log *l, int64_t *at,
                                int64_t wait_ms, struct event *e);

/* Makes an event for one reader, which is not in the log. Its id stands for the
 * position `at`: a client that sends it reads on from there. Takes `more` over.
 */
void event_log_make(const struct event_log *l, int64_t at, const char *name,
                    json_t *more, struct event *e);

#endif
