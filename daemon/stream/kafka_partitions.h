/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_partitions.h - the partitions that a Kafka source has seen: their
 * offsets, and the group's commits.
 *
 * A commit carries a mark (kafka_position.h): the store's id, and the offset
 * where the store began to read the partition. The id shows when a group
 * belongs to another store. The offset keeps the beginning of a partition of
 * which no version has a position yet.
 *
 * Owner:    the source; a partition and its topic's name live as long as the
 *           table, since records point to them; none is ever removed
 * Threads:  the polling thread, unless a function says "any". The polling
 *           thread writes under the mutex and reads without it. No thread waits
 *           for the broker while it holds the mutex.
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_PARTITIONS_H
#define MNEME_DAEMON_STREAM_KAFKA_PARTITIONS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "daemon/stream/kafka_position.h"
#include "daemon/stream/source.h"

struct kafka_partition {
    char *topic;
    int32_t partition;
    bool has_position; /* Locks: the table's mutex, also for the next two */
    struct source_position position; /* from the store */
    bool is_assigned;
    _Atomic int64_t start;     /* where this store began to read; -1: unknown */
    _Atomic int64_t resume;    /* where it continued after a gap; -1: no gap */
    _Atomic int64_t next, end; /* -1: unknown */
    /* Only the polling thread uses the fields below. */
    int64_t last_read; /* offset; -1: none since the positions were set */
    uint64_t last_hash;
    bool was_listed;       /* by the group's last assignment */
    bool needs_check;      /* does next still refer to the same records? */
    bool may_be_recreated; /* the topic or the group's commit was missing: a
                              deleted topic takes its commits along */
};

struct kafka_partitions {
    const struct conf_strings *topics; /* from the configuration */
    const char *store_id;
    pthread_mutex_t mutex;
    struct kafka_partition **items;
    size_t n, capacity;
};

/* Both pointers outlive the table. */
void kafka_partitions_init(struct kafka_partitions *parts,
                           const struct conf_strings *topics,
                           const char *store_id);
void kafka_partitions_release(struct kafka_partitions *parts);

/* NULL: not in the table. Threads: polling, and any that holds the mutex */
struct kafka_partition *
kafka_partitions_find(const struct kafka_partitions *parts, const char *topic,
                      int32_t partition);

/* Finds a partition, or adds it. */
struct kafka_partition *kafka_partitions_get(struct kafka_partitions *parts,
                                             const char *topic,
                                             int32_t partition);

/* Tells whether this store has begun to read the topic. Then a partition
 * without a position is a new one. */
bool kafka_partitions_has_begun(const struct kafka_partitions *parts,
                                const char *topic);

/* Notes that the broker does not know the topic. NULL: any topic. */
void kafka_partitions_miss_topic(struct kafka_partitions *parts,
                                 const char *topic);

/* Notes the list of the group's assignment. A partition that was not in the
 * last list needs a check. */
void kafka_partitions_set_listed(struct kafka_partitions *parts,
                                 const rd_kafka_topic_partition_list_t *list);

/* Replaces all positions by the store's, and forgets the next offsets. Ignores
 * topics that are not configured. */
void kafka_partitions_set_positions(struct kafka_partitions *parts,
                                    const struct source_position *positions,
                                    size_t n);

/* Notes which partitions are being read; NULL: none. The table has all of
 * them. */
void kafka_partitions_set_assigned(struct kafka_partitions *parts,
                                   const rd_kafka_topic_partition_list_t *list);

/*
 * Returns the positions of configured topics, and the starts of the partitions
 * that have no position among them. The caller frees the array, but not the
 * topics.
 *   n        in and out
 * Threads: any
 */
struct source_position *
kafka_partitions_complete(struct kafka_partitions *parts,
                          const struct source_position *positions, size_t *n);

/* Implements source_get_partitions. Threads: any */
size_t kafka_partitions_get_rows(struct kafka_partitions *parts, rd_kafka_t *rk,
                                 struct source_partition **rows);

/* --- commits ------------------------------------------------------------ */

/*
 * Reads the group's commits of these partitions, and takes the starts from
 * their marks.
 *   returns  0; ERR_AGAIN: no answer; ERR_STATE: a partition belongs to another
 *            store
 */
int kafka_partitions_read_marks(struct kafka_partitions *parts,
                                const struct kafka_position_query *query,
                                const rd_kafka_topic_partition_list_t *list,
                                struct err *err);

/* Adds a commit of the offset to the list, with a mark of the start. */
void kafka_partitions_add_commit(const struct kafka_partitions *parts,
                                 const struct kafka_partition *part,
                                 int64_t start, int64_t offset,
                                 rd_kafka_topic_partition_list_t *list);

/* Commits the starts and waits for the answer. ERR_AGAIN: the commit failed. */
int kafka_partitions_commit_starts(struct kafka_partitions *parts,
                                   rd_kafka_t *rk,
                                   rd_kafka_topic_partition_list_t *starts,
                                   struct err *err);

/* Commits a version's positions of the assigned partitions, without waiting.
 * Threads: any */
void kafka_partitions_commit_published(struct kafka_partitions *parts,
                                       rd_kafka_t *rk,
                                       const struct source_position *positions,
                                       size_t n);

#endif
