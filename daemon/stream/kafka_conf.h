/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_conf.h - librdkafka's configuration: the user's properties and mneme's.
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
 * Makes the configuration of a consumer or a producer. kafka_conf_open takes it
 * over.
 *   servers   replaces bootstrap.servers, or NULL
 *   instance  the group.instance.id, unless the user gives one. NULL: the
 *             handle does not join the group.
 *   returns   NULL with ERR_INVALID
 */
rd_kafka_conf_t *kafka_conf_create(const struct conf_kafka *conf,
                                   rd_kafka_type_t type, const char *servers,
                                   const char *instance, struct err *err);

/* Creates a handle. Frees the configuration also when it returns NULL. */
rd_kafka_t *kafka_conf_open(rd_kafka_type_t type, rd_kafka_conf_t *conf,
                            struct err *err);

/*
 * Destroys a handle, and waits at most CLOSE_MS. librdkafka 2.0.2 can wait
 * without limit for a partition whose topic was deleted. After CLOSE_MS the
 * handle leaks, which is harmless since the process is about to end.
 */
void kafka_conf_close(rd_kafka_t *rk);

/* Returns the value of a property; NULL: the user gave none. */
const char *kafka_conf_get(const struct conf_kafka *conf, const char *name);

/* Tells whether bootstrap.servers is `embedded`. */
bool kafka_conf_is_embedded(const struct conf_kafka *conf);

/* Logs librdkafka's log lines at level debug. Its errors arrive in another way,
 * and are logged once. */
void kafka_conf_log(const rd_kafka_t *rk, int level, const char *facility,
                    const char *text);

#endif
