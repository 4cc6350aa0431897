/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - the bounded queue between the source and the trainer.
 *
 * Bounded in records and in bytes. The Kafka thread must go on polling, so it
 * tries and pauses its partitions when there is no room; a file's thread
 * waits. The trainer also waits here for anything else that wants it:
 * queue_wake ends its wait.
 *
 * Threads: one producer, one consumer, anyone wakes
 */
#ifndef MNEME_DAEMON_STREAM_QUEUE_H
#define MNEME_DAEMON_STREAM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/stream/record.h"

struct queue;

struct queue *queue_create(size_t max_records, size_t max_bytes);
void queue_free(struct queue *q); /* and the records in it */

/* Takes the record, or returns false when there is no room. One record larger
 * than all of max_bytes is let in when the queue is empty. */
bool queue_try_push(struct queue *q, struct record *r);

/* Waits for room; false after timeout_ms or when the queue is closed: the
 * record stays the caller's. */
bool queue_push(struct queue *q, struct record *r, int64_t timeout_ms);

/* True when it is at most half full: time to resume. */
bool queue_has_room(struct queue *q);

/* How full it is, 0 to 1 (a single large record may pass 1): the measure of
 * being behind. */
double queue_fill(struct queue *q);

/* The next record, or NULL after timeout_ms or a wake. */
struct record *queue_pop(struct queue *q, int64_t timeout_ms);

/* The same for up to max records at once, with one lock: their number, 0 after
 * timeout_ms or a wake. */
size_t queue_pop_many(struct queue *q, struct record **records, size_t max,
                      int64_t timeout_ms);

/* Ends a present or the next wait in queue_pop. */
void queue_wake(struct queue *q);

/* Drops everything in it (a rollback). */
void queue_clear(struct queue *q);

/* Pushes fail from now on. */
void queue_close(struct queue *q);

size_t queue_length(struct queue *q);

#endif
