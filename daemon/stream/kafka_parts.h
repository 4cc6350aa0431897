/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_parts.h - the partitions that a Kafka source has met: where each goes
 * on, where this store began it, and what the group keeps of that.
 *
 * A commit carries a mark (kafka_place.h), the store's id and where it began.
 * So a group that is another store's is noticed, and a partition of which
 * nothing was published yet still begins where it began.
 *
 * Owner:    the source; a part and its topic's name live as long as the table,
 *           since records point to them, and parts are only added
 * Threads:  the polling thread adds and writes; it reads without the mutex.
 *           Others call what says so, which takes it. It is never held while
 *           the broker is asked.
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_PARTS_H
#define MNEME_DAEMON_STREAM_KAFKA_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "daemon/stream/kafka_place.h"
#include "daemon/stream/source.h"

struct kafka_part {
    char *topic;
    int32_t partition;
    bool has_position; /* Locks: the table's mutex, and the next two */
    struct source_position position; /* the store's; topic is ours */
    bool is_assigned;
    _Atomic int64_t start;     /* where this store began, -1: not known */
    _Atomic int64_t went_on;   /* after a gap, -1: there was none */
    _Atomic int64_t next, end; /* -1: not known */
    /* The polling thread's: */
    int64_t last_read; /* offset, -1: none since the positions were set */
    uint64_t last_hash;
    bool was_listed;   /* in the group's last assignment */
    bool is_doubted;   /* look again whether next still means the same */
    bool is_gone;      /* the topic was not there, or the group's commit has
                          gone, as it does with a topic */
};

struct kafka_parts {
    const struct conf_strings *topics; /* that are configured */
    const char *store_id;
    pthread_mutex_t mutex;
    struct kafka_part **items;
    size_t n, capacity;
};

/* Both pointers outlive the table. */
void kafka_parts_init(struct kafka_parts *parts,
                      const struct conf_strings *topics, const char *store_id);
void kafka_parts_release(struct kafka_parts *parts);

/* Threads: polling; any with the mutex. */
struct kafka_part *kafka_parts_find(const struct kafka_parts *parts,
                                    const char *topic, int32_t partition);

/* The same, made when it is new. Threads: polling. */
struct kafka_part *kafka_parts_get(struct kafka_parts *parts,
                                   const char *topic, int32_t partition);

/* Is anything known of where this store reads the topic? Then a partition of
 * which nothing is known has appeared since. Threads: polling. */
bool kafka_parts_has_begun(const struct kafka_parts *parts,
                           const char *topic);

/* The topic, NULL: any, is not there. Threads: polling. */
void kafka_parts_doubt(struct kafka_parts *parts, const char *topic);

/* What is new in the list of the group's assignment is doubted. All in it have
 * been met. Threads: polling. */
void kafka_parts_set_listed(struct kafka_parts *parts,
                            const rd_kafka_topic_partition_list_t *list);

/* Takes the store's positions; what was known of next offsets is forgotten.
 * Topics that are not configured any more are left out. Threads: polling. */
void kafka_parts_set_positions(struct kafka_parts *parts,
                               const struct source_position *positions,
                               size_t n);

/* These are being read; NULL: none is. All in the list have been met.
 * Threads: polling. */
void kafka_parts_set_assigned(struct kafka_parts *parts,
                              const rd_kafka_topic_partition_list_t *list);

/* The positions, less those of topics that are not configured, and the starts
 * of partitions that they do not name. To be freed, but not the topics; *n is
 * in and out. Threads: any. */
struct source_position *
kafka_parts_complete(struct kafka_parts *parts,
                     const struct source_position *positions, size_t *n);

/* For source_get_partitions. Threads: any. */
size_t kafka_parts_get_rows(struct kafka_parts *parts, rd_kafka_t *rk,
                            struct source_partition **rows);

/* --- commits ------------------------------------------------------------ */

/*
 * Takes the starts from the marks of the group's commits, and is_gone from
 * those that are not there.
 *   returns  0; ERR_AGAIN: no answer; ERR_STATE: a partition of the list
 *            belongs to another store
 * Threads: polling.
 */
int kafka_parts_read_marks(struct kafka_parts *parts,
                           const struct kafka_place *place,
                           const rd_kafka_topic_partition_list_t *list,
                           struct err *err);

/* Adds a commit of this offset to the list, with the mark of a start. */
void kafka_parts_add_commit(const struct kafka_parts *parts,
                            const struct kafka_part *part, int64_t start,
                            int64_t offset,
                            rd_kafka_topic_partition_list_t *list);

/* Forgets starts that have just been resolved: they are to be again.
 * Threads: polling. */
void kafka_parts_drop_starts(struct kafka_parts *parts,
                             const rd_kafka_topic_partition_list_t *starts);

/* Commits them, and waits for the answer; then they are known. ERR_AGAIN: they
 * are not written down, and so dropped. Threads: polling. */
int kafka_parts_commit_starts(struct kafka_parts *parts, rd_kafka_t *rk,
                              rd_kafka_topic_partition_list_t *starts,
                              struct err *err);

/* Commits what a version holds, of the partitions that are ours now, and does
 * not wait. Threads: any. */
void kafka_parts_commit_published(struct kafka_parts *parts, rd_kafka_t *rk,
                                  const struct source_position *positions,
                                  size_t n);

#endif
