/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A counting semaphore with a bounded line in front of it.
 */
#include "config.h"

#include "daemon/http_impl.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define LONGEST_WAIT_MS 60000

struct http_places {
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    int n_free, n_waiting, most_waiting;
    bool closed;
};

struct http_places *http_places_create(int n, int most_waiting)
{
    struct http_places *p = xcalloc(1, sizeof *p);

    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->n_free = n;
    p->most_waiting = most_waiting;
    return p;
}

void http_places_free(struct http_places *p)
{
    if (!p)
        return;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

/* Locks: needs p->mutex */
static void wait_in_line(struct http_places *p)
{
    struct timespec deadline = timing_deadline(LONGEST_WAIT_MS);

    p->n_waiting++;
    while (p->n_free == 0 && !p->closed)
        if (timing_wait(&p->changed, &p->mutex, &deadline) == ETIMEDOUT)
            break;
    p->n_waiting--;
}

int http_places_take(struct http_places *p, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&p->mutex);
    if (p->n_free == 0 && p->n_waiting < p->most_waiting)
        wait_in_line(p);
    if (p->closed)
        rc = err_set(err, ERR_STATE, "the daemon is stopping");
    else if (p->n_free == 0)
        rc = err_set(err, ERR_AGAIN,
                     "too many requests are being computed; try again");
    else
        p->n_free--;
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

void http_places_give(struct http_places *p)
{
    pthread_mutex_lock(&p->mutex);
    p->n_free++;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

void http_places_close(struct http_places *p)
{
    pthread_mutex_lock(&p->mutex);
    p->closed = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}
