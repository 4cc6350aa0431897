/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each request joins the line. Only fill_slots moves requests from the line to
 * a slot: it runs when a request joins, and when a slot becomes free. Waiting
 * requests wake a few times a second to check whether they were cancelled.
 */
#include "config.h"

#include "daemon/http/wire/http_slots.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define LONGEST_WAIT_MS 60000
#define CHECK_MS 200 /* between two checks for cancellation */

struct waiter {
    uint64_t holder;
    struct waiter *next;
    bool has_slot;
};

struct http_slots {
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    uint64_t *holders; /* [n + 1]: the holder of each slot in use */
    int n, n_used, max_waiting;
    struct waiter *line; /* the longest waiting first */
    bool closed;
};

struct http_slots *http_slots_create(int n, int max_waiting)
{
    struct http_slots *s = xcalloc(1, sizeof *s);

    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->holders = xcalloc((size_t)n + 1, sizeof *s->holders);
    s->n = n;
    s->max_waiting = max_waiting;
    return s;
}

void http_slots_free(struct http_slots *s)
{
    if (!s)
        return;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s->holders);
    free(s);
}

/* Locks: needs s->mutex */
static void leave_line(struct http_slots *s, const struct waiter *w)
{
    struct waiter **at = &s->line;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

/* Gives slots to waiting requests, as long as one may have a slot.
 * Locks: needs s->mutex */
static void fill_slots(struct http_slots *s)
{
    for (;;) {
        struct waiter *next = NULL;
        int fewest = 0;

        for (struct waiter *w = s->line; w; w = w->next) {
            int has = 0;

            for (int i = 0; i < s->n_used; i++)
                has += s->holders[i] == w->holder;
            if (s->n_used < s->n + (has == 0) && (!next || has < fewest)) {
                next = w;
                fewest = has;
            }
        }
        if (!next)
            return;
        leave_line(s, next);
        next->has_slot = true;
        s->holders[s->n_used++] = next->holder;
        pthread_cond_broadcast(&s->changed);
    }
}

/* Returns 0 when w has a slot. Locks: needs s->mutex */
static int wait_in_line(struct http_slots *s, const struct waiter *w,
                        const struct cancel *cancel, struct err *err)
{
    int64_t until_ms = timing_mono_ms() + LONGEST_WAIT_MS;
    int rc = 0;

    while (rc == 0 && !w->has_slot) {
        struct timespec next = timing_deadline(CHECK_MS);

        if (s->closed)
            return err_set(err, ERR_STATE, "the daemon is stopping");
        if (timing_mono_ms() >= until_ms)
            return err_set(err, ERR_LIMIT,
                           "no slot to compute became free in %d s; try again",
                           LONGEST_WAIT_MS / 1000);
        rc = cancel_check(cancel, err);
        if (rc == 0)
            timing_wait(&s->changed, &s->mutex, &next);
    }
    return rc;
}

int http_slots_get(struct http_slots *s, uint64_t holder,
                   const struct cancel *cancel, struct err *err)
{
    struct waiter w = {.holder = holder}, **end = &s->line;
    int n_waiting = 1, rc = 0;

    pthread_mutex_lock(&s->mutex);
    for (; *end; end = &(*end)->next)
        n_waiting += (*end)->holder == holder;
    *end = &w;
    if (!s->closed)
        fill_slots(s);
    if (!w.has_slot && !s->closed && n_waiting > s->max_waiting)
        rc = err_set(err, ERR_LIMIT,
                     "too many requests wait for a slot to compute; try again");
    if (rc == 0)
        rc = wait_in_line(s, &w, cancel, err);
    if (rc)
        leave_line(s, &w);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

void http_slots_put(struct http_slots *s, uint64_t holder)
{
    int i = 0;

    pthread_mutex_lock(&s->mutex);
    while (i < s->n_used && s->holders[i] != holder)
        i++;
    BUG_ON(i == s->n_used);
    s->holders[i] = s->holders[--s->n_used];
    if (!s->closed)
        fill_slots(s);
    pthread_mutex_unlock(&s->mutex);
}

void http_slots_close(struct http_slots *s)
{
    pthread_mutex_lock(&s->mutex);
    s->closed = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}
