/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mutex guards everything but the pieces themselves. A run sets fn, arg and
 * n and wakes the threads. Each takes the next piece until none is left. The
 * thread that finishes the last piece wakes the caller.
 */
#include "config.h"

#include "learner/kernels/workers.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/priority.h"
#include "base/xalloc.h"

struct workers {
    pthread_mutex_t mu;
    pthread_cond_t work; /* a run has begun, or stop */
    pthread_cond_t done; /* the run's last piece is done */
    workers_fn *fn;
    void *arg;
    size_t n, next, unfinished; /* pieces of the run */
    bool stop;
    int n_threads; /* threads started */
    pthread_t *threads;
};

/* Locks: needs w->mu, and unlocks it while a piece runs */
static void run_pieces(struct workers *w)
{
    while (w->next < w->n) {
        size_t piece = w->next++;
        workers_fn *fn = w->fn;
        void *arg = w->arg;

        pthread_mutex_unlock(&w->mu);
        fn(arg, piece);
        pthread_mutex_lock(&w->mu);
        if (--w->unfinished == 0)
            pthread_cond_signal(&w->done);
    }
}

static void *work(void *arg)
{
    struct workers *w = arg;

    pthread_setname_np(pthread_self(), "worker");
    /* In the daemon, learning gives way to answers. `mneme eval` and `mneme
     * bench` compute for minutes or hours, and give way to whatever else runs
     * there; on an idle machine it makes no difference. */
    priority_lower();
    pthread_mutex_lock(&w->mu);
    while (!w->stop) {
        run_pieces(w);
        if (!w->stop)
            pthread_cond_wait(&w->work, &w->mu);
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

/* Starts the threads with all signals blocked, which threads inherit. */
static int start(struct workers *w, int n_threads, struct err *err)
{
    sigset_t all, before;
    int errnum = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (w->n_threads < n_threads && errnum == 0) {
        errnum = pthread_create(&w->threads[w->n_threads], NULL, work, w);
        if (errnum == 0)
            w->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errnum)
        return err_set_errno(err, ERR_NOMEM, errnum,
                             "cannot start worker thread %d of %d",
                             w->n_threads + 1, n_threads);
    return 0;
}

int workers_create(int n_threads, struct workers **workers, struct err *err)
{
    struct workers *w;
    int rc;

    if (n_threads < 1)
        return err_set(err, ERR_INVALID,
                       "%d worker threads: must be at least 1", n_threads);
    w = xcalloc(1, sizeof *w);
    w->threads = xcalloc((size_t)n_threads, sizeof *w->threads);
    pthread_mutex_init(&w->mu, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->done, NULL);
    rc = start(w, n_threads, err);
    if (rc) {
        workers_free(w);
        return rc;
    }
    *workers = w;
    return 0;
}

void workers_free(struct workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mu);
    w->stop = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->mu);
    for (int i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->done);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->mu);
    free(w->threads);
    free(w);
}

void workers_run(struct workers *w, workers_fn *fn, void *arg, size_t n)
{
    if (n == 0)
        return;
    pthread_mutex_lock(&w->mu);
    w->fn = fn;
    w->arg = arg;
    w->n = n;
    w->next = 0;
    w->unfinished = n;
    pthread_cond_broadcast(&w->work);
    while (w->unfinished > 0)
        pthread_cond_wait(&w->done, &w->mu);
    pthread_mutex_unlock(&w->mu);
}
