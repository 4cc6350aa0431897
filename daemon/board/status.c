/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/board/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"

static const struct {
    const char *name, *words;
} states[] = {
    [STATUS_STARTING] = {"starting", "Starting"},
    [STATUS_LEARNING] = {"learning", "Learning"},
    [STATUS_WAITING] = {"waiting", "Waiting for records"},
    [STATUS_PAUSED] = {"paused", "Paused"},
    [STATUS_ROLLING_BACK] = {"rolling_back", "Rolling back"},
    [STATUS_STOPPING] = {"stopping", "Stopping"},
};

const char *status_state_name(enum status_state s)
{
    return states[s].name;
}

const char *status_state_words(enum status_state s)
{
    return states[s].words;
}

const char *source_state_name(enum source_state s)
{
    static const char *const names[] = {
        [SOURCE_RUNNING] = "running",
        [SOURCE_RETRYING] = "retrying",
        [SOURCE_STOPPED] = "stopped",
        [SOURCE_ENDED] = "ended",
    };

    return names[s];
}

void status_board_init(struct status_board *b)
{
    memset(b, 0, sizeof *b);
    pthread_mutex_init(&b->mutex, NULL);
    b->now.started_ms = timing_mono_ms();
    b->now.source_type = "";
    b->now.train_bits_per_byte = NAN;
    b->now.prequential_bits_per_byte = NAN;
    b->now.average_prequential = NAN;
    b->now.prequential_total = NAN;
    b->now.accuracy = NAN;
}

void status_board_release(struct status_board *b)
{
    names_release(&b->names);
    names_release(&b->topics);
    free(b->positions);
    free(b->requests);
    pthread_mutex_destroy(&b->mutex);
}

struct status *status_lock(struct status_board *b)
{
    pthread_mutex_lock(&b->mutex);
    return &b->now;
}

void status_unlock(struct status_board *b)
{
    pthread_mutex_unlock(&b->mutex);
}

struct status *status_copy(struct status_board *b)
{
    struct status *s = xmalloc(sizeof *s);

    *s = *status_lock(b);
    status_unlock(b);
    return s;
}

void status_set_state(struct status_board *b, enum status_state state,
                      const char *reason)
{
    struct status *s = status_lock(b);

    s->state = state;
    s->reason[0] = '\0';
    if (reason)
        strncat(s->reason, reason, sizeof s->reason - 1);
    status_unlock(b);
}

/* Locks: needs the mutex */
static struct status_requests *find_requests(struct status_board *b,
                                             const char *path,
                                             const char *method)
{
    size_t i = 0;

    while (i < b->n_requests && (strcmp(b->requests[i].path, path) != 0 ||
                                 strcmp(b->requests[i].method, method) != 0))
        i++;
    if (i == b->n_requests) {
        b->requests = xreallocarray(b->requests, i + 1, sizeof *b->requests);
        b->requests[i] = (struct status_requests){path, method, {{0}, 0}};
        b->n_requests++;
    }
    return &b->requests[i];
}

void status_count_reply(struct status_board *b, const char *path,
                        const char *method, int http_status, double seconds)
{
    status_lock(b);
    if (http_status > 0 && http_status < STATUS_MAX_HTTP)
        b->http_replies[http_status]++;
    if (path)
        histogram_add(&find_requests(b, path, method)->seconds, seconds);
    status_unlock(b);
}

const char *status_name(struct status_board *b, const char *name)
{
    long id = names_add(&b->names, name); /* may move the items */

    return b->names.items[id];
}

void status_set_positions(struct status_board *b,
                          const struct source_position *positions, size_t n)
{
    b->positions = xreallocarray(b->positions, n + 1, sizeof *b->positions);
    b->n_positions = n;
    for (size_t i = 0; i < n; i++)
        b->positions[i] = (struct status_position){
            .topic = names_add(&b->topics, positions[i].topic),
            .partition = positions[i].partition,
            .next_offset = positions[i].next_offset,
        };
}
