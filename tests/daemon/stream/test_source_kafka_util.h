/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_source_kafka_util.h - a Kafka source, with librdkafka's mock cluster in
 * the same process.
 *
 * The mock cluster waits three seconds for the members of a new group. So a
 * program starts its sources before its first test where it can, each with its
 * own topic and group.
 *
 * An unexpected result fails the running test.
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
#define MAX_BYTES 64 /* source.max_record_bytes */

extern rd_kafka_t *producer;
extern rd_kafka_mock_cluster_t *cluster; /* broker ids: 1, 2 */
extern char dir[];                       /* data directory of all sources */

/* Called before the first test and after the last. Return 0 or -1.
 *   n_brokers   "1" or more */
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

/* Fills *fx, with the topic topic-NUMBER and the group group-NUMBER. */
void prepare(struct fixture *fx, int number, size_t queue_size);
void create_topic(const struct fixture *fx, int n_partitions);

/* Sets fx->position, for partition 0. */
void store_position(struct fixture *fx, int64_t next, const char *last);

void set_property(struct fixture *fx, const char *name, const char *value);
void begin(struct fixture *fx);
void close_source(struct fixture *fx); /* sets source and queue to NULL */

/* Returns a position.
 *   last   value of the last learned record; NULL: none */
struct source_position at(const struct fixture *fx, int32_t partition,
                          int64_t next, const char *last);

/* --- messages ----------------------------------------------------------- */

void produce(const char *topic, int32_t partition, const char *value,
             size_t n_bytes, const char *domain);

/* Sends the numbers first, ..., first + n - 1 to each partition. */
void produce_numbers(const char *topic, int n_partitions, int first, int n);

/* Sends 120 large records. The mock cluster keeps fewer, and drops the first.
 */
void overflow(const char *topic);

/* Reads the group's commit as a client that is no member. store_id is empty if
 * the commit has no mark. */
int64_t committed(const struct fixture *fx, int32_t partition,
                  char store_id[80], int64_t *start);

/* Commits like the daemon of another store. */
void commit_as(const struct fixture *fx, const char *store_id);

/* --- expected records --------------------------------------------------- */

struct record *expect(struct fixture *fx, int32_t partition, int64_t offset);

/* Expects a record whose text is its offset. */
void expect_number(struct fixture *fx, int32_t partition, int64_t offset);

void expect_state(struct fixture *fx, enum source_state state,
                  const char *words);

/* Pops n records of any partitions. Each must have the offset next[partition],
 * which then advances. */
void expect_in_order(struct fixture *fx, int64_t *next, int n);

#endif
