/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One buffer between two threads: the writer appends events, the reader takes
 * what is there.
 */
#include "config.h"

#include "daemon/http/http_stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/timing.h"
#include "base/xalloc.h"

#define QUIET_MS 10000
#define MOST_WAITING ((size_t)16 << 20) /* bytes */
#define KEEP_ALIVE ": still here\n\n"

struct http_stream {
    http_stream_fn *fn;
    void *arg;
    void (*release)(void *arg);
    void (*at_end)(void *arg);
    void *at_end_arg;
    pthread_t writer;
    bool started;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct buf waiting;
    size_t n_read; /* of waiting */
    bool ended;    /* the writer has returned */
    bool deaf;     /* nobody listens */
};

struct http_stream *http_stream_create(http_stream_fn *fn, void *arg,
                                       void (*release)(void *arg))
{
    struct http_stream *s = xcalloc(1, sizeof *s);

    s->fn = fn;
    s->arg = arg;
    s->release = release;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    return s;
}

/* --- the writer --------------------------------------------------------- */

static void *write_all(void *arg)
{
    struct http_stream *s = arg;

    s->fn(s, s->arg);
    /* The place first: a client that has its last event may ask again. */
    s->at_end(s->at_end_arg);
    pthread_mutex_lock(&s->mutex);
    s->ended = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

bool http_stream_start(struct http_stream *s, void (*at_end)(void *arg),
                       void *arg)
{
    s->at_end = at_end;
    s->at_end_arg = arg;
    s->started = pthread_create(&s->writer, NULL, write_all, s) == 0;
    return s->started;
}

bool http_stream_event(struct http_stream *s, const char *name, const char *id,
                       const char *text)
{
    bool deaf;

    pthread_mutex_lock(&s->mutex);
    if (s->waiting.len - s->n_read > MOST_WAITING)
        s->deaf = true;
    deaf = s->deaf;
    if (!deaf) {
        if (name)
            buf_addf(&s->waiting, "event: %s\nid: %s\n", name, id);
        buf_adds(&s->waiting, "data: ");
        buf_adds(&s->waiting, text);
        buf_adds(&s->waiting, "\n\n");
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return deaf;
}

bool http_stream_text(struct http_stream *s, const char *text)
{
    return http_stream_event(s, NULL, NULL, text);
}

bool http_stream_json(struct http_stream *s, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(9));
    bool deaf = !text || http_stream_text(s, text);

    free(text);
    json_decref(body);
    return deaf;
}

bool http_stream_deaf(struct http_stream *s)
{
    bool deaf;

    pthread_mutex_lock(&s->mutex);
    deaf = s->deaf;
    pthread_mutex_unlock(&s->mutex);
    return deaf;
}

/* --- the reader --------------------------------------------------------- */

/* Locks: needs s->mutex. */
static void wait_for_bytes(struct http_stream *s)
{
    struct timespec deadline = timing_deadline(QUIET_MS);
    int rc = 0;

    while (s->n_read == s->waiting.len && !s->ended && rc != ETIMEDOUT)
        rc = timing_wait(&s->changed, &s->mutex, &deadline);
    if (s->n_read == s->waiting.len && !s->ended)
        buf_adds(&s->waiting, KEEP_ALIVE);
}

size_t http_stream_read(struct http_stream *s, char *bytes, size_t size)
{
    size_t n;

    pthread_mutex_lock(&s->mutex);
    wait_for_bytes(s);
    n = s->waiting.len - s->n_read;
    if (n > size)
        n = size;
    if (n)
        memcpy(bytes, s->waiting.data + s->n_read, n);
    s->n_read += n;
    if (s->n_read == s->waiting.len) {
        buf_clear(&s->waiting);
        s->n_read = 0;
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}

void http_stream_free(struct http_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->mutex);
    s->deaf = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (s->started)
        pthread_join(s->writer, NULL);
    if (s->release)
        s->release(s->arg);
    buf_release(&s->waiting);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
