/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dead_letters.h - sends copies of refused Kafka messages to the topic
 * source.kafka.dead_letter.
 *
 * A copy has the message's headers and four more: mneme.reason, mneme.topic,
 * mneme.partition, mneme.offset. A dead letter that cannot be delivered waits
 * and is sent again: the topic may be missing, or the broker may refuse it. The
 * first pause is a second; each further one is twice as long, up to 10 s. When
 * the process ends, dead letters that still wait are lost. Their records are in
 * the quarantine.
 *
 * Each dead letter counts as delivered, failed or waiting. It fails when it is
 * too large for its topic, when DEAD_LETTERS_BYTES wait already, or when the
 * process ends.
 *
 * Owner:    the source
 * Threads:  polling; dead_letters_free after that thread has ended
 */
#ifndef MNEME_DAEMON_STREAM_DEAD_LETTERS_H
#define MNEME_DAEMON_STREAM_DEAD_LETTERS_H

#include <stdatomic.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/stream/record.h"
#include "daemon/stream/source_private.h"

#define DEAD_LETTERS_BYTES (16 << 20) /* limit for those that wait */

struct dead_letters; /* fields are in dead_letters.c */

/*
 * Creates the producer. *letters stays NULL if no topic is configured; the
 * other functions except dead_letters_send accept NULL.
 *   servers    address of the embedded broker, or NULL
 *   counts     is kept up to date
 *   stopping   ends a wait for room
 *   returns    0 or ERR_INVALID
 */
int dead_letters_create(const struct conf_kafka *conf, const char *servers,
                        struct source_dead_letters *counts,
                        const _Atomic bool *stopping,
                        struct dead_letters **letters, struct err *err);

/* Sends a copy of the message. May wait up to two seconds for room.
 *   r   the record of m; has a reason */
void dead_letters_send(struct dead_letters *l, const rd_kafka_message_t *m,
                       const struct record *r);

/* Counts deliveries, and sends returned letters again after their pause. Does
 * not wait. */
void dead_letters_poll(struct dead_letters *l);

/* Sends the rest once more, and counts what is not delivered as failed. */
void dead_letters_free(struct dead_letters *l);

#endif
