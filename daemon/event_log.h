/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log.h - the newest events, numbered, so that a listener which comes
 * back goes on where it was.
 *
 * One thread of the log watches and adds events; any number of readers follow.
 * An id is START-N: N counts from 1, START tells one run of the daemon from
 * another. EVENT_LOG_KEPT events are kept. A reader that was away for longer,
 * or comes from another run, is told so by an event `missed`.
 *
 * Owner:   the log copies what it is given
 * Threads: as said at each
 */
#ifndef MNEME_DAEMON_EVENT_LOG_H
#define MNEME_DAEMON_EVENT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#define EVENT_LOG_KEPT 2048 /* a quarter of an hour of two a second */

struct event_log; /* fields are in event_log.c */

/* Watches and adds, on the log's own thread, until event_log_pause is true. */
typedef void event_log_fn(struct event_log *l, void *arg);

/* Threads: main. arg outlives the log. */
struct event_log *event_log_create(event_log_fn *watch, void *arg);

/* The watch has its last look, and readers get what is left. Threads: main */
void event_log_stop(struct event_log *l);
void event_log_free(struct event_log *l); /* after it; NULL is fine */

/* --- for the watch ------------------------------------------------------ */

/* Takes more over: an object, to which the event's name and time are added.
 *   name  outlives the log */
void event_log_add(struct event_log *l, const char *name, json_t *more);

/* Sleeps; true when the log is to end. */
bool event_log_pause(struct event_log *l, int64_t ms);

/* --- for a reader; threads: any ----------------------------------------- */

struct event {
    const char *name;
    char id[48];
    char *json; /* one line; the reader frees it */
};

/* A place to read from: after the newest event, or after the one with an id
 * that a client has sent, whatever that is. */
int64_t event_log_newest(struct event_log *l);
int64_t event_log_after(struct event_log *l, const char *id);

enum event_found { EVENT_FOUND, EVENT_NONE_YET, EVENT_END };

/* The next event after *at, which it moves; waits for one. */
enum event_found event_log_next(struct event_log *l, int64_t *at,
                                int64_t wait_ms, struct event *e);

/* An event that is for one reader only: it has the id of the place `at`, so
 * that whoever comes back with it goes on from there. Takes more over. */
void event_log_make(const struct event_log *l, int64_t at, const char *name,
                    json_t *more, struct event *e);

#endif
