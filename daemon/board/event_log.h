/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log.h - the newest events, numbered. A client that reconnects reads on
 * after the last event that it got.
 *
 * The log has one thread, which watches the board and adds events. Any number
 * of readers follow. An event's id is START-N: N counts from 1, and START is
 * the start time of the daemon. The log keeps EVENT_LOG_KEPT events. A reader
 * whose next event is no longer kept, or whose id has another START, gets an
 * event `missed` first.
 *
 * Owner:   the log copies its arguments
 * Threads: see each function
 */
#ifndef MNEME_DAEMON_BOARD_EVENT_LOG_H
#define MNEME_DAEMON_BOARD_EVENT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#define EVENT_LOG_KEPT 2048 /* a quarter of an hour of two a second */

struct event_log; /* fields are in event_log.c */

/* Runs on the log's thread. Adds events until event_log_pause returns true. */
typedef void event_log_fn(struct event_log *l, void *arg);

/* Threads: main. arg outlives the log. */
struct event_log *event_log_create(event_log_fn *watch, void *arg);

/* Makes event_log_pause return true, so that `watch` adds its last events and
 * returns. Ends the thread. Readers get the events that they have not read yet,
 * and then EVENT_END. Threads: main */
void event_log_stop(struct event_log *l);
void event_log_free(struct event_log *l); /* after the stop; NULL is fine */

/* --- for the watching thread -------------------------------------------- */

/* Adds an event with the fields of the object `more`, its name and the time.
 * Owns `more` from now on.
 *   name  outlives the log */
void event_log_add(struct event_log *l, const char *name, json_t *more);

/* Sleeps for ms; returns true at once when the log is stopped. */
bool event_log_pause(struct event_log *l, int64_t ms);

/* --- for a reader; threads: any ----------------------------------------- */

struct event {
    const char *name;
    char id[48];
    char *json; /* one line; the reader frees it */
};

/* A position to read from: after the newest event, or after the event with
 * this id. A client may send any text as an id. */
int64_t event_log_newest(struct event_log *l);
int64_t event_log_after(struct event_log *l, const char *id);

enum event_found { EVENT_FOUND, EVENT_NONE_YET, EVENT_END };

/* The next event after position *at; moves *at to it. Waits at most wait_ms. */
enum event_found event_log_next(struct event_log *l, int64_t *at,
                                int64_t wait_ms, struct event *e);

/* Makes an event for one reader, without adding it to the log. A client that
 * sends its id reads on from position `at`. Owns `more` from now on. */
void event_log_make(const struct event_log *l, int64_t at, const char *name,
                    json_t *more, struct event *e);

#endif
