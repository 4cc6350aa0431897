/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_events.h - the log of events that GET /v1/events sends.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_HTTP_API_EVENTS_H
#define MNEME_DAEMON_HTTP_API_EVENTS_H

#include "daemon/board/event_log.h"
#include "daemon/board/status.h"

/* Creates the log, whose thread watches the board; the board outlives it. */
struct event_log *api_events_watch(struct status_board *board);

#endif
