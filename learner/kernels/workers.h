/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - a few threads that share numbered pieces of work.
 *
 * Any thread may take any piece. If a piece writes only its own memory, the
 * result does not depend on the number of threads. The threads wait between
 * runs, run at a lower priority than requests, and take no signals.
 *
 * Owner:   the creator
 * Threads: one thread at a time calls workers_run
 */
#ifndef MNEME_LEARNER_KERNELS_WORKERS_H
#define MNEME_LEARNER_KERNELS_WORKERS_H

#include <stddef.h>

#include "base/err.h"

struct workers; /* fields are in workers.c */

typedef void workers_fn(void *arg, size_t piece);

int workers_create(int n_threads, struct workers **workers, struct err *err);
void workers_free(struct workers *w);

/* Calls fn for pieces 0 to n - 1, and returns when all are done. */
void workers_run(struct workers *w, workers_fn *fn, void *arg, size_t n);

#endif
