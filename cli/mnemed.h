/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mnemed.h - the daemon as a child process.
 *
 * The child runs in a process group of its own: Ctrl-C reaches only the client,
 * which then stops the daemon. If the client is killed, the kernel sends
 * SIGTERM to the daemon.
 *
 * Owner:   the caller
 * Threads: the main one
 */
#ifndef MNEME_CLI_MNEMED_H
#define MNEME_CLI_MNEMED_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct mnemed {
    char *program;
    char *data_dir, *conf_path, *log_path; /* absolute */
    pid_t pid;                             /* 0: not running */
};

/* The path of the program mnemed: $MNEMED, else the one beside this program in
 * a build tree or an installation, else a search in PATH. To be freed. */
char *mnemed_program(void);

/*
 * Writes mneme.yaml into a new data directory (NULL: below $TMPDIR), and starts
 * mnemed with it. ERR_STATE when the directory already holds a store.
 * mnemed_release also after an error.
 */
int mnemed_start(struct mnemed *m, const char *data_dir, const char *yaml,
                 struct err *err);

/* Checks that the daemon still runs. ERR_IO: it has ended. */
int mnemed_check(struct mnemed *m, struct err *err);

/* Ends the daemon with SIGTERM. False when its exit status is not 0. */
bool mnemed_stop(struct mnemed *m);
void mnemed_release(struct mnemed *m);

#endif
