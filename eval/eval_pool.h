/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval_pool.h - runs jobs in processes of their own, a few at a time.
 *
 * A job runs in a forked process, and sends its result through a pipe as JSON.
 * The results do not depend on the number of processes. When a job fails, the
 * others are ended. When this process ends, they end at their next report of
 * progress.
 *
 * Threads: one; no other thread may run
 */
#ifndef MNEME_EVAL_EVAL_POOL_H
#define MNEME_EVAL_EVAL_POOL_H

#include <stddef.h>

#include <jansson.h>

#include "base/err.h"

struct eval_pool {
    size_t n, at_once;
    void *arg;
    /* Runs job i in its process, and reports its progress to `sink`. */
    int (*run)(void *arg, size_t i, void *sink, json_t **result,
               struct err *err);
    /* Names job i, for an error message. */
    void (*name)(void *arg, size_t i, char *out, size_t size);
    /* Called with the share of all jobs that is done. */
    void (*progress)(void *arg, double share, size_t n_done);
};

/* For run(): reports the share of the job that is done. */
void eval_pool_report(void *sink, double share);

/*
 * Runs all jobs.
 *   results  json_t *[n] out, the caller's; NULL after an error
 *   returns  0, or the error of the first job that failed
 */
int eval_pool_run(const struct eval_pool *pool, json_t **results,
                  struct err *err);

#endif
