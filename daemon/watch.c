/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn a second; ten a second until a version serves. The main thread only
 * changes the phase: while it waits for a reload or for the end of a part, the
 * turns go on.
 */
#include "config.h"

#include "daemon/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/pulse.h"
#include "daemon/notify.h"

#define TURN_MS 1000
#define START_TURN_MS 100
#define EXTEND_MS 15000 /* each extension lasts for a minute */

enum phase { STARTING, RUNNING, STOPPING };

struct watch {
    struct status_board *board;
    int64_t feed_ms; /* between two feedings of the watchdog; 0: none */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* guards all below, and the order of messages */
    pthread_cond_t wake;
    enum phase phase;
    bool ends;
    bool stalled; /* it has been logged */
    int64_t fed_ms, extended_ms;
    char *told; /* the last sentence; NULL: none */
};

/* $WATCHDOG_USEC, unless it is meant for another process. A third of it leaves
 * room for a late turn. */
static int64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    long long n = usec ? strtoll(usec, NULL, 10) : 0;

    if (n <= 0 || (pid && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    return n / 3000 > 0 ? n / 3000 : 1;
}

static int64_t turn_ms(const struct watch *w)
{
    int64_t ms = w->phase == STARTING ? START_TURN_MS : TURN_MS;

    return w->feed_ms && w->feed_ms < ms ? w->feed_ms : ms;
}

static void tell_sentence(struct watch *w)
{
    struct buf line = BUF_INIT;

    buf_adds(&line, "STATUS=");
    status_to_sentence(w->board, &line);
    for (size_t i = 0; i < line.len; i++)
        if ((unsigned char)line.data[i] < ' ')
            line.data[i] = ' ';
    if (!w->told || strcmp(w->told, line.data) != 0) {
        notify_send(line.data);
        free(w->told);
        w->told = buf_detach(&line);
    }
    buf_release(&line);
}

/* Returns true when all threads move. */
static bool check_threads(struct watch *w)
{
    const char *first;
    int n = pulse_stalled(&first);

    if (n && !w->stalled)
        log_error("stalled",
                  "thread=%s threads=%d result=\"%s has not moved for longer "
                  "than its longest task takes%s\"",
                  first, n, first,
                  w->feed_ms ? "; the watchdog is no longer fed" : "");
    else if (!n && w->stalled)
        log_warn("stalled", "result=\"all threads move again\"");
    w->stalled = n != 0;
    return n == 0;
}

/* Locks: needs the mutex */
static void turn(struct watch *w)
{
    int64_t now = timing_mono_ms();
    bool moves = check_threads(w);
    struct status *s;
    int64_t serving;

    s = status_lock(w->board);
    serving = s->serving_version;
    status_unlock(w->board);
    if (w->phase == STARTING && serving) {
        notify_send("READY=1");
        w->phase = RUNNING;
    }
    tell_sentence(w);
    if (moves && w->feed_ms && now - w->fed_ms >= w->feed_ms) {
        notify_send("WATCHDOG=1");
        w->fed_ms = now;
    }
    if (moves && w->phase != RUNNING &&
        (!w->extended_ms || now - w->extended_ms >= EXTEND_MS)) {
        notify_send("EXTEND_TIMEOUT_USEC=60000000");
        w->extended_ms = now;
    }
}

void watch_turn(struct watch *w)
{
    pthread_mutex_lock(&w->mutex);
    turn(w);
    pthread_mutex_unlock(&w->mutex);
}

static void *run(void *arg)
{
    struct watch *w = arg;

    pthread_setname_np(pthread_self(), "watch");
    pthread_mutex_lock(&w->mutex);
    while (!w->ends) {
        struct timespec until;

        turn(w);
        until = timing_deadline(turn_ms(w));
        timing_wait(&w->wake, &w->mutex, &until);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

struct watch *watch_create(struct status_board *board)
{
    struct watch *w = xcalloc(1, sizeof *w);

    w->board = board;
    w->feed_ms = watchdog_ms();
    w->fed_ms = -w->feed_ms;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    return w;
}

struct watch *watch_start(struct status_board *board)
{
    struct watch *w = watch_create(board);

    if (pthread_create(&w->thread, NULL, run, w) != 0)
        BUG("cannot start the watch's thread");
    w->has_thread = true;
    return w;
}

/* sd_notify(3) wants the time of the reload: the service manager compares it
 * with the time of its own request. */
void watch_reloading(struct watch *w)
{
    char *lines = xasprintf("RELOADING=1\nMONOTONIC_USEC=%lld",
                            (long long)(timing_mono_ns() / 1000));

    pthread_mutex_lock(&w->mutex);
    if (w->phase == RUNNING)
        notify_send(lines);
    pthread_mutex_unlock(&w->mutex);
    free(lines);
}

void watch_reloaded(struct watch *w)
{
    pthread_mutex_lock(&w->mutex);
    if (w->phase == RUNNING)
        notify_send("READY=1");
    pthread_mutex_unlock(&w->mutex);
}

void watch_stopping(struct watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->phase = STOPPING;
    w->extended_ms = 0;
    notify_send("STOPPING=1");
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

void watch_stop(struct watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->ends = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    if (w->has_thread)
        pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w->told);
    free(w);
}
