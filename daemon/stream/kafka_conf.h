/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_conf.h - the user's properties and our own, as librdkafka takes them.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_CONF_H
#define MNEME_DAEMON_STREAM_KAFKA_CONF_H

#include <stdbool.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/conf.h"

/*
 * A configuration for a consumer or a producer, owned by the caller until a
 * handle takes it.
 *   servers   instead of bootstrap.servers, or NULL
 *   instance  group.instance.id where the user gives none, or NULL: no member
 *             of the group (for looking things up)
 *   returns   NULL with ERR_INVALID
 */
rd_kafka_conf_t *kafka_conf_create(const struct conf_kafka *conf,
                                   rd_kafka_type_t type, const char *servers,
                                   const char *instance, struct err *err);

/* A handle from a configuration, which is gone in both cases. */
rd_kafka_t *kafka_conf_open(rd_kafka_type_t type, rd_kafka_conf_t *conf,
                            struct err *err);

/*
 * Ends a handle, and waits CLOSE_MS for that at most: librdkafka 2.0.2 can wait
 * for ever for a partition whose topic was deleted. Then it is left as it is,
 * which is no matter to a process that is about to end.
 */
void kafka_conf_close(rd_kafka_t *rk);

/* The value of a property, or NULL when the user gave none. */
const char *kafka_conf_get(const struct conf_kafka *conf, const char *name);

/* bootstrap.servers is `embedded`. */
bool kafka_conf_is_embedded(const struct conf_kafka *conf);

/* librdkafka's own log lines are for debugging: what matters of them comes as
 * errors, and is logged once. */
void kafka_conf_log(const rd_kafka_t *rk, int level, const char *facility,
                    const char *text);

#endif
