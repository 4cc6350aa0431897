/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account never falls below minus one burst. Otherwise answers that took
 * all processors while nothing was learned would wait for long when learning
 * begins.
 */
#include "config.h"

#include "daemon/http/wire/http_share.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define NS_PER_MS 1000000

struct http_share {
    struct status_board *board;
    double rate; /* processor time that is added in each time; 0: no limit */
    int64_t most_ns; /* of the account, and of a debt */
    pthread_mutex_t mutex; /* guards the two below */
    int64_t account_ns, filled_ns; /* filled_ns: when, monotonic */
};

struct http_share *http_share_create(double share, int cores,
                                     struct status_board *board)
{
    struct http_share *s = xcalloc(1, sizeof *s);

    s->board = board;
    s->rate = share < 1 ? share * cores : 0;
    s->most_ns = (int64_t)(s->rate * HTTP_SHARE_BURST_MS * NS_PER_MS);
    s->account_ns = s->most_ns;
    s->filled_ns = timing_mono_ns();
    pthread_mutex_init(&s->mutex, NULL);
    return s;
}

void http_share_free(struct http_share *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* Locks: needs s->mutex */
static void fill(struct http_share *s)
{
    int64_t now = timing_mono_ns();
    double grown = s->rate * (double)(now - s->filled_ns);

    s->filled_ns = now;
    s->account_ns = grown < (double)(s->most_ns - s->account_ns)
                        ? s->account_ns + (int64_t)grown
                        : s->most_ns;
}

void http_share_spend(struct http_share *s, int64_t cpu_ns)
{
    if (!s || s->rate == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    fill(s);
    s->account_ns -= cpu_ns;
    if (s->account_ns < -s->most_ns)
        s->account_ns = -s->most_ns;
    pthread_mutex_unlock(&s->mutex);
}

void http_share_charge(struct http_share *s)
{
    static _Thread_local int64_t charged_ns;
    int64_t used_ns;

    if (!s || s->rate == 0)
        return;
    used_ns = timing_thread_cpu_ns();
    http_share_spend(s, used_ns - charged_ns);
    charged_ns = used_ns;
}

/* Holdout scoring counts, too. Otherwise a verdict would wait for the answers
 * when the stream pauses. */
static bool learns(struct http_share *s)
{
    bool yes = status_lock(s->board)->state == STATUS_LEARNING;

    status_unlock(s->board);
    return yes || atomic_load(&s->board->publishes);
}

int64_t http_share_wait_ms(struct http_share *s)
{
    int64_t missing_ns;

    if (!s || s->rate == 0)
        return 0;
    pthread_mutex_lock(&s->mutex);
    fill(s);
    missing_ns = -s->account_ns;
    pthread_mutex_unlock(&s->mutex);
    if (missing_ns <= 0 || !learns(s))
        return 0;
    return 1 + (int64_t)((double)missing_ns / s->rate / NS_PER_MS);
}
