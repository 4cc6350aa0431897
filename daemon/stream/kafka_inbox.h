/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_inbox.h - from a polled message to a record in the queue.
 *
 * The queue may be full while polling must go on, so that the group never
 * evicts us: after some patience records are held here, in order, and the
 * owner pauses its partitions until kafka_inbox_is_holding says no.
 *
 * part->next tells which offsets have been taken: a message below it has been
 * had already (librdkafka reads again what a pause made it drop).
 *
 * Use:      kafka_inbox_restart before the first message and at each epoch;
 *           then kafka_inbox_take, kafka_inbox_reach_end, kafka_inbox_push
 * Owner:    the source; caller's memory, zeroed
 * Threads:  polling; kafka_inbox_release when it has ended
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_INBOX_H
#define MNEME_DAEMON_STREAM_KAFKA_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "daemon/stream/kafka_letters.h"
#include "daemon/stream/kafka_parts.h"
#include "daemon/stream/source_private.h"

struct kafka_inbox {
    /* Set by the owner. */
    struct source *source;         /* its options, its counters */
    struct kafka_letters *letters; /* or NULL */
    const _Atomic bool *stopping, *has_order; /* either ends a wait for room */

    /* Private. */
    int64_t epoch;
    struct record **held;
    size_t n_held, capacity;
};

/* Drops what is held; what comes is of this epoch. */
void kafka_inbox_restart(struct kafka_inbox *in, int64_t epoch);
void kafka_inbox_release(struct kafka_inbox *in);

bool kafka_inbox_is_holding(const struct kafka_inbox *in);

/* Makes a record of the message, and a dead letter when there is something
 * wrong with it; part->next moves on. May wait a second for room. */
void kafka_inbox_take(struct kafka_inbox *in, const rd_kafka_message_t *m,
                      struct kafka_part *part);

/* The partition has been read to its end: offsets before it that hold nothing
 * for us (marks of transactions) become a hole. */
void kafka_inbox_reach_end(struct kafka_inbox *in, int64_t end,
                           struct kafka_part *part);

/* Hands on what is held as soon as the queue has drained to half. */
void kafka_inbox_push(struct kafka_inbox *in);

#endif
