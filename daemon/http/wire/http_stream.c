/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One buffer between two threads: the writer appends events, and the reader
 * removes all bytes that have arrived.
 */
#include "config.h"

#include "daemon/http/wire/http_stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/wire/http_slots.h"

#define KEEP_ALIVE_MS 10000
#define CHECK_MS 500 /* between two checks of the client's socket */
#define MAX_UNSENT_BYTES ((size_t)16 << 20)
#define KEEP_ALIVE ": still here\n\n"

struct http_stream {
    http_stream_fn *fn;
    void *arg;
    void (*release)(void *arg);
    struct http_slots *slots; /* NULL: the writer has no slot */
    uint64_t holder;
    pthread_t writer;
    bool started;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct buf unsent;
    size_t n_read; /* bytes of unsent */
    bool ended;    /* the writer has returned */
    bool closed;   /* no more events can be sent */
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
    /* Before the last event is sent: the client may send its next request. */
    if (s->slots)
        http_slots_put(s->slots, s->holder);
    pthread_mutex_lock(&s->mutex);
    s->ended = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

bool http_stream_start(struct http_stream *s, struct http_slots *slots,
                       uint64_t holder)
{
    s->slots = slots;
    s->holder = holder;
    s->started = pthread_create(&s->writer, NULL, write_all, s) == 0;
    return s->started;
}

bool http_stream_event(struct http_stream *s, const char *name, const char *id,
                       const char *text)
{
    bool closed;

    pthread_mutex_lock(&s->mutex);
    if (s->unsent.len - s->n_read > MAX_UNSENT_BYTES)
        s->closed = true;
    closed = s->closed;
    if (!closed) {
        if (name)
            buf_addf(&s->unsent, "event: %s\n", name);
        if (id)
            buf_addf(&s->unsent, "id: %s\n", id);
        buf_adds(&s->unsent, "data: ");
        buf_adds(&s->unsent, text);
        buf_adds(&s->unsent, "\n\n");
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return closed;
}

bool http_stream_text(struct http_stream *s, const char *text)
{
    return http_stream_event(s, NULL, NULL, text);
}

bool http_stream_json(struct http_stream *s, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(12));
    bool closed = !text || http_stream_text(s, text);

    free(text);
    json_decref(body);
    return closed;
}

bool http_stream_closed(struct http_stream *s)
{
    bool closed;

    pthread_mutex_lock(&s->mutex);
    closed = s->closed;
    pthread_mutex_unlock(&s->mutex);
    return closed;
}

/* --- the reader --------------------------------------------------------- */

/* POLLRDHUP is reported even while earlier bytes are unread. */
static bool has_left(int client_fd)
{
    struct pollfd p = {.fd = client_fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0;
}

size_t http_stream_read(struct http_stream *s, int client_fd, char *bytes,
                        size_t size)
{
    int64_t began_ms = timing_mono_ms();
    size_t n;

    pthread_mutex_lock(&s->mutex);
    while (s->n_read == s->unsent.len && !s->ended && !s->closed) {
        struct timespec deadline = timing_deadline(CHECK_MS);

        if (timing_wait(&s->changed, &s->mutex, &deadline) != ETIMEDOUT)
            continue;
        s->closed |= has_left(client_fd);
        if (!s->closed && timing_mono_ms() - began_ms >= KEEP_ALIVE_MS)
            buf_adds(&s->unsent, KEEP_ALIVE);
    }
    n = s->unsent.len - s->n_read;
    if (n > size)
        n = size;
    if (n)
        memcpy(bytes, s->unsent.data + s->n_read, n);
    s->n_read += n;
    if (s->n_read == s->unsent.len) {
        buf_clear(&s->unsent);
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
    s->closed = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (s->started)
        pthread_join(s->writer, NULL);
    if (s->release)
        s->release(s->arg);
    buf_release(&s->unsent);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
