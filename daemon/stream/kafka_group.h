/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_group.h - membership in the consumer group: assigned partitions, the
 * offset where each continues, and errors.
 *
 *     subscribed --rebalance--> assigned --offsets found--> reading
 *                                 ^ |                          |
 *               the broker is     | v                          v
 *               asked each second +-+              stopped: a gap, another
 *                                                  topic of the same name, or a
 *                                                  group of another store
 *
 * A partition continues at the first of these that is known:
 *   1. the next offset of this process (part->next), after a rebalance or a gap
 *   2. the store's position, if a check finds it valid (kafka_position.h)
 *   3. the start that the mark in the group's commit holds
 *   4. the offset that source.kafka.start gives; it is committed with a mark
 *      before the first record is read
 *
 * Errors become the state of the source instead of return values. RETRYING: the
 * group retries. STOPPED: reading ends until a seek.
 *
 * Use:      kafka_group_open, kafka_group_subscribe; then in each round of the
 *           polling thread kafka_group_assign, kafka_group_pause, a poll of rk,
 *           kafka_group_check_broker; at the end kafka_group_close
 * Owner:    the source; caller's memory, zeroed
 * Threads:  polling, also through librdkafka's callbacks; other threads use rk,
 *           query and the functions of kafka_partitions.h that say "any"
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_GROUP_H
#define MNEME_DAEMON_STREAM_KAFKA_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "daemon/stream/kafka_partitions.h"
#include "daemon/stream/kafka_position.h"
#include "daemon/stream/source_private.h"

enum kafka_link {
    KAFKA_LINK_UP,
    KAFKA_LINK_UNSURE, /* a connection was lost: ask whether a broker answers */
    KAFKA_LINK_DOWN    /* no broker answers */
};

struct kafka_group {
    struct source *source; /* its options and its state */
    const _Atomic bool *stopping;
    rd_kafka_t *rk;
    struct kafka_position_query query;
    struct kafka_partitions parts;

    /* Only kafka_group.c uses the fields below. */
    rd_kafka_topic_partition_list_t *list; /* the group's assignment, or NULL */
    bool needs_assign; /* the offsets of the list are still to be found */
    int64_t retry_ms;  /* time of the next attempt to find them */
    bool is_stopped;
    bool is_paused;
    enum kafka_link link;
    int64_t check_ms;  /* time of the next question whether a broker answers */
    int n_unanswered;  /* such questions in a row */
    bool misses_topic; /* the broker lacks a topic, or denies access to it */
};

/*
 * Creates the consumer, which does not read yet.
 *   servers   address of the embedded broker, or NULL
 *   stopping  while it is true, no partitions are assigned
 *   returns   0 or ERR_INVALID; the caller calls kafka_group_close in both
 * cases
 */
int kafka_group_open(struct kafka_group *g, struct source *source,
                     const char *servers, const _Atomic bool *stopping,
                     struct err *err);

/* Joins the group. Threads: any, before polling starts */
int kafka_group_subscribe(struct kafka_group *g, struct err *err);

/* Closes the consumer after the polling thread has ended.
 *   leave   leaves the group first */
void kafka_group_close(struct kafka_group *g, bool leave);

/* If the assignment has changed, finds the offsets of its partitions and starts
 * to read them. Asks the broker, and waits for the answers. */
void kafka_group_assign(struct kafka_group *g);

/* Continues at other positions. Also ends a stop. */
void kafka_group_set_positions(struct kafka_group *g,
                               const struct source_position *positions,
                               size_t n);

/* Pauses or resumes all partitions. */
void kafka_group_pause(struct kafka_group *g, bool pause);

/* Tells whether messages of the partition may be read. part may be NULL. */
bool kafka_group_is_reading(const struct kafka_group *g,
                            const struct kafka_partition *part);

/* Handles a polled error.
 *   m       not the end of a partition
 *   part    the partition of the error, or NULL */
void kafka_group_handle_error(struct kafka_group *g,
                              const rd_kafka_message_t *m,
                              struct kafka_partition *part);

/* After a lost connection, asks whether a broker answers. */
void kafka_group_check_broker(struct kafka_group *g);

#endif
