/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - keeps the service manager informed, in a thread of its own.
 *
 *     READY=1       once a version serves, as GET /readyz
 *     STATUS=       the state in one sentence, when it has changed
 *     WATCHDOG=1    while no thread has stalled (board/pulse.h); only with
 *                   $WATCHDOG_USEC
 *     RELOADING=1   with MONOTONIC_USEC, when SIGHUP has come; then READY=1
 *     STOPPING=1    when the daemon stops
 *     EXTEND_TIMEOUT_USEC   while the daemon starts or stops, and no thread
 *                   has stalled. A new data directory may wait for text, and
 *                   the last version of a large model takes a while.
 *
 * A stalled thread is logged. With WatchdogSec= in the unit, the service
 * manager then ends the process, and the restart goes on from the newest
 * version. Without a service manager the log and the metric
 * mneme_stalled_threads tell.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_WATCH_H
#define MNEME_DAEMON_WATCH_H

#include "daemon/board/status.h"

struct watch;

/* The board outlives the watch. */
struct watch *watch_start(struct status_board *board);

void watch_reloading(struct watch *w);
void watch_reloaded(struct watch *w);

/* The daemon stops from now on. */
void watch_stopping(struct watch *w);

/* Ends the thread. NULL is fine. */
void watch_stop(struct watch *w);

/* For tests: what the thread does once a turn. */
struct watch *watch_create(struct status_board *board);
void watch_turn(struct watch *w);

#endif
