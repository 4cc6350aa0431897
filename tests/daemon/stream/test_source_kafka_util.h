/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_source_kafka_util.h - a Kafka source, and librdkafka's mock cluster in
 * this process for it to read from.
 *
 * A new group waits three seconds for its members there, so a program starts
 * all its sources before its first test where it can: each has a topic and a
 * group of its own and is found assigned.
 *
 * What goes wrong fails the test that is running.
 */
#ifndef MNEME_TESTS_DAEMON_STREAM_TEST_SOURCE_KAFKA_UTIL_H
#define MNEME_TESTS_DAEMON_STREAM_TEST_SOURCE_KAFKA_UTIL_H

#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "conf/conf.h"
#include "daemon/stream/queue.h"
#include "daemon/stream/source.h"

#define WAIT_MS 60000
#define MAX_BYTES 64 /* of a record */

extern rd_kafka_t *producer;
extern rd_kafka_mock_cluster_t *cluster; /* brokers of ids 1, 2 */
extern char dir[];                       /* for all of them */

/* Before the first test, with "1" or more brokers, and after the last. Return
 * 0 or -1. */
int start_cluster(const char *n_brokers);
int stop_cluster(void);

/* --- a source ----------------------------------------------------------- */

struct fixture {
    struct conf conf;
    char *topic_name;
    char topic[32], group[32];
    const char *store_id;
    struct conf_property properties[5];
    struct queue *queue;
    struct source *source;
    struct source_position position; /* stored */
    size_t n_positions;
    int64_t epoch;
};

/* Fills *fx, with topic-N and group-N of the number. */
void prepare(struct fixture *fx, int number, size_t queue_size);
void create_topic(const struct fixture *fx, int n_partitions);

/* fx->position is that of partition 0. */
void store_position(struct fixture *fx, int64_t next, const char *last);

void set_property(struct fixture *fx, const char *name, const char *value);
void begin(struct fixture *fx);
void close_source(struct fixture *fx); /* NULLs its source and queue */

/* A position: last is the value before it, NULL: not known. */
struct source_position at(const struct fixture *fx, int32_t partition,
                          int64_t next, const char *last);

/* --- what is in the topics ---------------------------------------------- */

void produce(const char *topic, int32_t partition, const char *value,
             size_t n_bytes, const char *domain);

/* "first", ... "first + n - 1" in each partition. */
void produce_numbers(const char *topic, int n_partitions, int first, int n);

/* 120 large records, more than the mock keeps of a partition: the first
 * offsets are gone. */
void overflow(const char *topic);

/* What the group has committed, by a client that is no member. store_id is
 * empty without a mark. */
int64_t committed(const struct fixture *fx, int32_t partition,
                  char store_id[80], int64_t *start);

/* As another store's daemon would have left it. */
void commit_as(const struct fixture *fx, const char *store_id);

/* --- what comes of them ------------------------------------------------- */

struct record *expect(struct fixture *fx, int32_t partition, int64_t offset);

/* A record whose text is its offset. */
void expect_number(struct fixture *fx, int32_t partition, int64_t offset);

void expect_state(struct fixture *fx, enum source_state state,
                  const char *words);

/* Takes n records of any partitions: each must be the next of its partition,
 * next[partition], which moves on. */
void expect_in_order(struct fixture *fx, int64_t *next, int n);

#endif
