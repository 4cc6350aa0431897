/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections are a list; libmicrohttpd keeps each one's element as the
 * context of its socket. An element leaves before the socket is closed, so the
 * reaper never shuts down another's.
 */
#include "config.h"

#include "daemon/http_connections.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/timing.h"
#include "base/xalloc.h"

#define NO_DEADLINE INT64_MAX
#define REAP_MS 500

static const int64_t phase_ms[] = {
    [HTTP_READING] = 30000,  [HTTP_COMPUTING] = NO_DEADLINE,
    [HTTP_WRITING] = 600000, [HTTP_STREAMING] = NO_DEADLINE,
    [HTTP_IDLE] = 60000,
};

struct connection {
    struct connection *next, *previous;
    int fd;
    int64_t deadline_ms; /* monotonic */
};

struct http_connections {
    pthread_t reaper;
    bool reaping;          /* there is a reaper to join */
    pthread_mutex_t mutex; /* guards all below, and the elements */
    pthread_cond_t stop;
    bool stopping;
    struct connection *first;
    int n;
};

struct http_connections *http_connections_create(void)
{
    struct http_connections *cs = xcalloc(1, sizeof *cs);

    pthread_mutex_init(&cs->mutex, NULL);
    pthread_cond_init(&cs->stop, NULL);
    return cs;
}

void http_connections_free(struct http_connections *cs)
{
    if (!cs)
        return;
    pthread_cond_destroy(&cs->stop);
    pthread_mutex_destroy(&cs->mutex);
    free(cs);
}

int http_connections_count(struct http_connections *cs)
{
    int n;

    pthread_mutex_lock(&cs->mutex);
    n = cs->n;
    pthread_mutex_unlock(&cs->mutex);
    return n;
}

/* --- deadlines ---------------------------------------------------------- */

static int64_t deadline_of(enum http_phase phase)
{
    return phase_ms[phase] == NO_DEADLINE ? NO_DEADLINE
                                          : timing_mono_ms() + phase_ms[phase];
}

/* A request line never gives more time than there was. */
void http_connections_set(struct http_connections *cs,
                          struct MHD_Connection *connection,
                          enum http_phase phase)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    int64_t deadline = deadline_of(phase);

    if (!c)
        return;
    pthread_mutex_lock(&cs->mutex);
    if (phase != HTTP_READING || deadline < c->deadline_ms)
        c->deadline_ms = deadline;
    pthread_mutex_unlock(&cs->mutex);
}

void *http_connections_asked(void *arg, const char *uri,
                             struct MHD_Connection *connection)
{
    (void)uri;
    http_connections_set(arg, connection, HTTP_READING);
    return NULL;
}

static void *reap(void *arg)
{
    struct http_connections *cs = arg;

    pthread_mutex_lock(&cs->mutex);
    while (!cs->stopping) {
        struct timespec until = timing_deadline(REAP_MS);
        int64_t now = timing_mono_ms();

        for (struct connection *c = cs->first; c; c = c->next)
            if (c->deadline_ms < now)
                shutdown(c->fd, SHUT_RDWR);
        timing_wait(&cs->stop, &cs->mutex, &until);
    }
    pthread_mutex_unlock(&cs->mutex);
    return NULL;
}

void http_connections_start(struct http_connections *cs)
{
    if (pthread_create(&cs->reaper, NULL, reap, cs) != 0)
        BUG("cannot start a thread");
    cs->reaping = true;
}

void http_connections_stop(struct http_connections *cs)
{
    pthread_mutex_lock(&cs->mutex);
    cs->stopping = true;
    pthread_cond_signal(&cs->stop);
    pthread_mutex_unlock(&cs->mutex);
    if (cs->reaping)
        pthread_join(cs->reaper, NULL);
    cs->reaping = false;
}

/* --- coming and going --------------------------------------------------- */

static struct connection *open_connection(struct http_connections *cs, int fd)
{
    struct connection *c = xcalloc(1, sizeof *c);

    c->fd = fd;
    c->deadline_ms = deadline_of(HTTP_READING);
    pthread_mutex_lock(&cs->mutex);
    c->next = cs->first;
    if (c->next)
        c->next->previous = c;
    cs->first = c;
    cs->n++;
    pthread_mutex_unlock(&cs->mutex);
    return c;
}

static void close_connection(struct http_connections *cs, struct connection *c)
{
    pthread_mutex_lock(&cs->mutex);
    if (c->previous)
        c->previous->next = c->next;
    else
        cs->first = c->next;
    if (c->next)
        c->next->previous = c->previous;
    cs->n--;
    pthread_mutex_unlock(&cs->mutex);
    free(c);
}

void http_connections_notify(void *arg, struct MHD_Connection *connection,
                             void **context,
                             enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        info = MHD_get_connection_info(connection,
                                       MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = open_connection(arg, info ? info->connect_fd : -1);
    } else if (*context) {
        close_connection(arg, *context);
        *context = NULL;
    }
}
