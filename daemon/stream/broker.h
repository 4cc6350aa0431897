/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.h - a Kafka broker inside the daemon, for trials.
 *
 * This is librdkafka's mock broker. It listens on loopback for any client. It
 * keeps records in memory, and of each partition only a bounded tail. All
 * records are lost when the process ends.
 *
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_STREAM_BROKER_H
#define MNEME_DAEMON_STREAM_BROKER_H

#include <stddef.h>

#include "base/err.h"

struct broker;

/* Starts a broker with these topics, which have one partition each. Writes its
 * address to data_dir/kafka.addr. ERR_STATE: this build has no mock broker. */
int broker_start(const char *const *topics, size_t n, const char *data_dir,
                 struct broker **broker, struct err *err);
const char *broker_address(const struct broker *b); /* "127.0.0.1:40123" */

/* Also removes kafka.addr. NULL is fine. */
void broker_stop(struct broker *b);

#endif
