/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_group.h - membership in the consumer group: which partitions are ours,
 * where each goes on, and what keeps us from reading them.
 *
 *     subscribed --group--> assigned --place--> reading
 *                              ^ |                 |
 *            broker is asked   | v                 v
 *            again each second +-+             halted: a gap, another topic,
 *                                              another store's group
 *
 * Where a partition goes on:
 *   1. where this process left it (part->next), after a rebalance or a gap
 *   2. the store's position, after it has been checked (kafka_place.h)
 *   3. where this store began to read it, from the mark in the group's commit
 *   4. what source.kafka.start says, which then is committed with a mark before
 *      the first record is read
 *
 * Errors are no return values here: they become the source's state, RETRYING
 * for what mends by itself, STOPPED until a seek for what does not.
 *
 * Use:      kafka_group_open, kafka_group_subscribe; then in each round of the
 *           polling thread kafka_group_try, kafka_group_pause, a poll of rk,
 *           kafka_group_look_for_broker; kafka_group_close
 * Owner:    the source; caller's memory, zeroed
 * Threads:  polling, also through librdkafka's callbacks; others use rk, place
 *           and what kafka_parts.h lets them
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_GROUP_H
#define MNEME_DAEMON_STREAM_KAFKA_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "daemon/stream/kafka_parts.h"
#include "daemon/stream/kafka_place.h"
#include "daemon/stream/source_private.h"

enum kafka_link {
    KAFKA_LINK_UP,
    KAFKA_LINK_DOUBTED, /* a connection was lost: ask */
    KAFKA_LINK_DOWN     /* nobody answers */
};

struct kafka_group {
    struct source *source;        /* its options, its state */
    const _Atomic bool *stopping; /* take no more partitions */
    rd_kafka_t *rk;
    struct kafka_place place;
    struct kafka_parts parts;

    /* Private. */
    rd_kafka_topic_partition_list_t *list; /* what we are to read, or NULL */
    bool needs_assign;
    int64_t try_at_ms; /* not before */
    bool is_halted;
    bool is_paused;   /* what librdkafka has been told */
    enum kafka_link link;
    int64_t look_at_ms; /* for a broker, not before */
    int n_unanswered;   /* in a row; the next one may have to connect first */
    bool wants_topic; /* one that is not there */
};

/*
 * Makes the consumer, which does not read yet.
 *   servers   of an embedded broker, or NULL
 *   returns   0 or ERR_INVALID; kafka_group_close is due in both cases
 */
int kafka_group_open(struct kafka_group *g, struct source *source,
                     const char *servers, const _Atomic bool *stopping,
                     struct err *err);

/* Joins the group. Threads: any, before polling starts. */
int kafka_group_subscribe(struct kafka_group *g, struct err *err);

/* Leaves it when leave is set: the polling thread has ended. */
void kafka_group_close(struct kafka_group *g, bool leave);

/* Takes the partitions that the group gave, when there is something to do. */
void kafka_group_try(struct kafka_group *g);

/* Goes on from other positions, also when it was halted. */
void kafka_group_set_positions(struct kafka_group *g,
                               const struct source_position *positions,
                               size_t n);

/* Pauses or resumes all partitions, when that is a change. */
void kafka_group_pause(struct kafka_group *g, bool pause);

/* Are messages of the partition to be taken? part may be NULL. */
bool kafka_group_is_reading(const struct kafka_group *g,
                            const struct kafka_part *part);

/* An error that was polled, of the partition if it is of one. The end of a
 * partition is none. */
void kafka_group_take_error(struct kafka_group *g, const rd_kafka_message_t *m,
                            struct kafka_part *part);

/* When a connection was lost: is a broker there? */
void kafka_group_look_for_broker(struct kafka_group *g);

#endif
