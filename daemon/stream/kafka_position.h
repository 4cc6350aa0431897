/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_position.h - asks the broker for the first offset of a partition, and
 * whether a stored position still refers to the same records.
 *
 * Each question waits at most KAFKA_POSITION_WAIT_MS. ERR_AGAIN means that the
 * broker did not answer.
 *
 * Threads: any, also while another thread polls the handle
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_POSITION_H
#define MNEME_DAEMON_STREAM_KAFKA_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/stream/source.h"

#define KAFKA_POSITION_WAIT_MS 4000

struct kafka_position_query {
    rd_kafka_t *rk;
    const struct conf_kafka *conf;
    const char *servers; /* address of the embedded broker, or NULL */
};

/* The broker's address, for messages. */
const char *kafka_position_servers(const struct kafka_position_query *query);

/*
 * Finds the offset where a partition without a position begins.
 *   is_new   the partition was created after this store began to read its
 *            topic: it begins at its first offset. Otherwise
 *            source.kafka.start decides.
 */
int kafka_position_start(const struct kafka_position_query *query,
                         const char *topic, int32_t partition, bool is_new,
                         int64_t *offset, struct err *err);

/*
 * Checks that next_offset can be read, and that the last learned record is
 * unchanged.
 *   returns  0, or ERR_STATE with the reason; *nearest is then the offset where
 *            on_gap: skip continues
 */
int kafka_position_check(const struct kafka_position_query *query,
                         const struct source_position *at, int64_t *nearest,
                         struct err *err);

/* A commit's metadata: the store's id, and the offset where the store began to
 * read the partition. The caller frees it. */
char *kafka_position_mark(const char *store_id, int64_t start);

/* Reads such metadata. False: another program wrote it. A store id that is too
 * long is cut. */
bool kafka_position_read_mark(const void *mark, size_t n_bytes,
                              char store_id[80], int64_t *start);

#endif
