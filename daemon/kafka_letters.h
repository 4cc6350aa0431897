/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_letters.h - dead letters: messages that no record could be made of, to
 * the topic source.kafka.dead_letter, as they came and with the reason.
 *
 * The headers are the message's own and mneme.reason, mneme.topic,
 * mneme.partition, mneme.offset. A letter that cannot be sent is logged and
 * not tried again: the record is in the quarantine all the same.
 *
 * Use:      kafka_letters_create, then kafka_letters_send and now and then
 *           kafka_letters_poll, kafka_letters_free
 * Owner:    the source
 * Threads:  polling; kafka_letters_free when it has ended
 */
#ifndef MNEME_DAEMON_KAFKA_LETTERS_H
#define MNEME_DAEMON_KAFKA_LETTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/record.h"

struct kafka_letters; /* fields are in kafka_letters.c */

/*
 * Makes the producer when a topic is configured; *letters stays NULL if not,
 * which is fine with the other functions but kafka_letters_send.
 *   servers    of an embedded broker, or NULL
 *   delivered  counts what the broker has taken
 *   stopping   ends a wait for room
 *   returns    0 or ERR_INVALID
 */
int kafka_letters_create(const struct conf_kafka *conf, const char *servers,
                         _Atomic int64_t *delivered,
                         const _Atomic bool *stopping,
                         struct kafka_letters **letters, struct err *err);

/* r is m's record and has a reason. A full outgoing queue is waited for a
 * while. */
void kafka_letters_send(struct kafka_letters *l, const rd_kafka_message_t *m,
                        const struct record *r);

void kafka_letters_poll(struct kafka_letters *l); /* counts; does not wait */
void kafka_letters_free(struct kafka_letters *l); /* sends what is left */

#endif
