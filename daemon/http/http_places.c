/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places to compute, their holders, and a line of waiting requests.
 *
 * Each request joins the line. let_in alone gives places to requests in the
 * line: it runs when a request joins, and when a place becomes free. Waiting
 * requests wake a few times a second to check whether they were cancelled.
 */
#include "config.h"

#include "daemon/http/http_impl.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define LONGEST_WAIT_MS 60000
#define ASK_MS 200

struct waiter {
    uint64_t holder;
    struct waiter *next;
    bool has_place;
};

struct http_places {
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    uint64_t *taken; /* [n + 1]: the holder of each place that is taken */
    int n, n_taken, most_waiting;
    struct waiter *line; /* the longest waiting first */
    bool closed;
};

struct http_places *http_places_create(int n, int most_waiting)
{
    struct http_places *p = xcalloc(1, sizeof *p);

    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->taken = xcalloc((size_t)n + 1, sizeof *p->taken);
    p->n = n;
    p->most_waiting = most_waiting;
    return p;
}

void http_places_free(struct http_places *p)
{
    if (!p)
        return;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p->taken);
    free(p);
}

/* Locks: needs p->mutex, and so do all below */
static int places_of(const struct http_places *p, uint64_t holder)
{
    int n = 0;

    for (int i = 0; i < p->n_taken; i++)
        n += p->taken[i] == holder;
    return n;
}

static int waiting_of(const struct http_places *p, uint64_t holder)
{
    int n = 0;

    for (const struct waiter *w = p->line; w; w = w->next)
        n += w->holder == holder;
    return n;
}

static void leave_line(struct http_places *p, const struct waiter *w)
{
    struct waiter **at = &p->line;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

/* Gives places to requests in the line, as long as one may have a place. */
static void let_in(struct http_places *p)
{
    for (;;) {
        struct waiter *next = NULL;
        int fewest = 0;

        for (struct waiter *w = p->line; w; w = w->next) {
            int has = places_of(p, w->holder);

            if (p->n_taken < p->n + (has == 0) && (!next || has < fewest)) {
                next = w;
                fewest = has;
            }
        }
        if (!next)
            return;
        leave_line(p, next);
        next->has_place = true;
        p->taken[p->n_taken++] = next->holder;
        pthread_cond_broadcast(&p->changed);
    }
}

/* 0: w has a place. */
static int wait_in_line(struct http_places *p, const struct waiter *w,
                        const struct cancel *cancel, struct err *err)
{
    int64_t until_ms = timing_mono_ms() + LONGEST_WAIT_MS;
    int rc = 0;

    while (rc == 0 && !w->has_place) {
        struct timespec next = timing_deadline(ASK_MS);

        if (p->closed)
            return err_set(err, ERR_STATE, "the daemon is stopping");
        if (timing_mono_ms() >= until_ms)
            return err_set(err, ERR_LIMIT,
                           "no place to compute in %d s; try again",
                           LONGEST_WAIT_MS / 1000);
        rc = cancel_check(cancel, err);
        if (rc == 0)
            timing_wait(&p->changed, &p->mutex, &next);
    }
    return rc;
}

int http_places_take(struct http_places *p, uint64_t holder,
                     const struct cancel *cancel, struct err *err)
{
    struct waiter w = {.holder = holder}, **end = &p->line;
    int rc = 0;

    pthread_mutex_lock(&p->mutex);
    while (*end)
        end = &(*end)->next;
    *end = &w;
    if (!p->closed)
        let_in(p);
    if (!w.has_place && !p->closed && waiting_of(p, holder) > p->most_waiting)
        rc = err_set(err, ERR_LIMIT,
                     "too many requests are being computed; try again");
    if (rc == 0)
        rc = wait_in_line(p, &w, cancel, err);
    if (rc)
        leave_line(p, &w);
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

void http_places_give(struct http_places *p, uint64_t holder)
{
    int i = 0;

    pthread_mutex_lock(&p->mutex);
    while (i < p->n_taken && p->taken[i] != holder)
        i++;
    BUG_ON(i == p->n_taken);
    p->taken[i] = p->taken[--p->n_taken];
    if (!p->closed)
        let_in(p);
    pthread_mutex_unlock(&p->mutex);
}

void http_places_close(struct http_places *p)
{
    pthread_mutex_lock(&p->mutex);
    p->closed = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}
