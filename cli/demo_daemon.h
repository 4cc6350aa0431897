/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_daemon.h - the mnemed that the demo starts, watches and stops.
 *
 * It runs in a process group of its own, so that Ctrl-C reaches the demo
 * alone, which stops it in good order; should the demo itself be killed, the
 * kernel stops it.
 *
 * Owner:   the demo
 * Threads: the main one
 */
#ifndef MNEME_CLI_DEMO_DAEMON_H
#define MNEME_CLI_DEMO_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct demo_daemon {
    char *program;
    char *data_dir; /* absolute */
    char *conf_path;
    char *log_path;
    pid_t pid; /* 0: not running */
};

/*
 * Makes the data directory (NULL: a new one below $TMPDIR) with mneme.yaml in
 * it, and starts mnemed on it. keep: it outlives the demo. ERR_STATE when the
 * directory holds a store already.
 */
int demo_daemon_start(struct demo_daemon *d, const char *data_dir,
                      const char *yaml, bool keep, struct err *err);

/* ERR_IO with the last line of its log when it has ended. */
int demo_daemon_check(struct demo_daemon *d, struct err *err);

/* The line in a file that it writes when it is up ("http.addr"), to be freed;
 * NULL: not yet. */
char *demo_daemon_address(const struct demo_daemon *d, const char *file);

/* Ends it: false when it had to be killed or its exit status was not 0. */
bool demo_daemon_stop(struct demo_daemon *d);
void demo_daemon_release(struct demo_daemon *d);

#endif
