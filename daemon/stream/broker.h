/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.h - a Kafka broker inside the daemon, for a trial.
 *
 * It is librdkafka's: one broker on loopback that any client can reach, with
 * its log in memory. What it holds is gone with the process, and of each
 * partition it keeps only a bounded tail.
 *
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_STREAM_BROKER_H
#define MNEME_DAEMON_STREAM_BROKER_H

#include <stddef.h>

#include "base/err.h"

struct broker;

/* Starts it with these topics, a partition each, and writes
 * data_dir/kafka.addr. ERR_STATE when this build has none. */
int broker_start(const char *const *topics, size_t n, const char *data_dir,
                 struct broker **broker, struct err *err);
const char *broker_address(const struct broker *b); /* "127.0.0.1:40123" */

/* NULL is fine. Removes kafka.addr. */
void broker_stop(struct broker *b);

#endif
