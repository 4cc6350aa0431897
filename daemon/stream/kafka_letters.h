/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_letters.h - dead letters: messages that no record could be made of, to
 * the topic source.kafka.dead_letter, as they came and with the reason.
 *
 * The headers are the message's own and mneme.reason, mneme.topic,
 * mneme.partition, mneme.offset. A letter that cannot be delivered (the topic
 * is missing, or the broker refuses it) waits and is sent again: after a
 * second, then after twice as long each time, up to 10 s. Letters that still
 * wait when the process ends are lost; their records are in the quarantine.
 *
 * Each letter counts as delivered, failed or waiting. It fails when it is too
 * large for its topic, when KAFKA_LETTERS_BYTES wait already, or at the end.
 *
 * Use:      kafka_letters_create, then kafka_letters_send and now and then
 *           kafka_letters_poll, kafka_letters_free
 * Owner:    the source
 * Threads:  polling; kafka_letters_free when it has ended
 */
#ifndef MNEME_DAEMON_STREAM_KAFKA_LETTERS_H
#define MNEME_DAEMON_STREAM_KAFKA_LETTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/stream/record.h"
#include "daemon/stream/source_private.h"

#define KAFKA_LETTERS_BYTES (16 << 20) /* of letters that wait, at most */

struct kafka_letters; /* fields are in kafka_letters.c */

/*
 * Makes the producer when a topic is configured; *letters stays NULL if not,
 * which is fine with the other functions but kafka_letters_send.
 *   servers    of an embedded broker, or NULL
 *   counts     of letters, kept up to date
 *   stopping   ends a wait for room
 *   returns    0 or ERR_INVALID
 */
int kafka_letters_create(const struct conf_kafka *conf, const char *servers,
                         struct source_letters *counts,
                         const _Atomic bool *stopping,
                         struct kafka_letters **letters, struct err *err);

/* r is m's record and has a reason. A full outgoing queue is waited for a
 * while. */
void kafka_letters_send(struct kafka_letters *l, const rd_kafka_message_t *m,
                        const struct record *r);

/* Counts deliveries, and sends letters again whose pause is over. Does not
 * wait. */
void kafka_letters_poll(struct kafka_letters *l);
void kafka_letters_free(struct kafka_letters *l); /* tries the rest once */

#endif
