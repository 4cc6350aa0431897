/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - owns every part; starts and stops them in order.
 *
 *     store, catalog      the lock, migrations, sweeping
 *     learning            the newest whole version, or the model at birth
 *     serving, publisher  the version that answers
 *     http                answers from here on, /readyz when a version serves
 *     source, trainer     learns
 *
 * and back in the other order. SIGTERM and SIGINT stop; SIGHUP reloads.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_DAEMON_H
#define MNEME_DAEMON_DAEMON_H

#include "base/err.h"
#include "conf/conf.h"

/* Reads the configuration again, for SIGHUP: a new struct conf, or NULL after
 * having told what is wrong. */
typedef struct conf *daemon_reload_fn(void *arg);

/*
 * Runs until it is told to stop, or the end of a source with at_end: exit, or
 * something that cannot be mended. conf stays the caller's, but reloadable
 * values in it change. Returns 0 after a clean stop.
 */
int daemon_run(struct conf *conf, daemon_reload_fn *reload, void *arg,
               struct err *err);

#endif
