/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.h - moves records from the source and from the quarantine to intake.
 *
 * The source's records come through the queue. Released records come from the
 * store (stream/released_records.h), and are taken first. A rollback that moves
 * the source begins a new epoch: records of an older epoch are dropped.
 *
 * Owner:   the trainer
 * Threads: trainer; inbox_init and inbox_release main
 */
#ifndef MNEME_DAEMON_TRAIN_INBOX_H
#define MNEME_DAEMON_TRAIN_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/stream/queue.h"
#include "daemon/stream/source.h"
#include "daemon/train/learning.h"

#define INBOX_MAX 64 /* records that leave the queue under one lock */

struct inbox {
    struct learning *learning;
    struct queue *queue;
    struct source *source;
    int64_t epoch;     /* of the source */
    int64_t record_ms; /* monotonic: when the newest record arrived */
    bool ended;        /* the source has no more records for now */
    bool end_is_new;   /* the log has no summary of this end yet */
    bool meets_tombstone; /* the next record is one; see inbox_fill */
    bool check_releases;  /* the store may hold released records to read */
    int64_t next_release; /* the first to read; -1: the learning position */
    struct record *records[INBOX_MAX]; /* from the queue, not in intake yet */
    size_t n, next;
    struct record_maker maker; /* makes released records */
};

void inbox_init(struct inbox *b, struct learning *learning,
                struct queue *queue, struct source *source);
void inbox_release(struct inbox *b);

/* Returns the source's next record, which the caller owns. NULL: none came
 * within wait_ms, or queue_wake was called. Sets `ended`. */
struct record *inbox_next(struct inbox *b, int64_t wait_ms);

/* Gives a record to intake. Errors as intake_add. */
int inbox_add(struct inbox *b, struct record *rec, struct err *err);

/* Gives records to intake until it has a full batch. Waits a moment when there
 * are none. Stops with meets_tombstone before a record that forgets others, so
 * that no version's position passes it before the caller has forgotten them and
 * set has_forgotten. *added: intake has been given at least one record. */
int inbox_fill(struct inbox *b, bool *added, struct err *err);

/* The records from the queue that intake does not have yet, from the next one
 * on: look ahead for tombstones. */
struct record **inbox_ahead(struct inbox *b, size_t *n);

/* True when records of the source wait that intake does not have yet. */
bool inbox_has_records(const struct inbox *b);

/* True when at_end is `exit`, the source has stopped and all its records have
 * been taken. *health tells why it stopped. */
bool inbox_has_stopped(const struct inbox *b, struct source_health *health);

/* Returns the id of the first released record that has not been read. */
int64_t inbox_next_release(struct inbox *b);

/* After a rollback. skip: records that were read are not read again. */
void inbox_rolled_back(struct inbox *b, bool skip);

#endif
