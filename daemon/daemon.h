/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - starts and stops every part of the daemon, in order.
 *
 *     start                          stop
 *     1 store, catalog               1 HTTP refuses new requests
 *     2 learning: the head version   2 the trainer publishes and ends
 *     3 serving: a version answers   3 HTTP ends: requests have the grace
 *     4 the publisher's thread         period to finish
 *     5 HTTP                         4 the publisher ends
 *     6 the source begins to read    5 the source ends
 *     7 the trainer's thread         6 all memory is freed, the store closed
 *
 * SIGTERM and SIGINT stop the daemon; a second one ends it at once. SIGHUP
 * reloads the configuration: all of it, or nothing when a part is wrong.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_DAEMON_H
#define MNEME_DAEMON_DAEMON_H

#include "base/err.h"
#include "conf/conf.h"

/* The exit status after a second SIGTERM. */
#define DAEMON_STOPPED_AT_ONCE 1

/* Reads the configuration again, for SIGHUP. Returns a new struct conf, or NULL
 * after it has printed every problem. */
typedef struct conf *daemon_reload_fn(void *arg);

/*
 * Runs until a signal stops the daemon, or a source with at_end: exit ends, or
 * a part fails for good. conf stays the caller's, but a reload changes values
 * in it. Returns 0 after a clean stop.
 */
int daemon_run(struct conf *conf, daemon_reload_fn *reload, void *arg,
               struct err *err);

#endif
