/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_events.h - the log of events that GET /v1/events sends.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_HTTP_API_API_EVENTS_H
#define MNEME_DAEMON_HTTP_API_API_EVENTS_H

#include "daemon/board/event_log.h"
#include "daemon/board/series.h"
#include "daemon/board/status.h"

/* Creates the log. Its thread watches the board, and fills the series. Both
 * outlive the log. */
struct event_log *api_events_watch(struct status_board *board,
                                   struct series *series);

#endif
