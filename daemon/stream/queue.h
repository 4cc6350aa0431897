/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - the bounded queue between the source and the trainer.
 *
 * It is bounded in records and in bytes. The Kafka thread must keep polling, so
 * it uses queue_try_push, and pauses its partitions when the queue is full. The
 * file thread waits in queue_push. The trainer waits in queue_pop also for
 * requests of other threads: they call queue_wake.
 *
 * Threads: one producer, one consumer; any may call queue_wake
 */
#ifndef MNEME_DAEMON_STREAM_QUEUE_H
#define MNEME_DAEMON_STREAM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/stream/record.h"

struct queue;

struct queue *queue_create(size_t max_records, size_t max_bytes);
void queue_free(struct queue *q); /* also frees its records */

/* Takes the record over, or returns false when there is no room. An empty queue
 * has room for any record, even one larger than max_bytes. */
bool queue_try_push(struct queue *q, struct record *r);

/* Waits for room. False after timeout_ms: the caller keeps the record. */
bool queue_push(struct queue *q, struct record *r, int64_t timeout_ms);

/* True when the queue is at most half full: a producer may resume. */
bool queue_has_room(struct queue *q);

/* Returns how full the queue is, as a fraction of the tighter limit. A single
 * large record may give more than 1. */
double queue_fill(struct queue *q);

/* Returns the next record, or NULL after timeout_ms or a wake. */
struct record *queue_pop(struct queue *q, int64_t timeout_ms);

/* Pops up to max records under one lock. Returns their number: 0 after
 * timeout_ms or a wake. */
size_t queue_pop_many(struct queue *q, struct record **records, size_t max,
                      int64_t timeout_ms);

/* Ends the present wait in queue_pop, or the next one. */
void queue_wake(struct queue *q);

/* Frees all records in the queue, for a rollback. */
void queue_clear(struct queue *q);

size_t queue_length(struct queue *q);

#endif
