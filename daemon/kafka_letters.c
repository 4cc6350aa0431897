/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/kafka_letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/kafka_conf.h"

#define FLUSH_MS 3000
#define WAIT_MS 2000 /* for room in the outgoing queue */
#define POLL_MS 50
#define MAX_MESSAGE "1000000000" /* the topic says what is too large */

struct kafka_letters {
    rd_kafka_t *producer;
    const char *topic;
    _Atomic int64_t *delivered;
    const _Atomic bool *stopping;
};

/* Called from within rd_kafka_poll and rd_kafka_flush. */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct kafka_letters *l = arg;

    (void)rk;
    if (m->err)
        log_warn("dead_letter", "not delivered: %s", rd_kafka_err2str(m->err));
    else
        atomic_fetch_add(l->delivered, 1);
}

int kafka_letters_create(const struct conf_kafka *conf, const char *servers,
                         _Atomic int64_t *delivered,
                         const _Atomic bool *stopping,
                         struct kafka_letters **letters, struct err *err)
{
    struct kafka_letters *l;
    rd_kafka_conf_t *to;

    if (!conf->dead_letter)
        return 0;
    to = kafka_conf_create(conf, RD_KAFKA_PRODUCER, servers, NULL, err);
    if (!to)
        return ERR_INVALID;
    if (!kafka_conf_get(conf, "message.max.bytes"))
        rd_kafka_conf_set(to, "message.max.bytes", MAX_MESSAGE, NULL, 0);
    l = xcalloc(1, sizeof *l);
    l->topic = conf->dead_letter;
    l->delivered = delivered;
    l->stopping = stopping;
    rd_kafka_conf_set_opaque(to, l);
    rd_kafka_conf_set_dr_msg_cb(to, on_delivery);
    l->producer = kafka_conf_open(RD_KAFKA_PRODUCER, to, err);
    if (!l->producer) {
        free(l);
        return ERR_INVALID;
    }
    *letters = l;
    return 0;
}

static void add_number(rd_kafka_headers_t *to, const char *name,
                       int64_t number)
{
    char value[24];

    snprintf(value, sizeof value, "%" PRId64, number);
    rd_kafka_header_add(to, name, -1, value, -1);
}

static rd_kafka_headers_t *make_headers(const rd_kafka_message_t *m,
                                        const struct record *r)
{
    rd_kafka_headers_t *given, *to;

    if (rd_kafka_message_headers(m, &given) == RD_KAFKA_RESP_ERR_NO_ERROR)
        to = rd_kafka_headers_copy(given);
    else
        to = rd_kafka_headers_new(4);
    rd_kafka_header_add(to, "mneme.reason", -1, r->reason, -1);
    rd_kafka_header_add(to, "mneme.topic", -1, r->topic, -1);
    add_number(to, "mneme.partition", r->partition);
    add_number(to, "mneme.offset", r->offset);
    return to;
}

void kafka_letters_send(struct kafka_letters *l, const rd_kafka_message_t *m,
                        const struct record *r)
{
    int64_t until = timing_mono_ms() + WAIT_MS;
    rd_kafka_headers_t *headers = make_headers(m, r);
    rd_kafka_resp_err_t e;

    for (;;) {
        e = rd_kafka_producev(
            l->producer, RD_KAFKA_V_TOPIC(l->topic),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(m->key, m->key_len),
            RD_KAFKA_V_VALUE(m->payload, m->len),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL ||
            timing_mono_ms() >= until || atomic_load(l->stopping))
            break;
        rd_kafka_poll(l->producer, POLL_MS);
    }
    if (e) {
        rd_kafka_headers_destroy(headers);
        log_warn("dead_letter", "%s [%d] offset %" PRId64 " not sent: %s",
                 r->topic, (int)r->partition, r->offset, rd_kafka_err2str(e));
    }
}

void kafka_letters_poll(struct kafka_letters *l)
{
    if (l)
        rd_kafka_poll(l->producer, 0);
}

void kafka_letters_free(struct kafka_letters *l)
{
    if (!l)
        return;
    rd_kafka_flush(l->producer, FLUSH_MS);
    rd_kafka_destroy(l->producer);
    free(l);
}
