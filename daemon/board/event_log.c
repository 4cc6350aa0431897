/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log is a ring: event n is in slot n % EVENT_LOG_KEPT. A reader's position
 * is the number of the last event that it has read. The position OTHER_RUN
 * stands for an id that this run of the daemon has not given.
 */
#include "config.h"

#include "daemon/board/event_log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/timing.h"
#include "base/xalloc.h"

#define OTHER_RUN (-1)

struct kept {
    const char *name;
    char *json;
};

struct event_log {
    int64_t start_ms; /* of the daemon */
    event_log_fn *watch;
    void *arg;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct kept ring[EVENT_LOG_KEPT];
    int64_t newest; /* number of the last event; 0: none yet */
    bool stopping, ended;
};

static void *run(void *arg)
{
    struct event_log *l = arg;

    l->watch(l, l->arg);
    return NULL;
}

struct event_log *event_log_create(event_log_fn *watch, void *arg)
{
    struct event_log *l = xcalloc(1, sizeof *l);

    l->start_ms = timing_wall_ms();
    l->watch = watch;
    l->arg = arg;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    if (pthread_create(&l->thread, NULL, run, l) != 0)
        BUG("cannot start a thread");
    return l;
}

void event_log_stop(struct event_log *l)
{
    pthread_mutex_lock(&l->mutex);
    l->stopping = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->thread, NULL);
    pthread_mutex_lock(&l->mutex);
    l->ended = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

void event_log_free(struct event_log *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < EVENT_LOG_KEPT; i++)
        free(l->ring[i].json);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

/* --- the watching thread ------------------------------------------------ */

static char *event_text(const char *name, json_t *more)
{
    json_t *root = json_pack("{s:s, s:I}", "event", name, "time_ms",
                             (json_int_t)timing_wall_ms());
    char *text;

    json_object_update(root, more);
    text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
    BUG_ON(!text);
    json_decref(root);
    json_decref(more);
    return text;
}

void event_log_add(struct event_log *l, const char *name, json_t *more)
{
    char *text = event_text(name, more);
    struct kept *k;

    pthread_mutex_lock(&l->mutex);
    k = &l->ring[++l->newest % EVENT_LOG_KEPT];
    free(k->json);
    *k = (struct kept){name, text};
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

bool event_log_pause(struct event_log *l, int64_t ms)
{
    struct timespec deadline = timing_deadline(ms);
    int rc = 0;
    bool stopping;

    pthread_mutex_lock(&l->mutex);
    while (!l->stopping && rc != ETIMEDOUT)
        rc = timing_wait(&l->changed, &l->mutex, &deadline);
    stopping = l->stopping;
    pthread_mutex_unlock(&l->mutex);
    return stopping;
}

/* --- readers ------------------------------------------------------------ */

int64_t event_log_newest(struct event_log *l)
{
    int64_t newest;

    pthread_mutex_lock(&l->mutex);
    newest = l->newest;
    pthread_mutex_unlock(&l->mutex);
    return newest;
}

int64_t event_log_after(struct event_log *l, const char *id)
{
    int64_t start_ms, at;
    int n = 0;

    if (sscanf(id, "%" SCNd64 "-%" SCNd64 "%n", &start_ms, &at, &n) != 2 ||
        id[n] || start_ms != l->start_ms || at < 0 || at > event_log_newest(l))
        return OTHER_RUN;
    return at;
}

static void set_id(const struct event_log *l, int64_t at, struct event *e)
{
    snprintf(e->id, sizeof e->id, "%" PRId64 "-%" PRId64, l->start_ms, at);
}

void event_log_make(const struct event_log *l, int64_t at, const char *name,
                    json_t *more, struct event *e)
{
    e->name = name;
    e->json = event_text(name, more);
    set_id(l, at, e);
}

/* Makes the event `missed`: events *at + 1 to `oldest` are no longer kept. */
static void make_missed(const struct event_log *l, int64_t oldest, int64_t *at,
                        struct event *e)
{
    bool is_other_run = *at == OTHER_RUN;

    event_log_make(l, oldest, "missed",
                   json_pack("{s:o, s:s}", "missed",
                             is_other_run ? json_null()
                                       : json_integer(oldest - *at),
                             "reason",
                             is_other_run ? "the id is not of this run of the "
                                         "daemon: events from before its start "
                                         "are lost"
                                       : "too many newer events: these are no "
                                         "longer kept"),
                   e);
    *at = oldest;
}

enum event_found event_log_next(struct event_log *l, int64_t *at,
                                int64_t wait_ms, struct event *e)
{
    struct timespec deadline = timing_deadline(wait_ms);
    enum event_found found = EVENT_FOUND;
    int64_t oldest;
    int rc = 0;

    pthread_mutex_lock(&l->mutex);
    while (*at == l->newest && !l->ended && rc != ETIMEDOUT)
        rc = timing_wait(&l->changed, &l->mutex, &deadline);
    oldest = l->newest > EVENT_LOG_KEPT ? l->newest - EVENT_LOG_KEPT : 0;
    if (*at < oldest) {
        make_missed(l, oldest, at, e);
    } else if (*at == l->newest) {
        found = l->ended ? EVENT_END : EVENT_NONE_YET;
    } else {
        const struct kept *k = &l->ring[++*at % EVENT_LOG_KEPT];

        e->name = k->name;
        e->json = xstrdup(k->json);
        set_id(l, *at, e);
    }
    pthread_mutex_unlock(&l->mutex);
    return found;
}
