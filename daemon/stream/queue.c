/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of max_records pointers, a mutex, and a condition for each side. A
 * thread is signalled only while it waits. So while neither thread waits, a
 * record costs one lock on each side and no system call.
 *
 * Invariant: bytes is the sum of record_memory over the ring.
 */
#include "config.h"

#include "daemon/stream/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/timing.h"
#include "base/xalloc.h"

struct slot {
    struct record *rec;
    size_t n_bytes; /* record_memory when it was pushed */
};

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled, drained;
    struct slot *slots; /* [max_records] */
    size_t front, n, max_records;
    size_t bytes, max_bytes;
    bool consumer_waits, producer_waits;
    bool is_woken;
};

struct queue *queue_create(size_t max_records, size_t max_bytes)
{
    struct queue *q = xcalloc(1, sizeof *q);

    BUG_ON(max_records == 0);
    q->slots = xcalloc(max_records, sizeof *q->slots);
    q->max_records = max_records;
    q->max_bytes = max_bytes;
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->filled, NULL);
    pthread_cond_init(&q->drained, NULL);
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    queue_clear(q);
    pthread_cond_destroy(&q->drained);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->mutex);
    free(q->slots);
    free(q);
}

/* Locks: all static functions need q->mutex. */
static bool fits(const struct queue *q, size_t n_bytes)
{
    if (q->n == 0)
        return true;
    return q->n < q->max_records && n_bytes <= q->max_bytes &&
           q->bytes <= q->max_bytes - n_bytes;
}

static void push_back(struct queue *q, struct record *r, size_t n_bytes)
{
    q->slots[(q->front + q->n) % q->max_records] =
        (struct slot){.rec = r, .n_bytes = n_bytes};
    q->n++;
    q->bytes += n_bytes;
    if (q->consumer_waits)
        pthread_cond_signal(&q->filled);
}

static bool half_empty(const struct queue *q)
{
    return q->n <= q->max_records / 2 &&
           (q->bytes <= q->max_bytes / 2 || q->n == 0);
}

/* Signals a waiting producer when the queue is half empty, so that one signal
 * serves many records. */
static struct record *pop_front(struct queue *q)
{
    struct slot *slot = &q->slots[q->front];
    struct record *r = slot->rec;

    q->front = (q->front + 1) % q->max_records;
    q->n--;
    q->bytes -= slot->n_bytes;
    slot->rec = NULL;
    if (q->producer_waits && half_empty(q))
        pthread_cond_signal(&q->drained);
    return r;
}

bool queue_try_push(struct queue *q, struct record *r)
{
    size_t n_bytes = record_memory(r);
    bool pushed;

    pthread_mutex_lock(&q->mutex);
    pushed = fits(q, n_bytes);
    if (pushed)
        push_back(q, r, n_bytes);
    pthread_mutex_unlock(&q->mutex);
    return pushed;
}

bool queue_push(struct queue *q, struct record *r, int64_t timeout_ms)
{
    struct timespec deadline = timing_deadline(timeout_ms);
    size_t n_bytes = record_memory(r);
    int rc = 0;
    bool pushed;

    pthread_mutex_lock(&q->mutex);
    while (!fits(q, n_bytes) && rc != ETIMEDOUT) {
        q->producer_waits = true;
        rc = timing_wait(&q->drained, &q->mutex, &deadline);
        q->producer_waits = false;
    }
    pushed = fits(q, n_bytes);
    if (pushed)
        push_back(q, r, n_bytes);
    pthread_mutex_unlock(&q->mutex);
    return pushed;
}

bool queue_has_room(struct queue *q)
{
    bool room;

    pthread_mutex_lock(&q->mutex);
    room = half_empty(q);
    pthread_mutex_unlock(&q->mutex);
    return room;
}

double queue_fill(struct queue *q)
{
    double records, bytes;

    pthread_mutex_lock(&q->mutex);
    records = (double)q->n / (double)q->max_records;
    bytes = (double)q->bytes / (double)q->max_bytes;
    pthread_mutex_unlock(&q->mutex);
    return records > bytes ? records : bytes;
}

static void wait_filled(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline;
    int rc = 0;

    if (q->n || q->is_woken)
        return;
    deadline = timing_deadline(timeout_ms);
    while (q->n == 0 && !q->is_woken && rc != ETIMEDOUT) {
        q->consumer_waits = true;
        rc = timing_wait(&q->filled, &q->mutex, &deadline);
        q->consumer_waits = false;
    }
}

size_t queue_pop_many(struct queue *q, struct record **records, size_t max,
                      int64_t timeout_ms)
{
    size_t n = 0;

    pthread_mutex_lock(&q->mutex);
    wait_filled(q, timeout_ms);
    if (q->n == 0)
        q->is_woken = false;
    while (n < max && q->n)
        records[n++] = pop_front(q);
    pthread_mutex_unlock(&q->mutex);
    return n;
}

struct record *queue_pop(struct queue *q, int64_t timeout_ms)
{
    struct record *r = NULL;

    queue_pop_many(q, &r, 1, timeout_ms);
    return r;
}

void queue_wake(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->is_woken = true;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->mutex);
}

void queue_clear(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    while (q->n)
        record_free(pop_front(q));
    pthread_mutex_unlock(&q->mutex);
}

size_t queue_length(struct queue *q)
{
    size_t n;

    pthread_mutex_lock(&q->mutex);
    n = q->n;
    pthread_mutex_unlock(&q->mutex);
    return n;
}
