/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_place.h - where in a partition to begin, and whether a stored position
 * still means what it meant.
 *
 * All of these ask the broker and wait KAFKA_PLACE_WAIT_MS at most for each
 * answer; ERR_AGAIN: there was none.
 *
 * Threads: any, also while another thread polls the handle
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_PLACE_H
#define MNEME_DAEMON_STREAM_KAFKA_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/stream/source.h"

#define KAFKA_PLACE_WAIT_MS 4000

struct kafka_place {
    rd_kafka_t *rk;
    const struct conf_kafka *conf;
    const char *servers; /* of an embedded broker, or NULL */
};

/* What messages call the broker: its address, or what the user gave. */
const char *kafka_place_servers(const struct kafka_place *place);

/* Where source.kafka.start says. anew: there are positions of other
 * partitions already, so that this one has appeared since: its beginning. */
int kafka_place_start(const struct kafka_place *place, const char *topic,
                      int32_t partition, bool anew, int64_t *offset,
                      struct err *err);

/*
 * Can reading go on at next_offset, and is it still the same topic?
 *   returns  0; ERR_STATE when not, with what is wrong, and in *nearest where
 *            on_gap: skip goes on
 */
int kafka_place_check(const struct kafka_place *place,
                      const struct source_position *at, int64_t *nearest,
                      struct err *err);

/* What goes with a group commit: whose it is, and where that store began. */
char *kafka_place_mark(const char *store_id, int64_t start); /* free() */

/* Takes a mark apart. False: none of ours. store_id is cut to fit. */
bool kafka_place_read_mark(const void *mark, size_t n_bytes, char store_id[80],
                           int64_t *start);

#endif
