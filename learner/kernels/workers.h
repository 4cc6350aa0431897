/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - a few threads that share out numbered pieces of work.
 *
 * Which thread takes a piece is left to chance: a piece must write only what
 * belongs to it, and then the result does not depend on the number of threads.
 * The threads wait between runs, run at a lower priority than the rest of the
 * process, so that serving is not starved, and take no signals.
 *
 * Owner:   whoever made it
 * Threads: one at a time calls workers_run
 */
#ifndef MNEME_LEARNER_KERNELS_WORKERS_H
#define MNEME_LEARNER_KERNELS_WORKERS_H

#include <stddef.h>

#include "base/err.h"

struct workers; /* fields are in workers.c */

/* Does piece `piece` of the work. */
typedef void workers_fn(void *arg, size_t piece);

int workers_create(int n_threads, struct workers **workers, struct err *err);
void workers_free(struct workers *w);

/* Calls fn for the pieces 0 to n - 1; returns when all are done. */
void workers_run(struct workers *w, workers_fn *fn, void *arg, size_t n);

#endif
