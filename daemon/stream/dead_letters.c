/* SPDX-License-Identifier: Apache-2.0 */
/*
 * librdkafka holds the letters that it is sending. A letter that it returns
 * undelivered goes to the end of a list. After a pause, all returned letters
 * are sent again. The next letter that returns begins another pause, twice as
 * long. A delivery resets the pause to the shortest.
 *
 *     dead_letters_send -> sending -> delivered
 *                           ^   |
 *                           |   v
 *                          returned -> failed: too large, too many, the end
 *
 * librdkafka returns a letter at once while it believes that the topic is
 * missing. It looks for the topic when it refreshes its metadata, so
 * REFRESH_MS is short.
 */
#include "config.h"

#include "daemon/stream/dead_letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"

#define FLUSH_MS 3000
#define WAIT_MS 2000 /* for room in librdkafka's queue */
#define POLL_MS 50
#define PAUSE_MS 1000
#define PAUSE_MOST_MS 10000
#define REFRESH_MS "5000"
#define MAX_MESSAGE "1000000000" /* the topic has its own limit */

struct letter {
    struct letter *next; /* in the list of returned letters */
    rd_kafka_headers_t *headers;
    bool has_key, has_value;
    size_t n_key, n_value;
    char bytes[]; /* key, then value */
};

struct dead_letters {
    rd_kafka_t *producer;
    const char *topic;
    struct source_dead_letters *counts;
    const _Atomic bool *stopping;
    struct letter *returned, **last;
    size_t bytes; /* of all letters that are sending or returned */
    int64_t pause_ms, next_ms;
    bool is_full, is_ending;
};

/* --- copies of messages ------------------------------------------------- */

static rd_kafka_headers_t *make_headers(const rd_kafka_message_t *m,
                                        const struct record *r)
{
    rd_kafka_headers_t *given, *to;
    char number[24];

    if (rd_kafka_message_headers(m, &given) == RD_KAFKA_RESP_ERR_NO_ERROR)
        to = rd_kafka_headers_copy(given);
    else
        to = rd_kafka_headers_new(4);
    rd_kafka_header_add(to, "mneme.reason", -1, r->reason, -1);
    rd_kafka_header_add(to, "mneme.topic", -1, r->topic, -1);
    snprintf(number, sizeof number, "%d", (int)r->partition);
    rd_kafka_header_add(to, "mneme.partition", -1, number, -1);
    snprintf(number, sizeof number, "%" PRId64, r->offset);
    rd_kafka_header_add(to, "mneme.offset", -1, number, -1);
    return to;
}

static size_t size_of(const struct letter *t)
{
    return sizeof *t + t->n_key + t->n_value;
}

static struct letter *make_letter(const rd_kafka_message_t *m,
                                  const struct record *r)
{
    struct letter *t = xcalloc(1, sizeof *t + m->key_len + m->len);

    t->headers = make_headers(m, r);
    t->has_key = m->key != NULL;
    t->has_value = m->payload != NULL;
    t->n_key = t->has_key ? m->key_len : 0;
    t->n_value = t->has_value ? m->len : 0;
    if (t->n_key)
        memcpy(t->bytes, m->key, t->n_key);
    if (t->n_value)
        memcpy(t->bytes + t->n_key, m->payload, t->n_value);
    return t;
}

/* Counts a letter as delivered or failed, and frees it.
 *   count   l->counts->delivered or l->counts->failed */
static void end_letter(struct dead_letters *l, struct letter *t,
                       _Atomic int64_t *count)
{
    atomic_fetch_add(count, 1);
    atomic_fetch_sub(&l->counts->waiting, 1);
    l->bytes -= size_of(t);
    rd_kafka_headers_destroy(t->headers);
    free(t);
}

/* --- sending ------------------------------------------------------------ */

/* Adds an undelivered letter to the list of returned ones, or counts it as
 * failed. */
static void keep_returned(struct dead_letters *l, struct letter *t,
                          rd_kafka_resp_err_t e)
{
    if (l->is_ending || e == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        if (!l->is_ending)
            log_warn("dead_letter", "not delivered: %s", rd_kafka_err2str(e));
        end_letter(l, t, &l->counts->failed);
        return;
    }
    if (!l->returned) {
        l->next_ms = timing_mono_ms() + l->pause_ms;
        log_warn("dead_letter",
                 "topic=%s waiting=%" PRId64 " again_in_ms=%" PRId64
                 " reason=\"%s\"",
                 l->topic, atomic_load(&l->counts->waiting), l->pause_ms,
                 rd_kafka_err2str(e));
        l->pause_ms =
            2 * l->pause_ms < PAUSE_MOST_MS ? 2 * l->pause_ms : PAUSE_MOST_MS;
    }
    t->next = NULL;
    *l->last = t;
    l->last = &t->next;
}

/* librdkafka calls this inside rd_kafka_poll and rd_kafka_flush. */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct dead_letters *l = arg;

    (void)rk;
    if (m->err) {
        keep_returned(l, m->_private, m->err);
        return;
    }
    l->pause_ms = PAUSE_MS;
    end_letter(l, m->_private, &l->counts->delivered);
}

/* Gives a letter to librdkafka, and waits at most wait_ms for room in its
 * queue. Letter and bytes stay allocated until librdkafka reports the delivery.
 */
static void send_letter(struct dead_letters *l, struct letter *t,
                        int64_t wait_ms)
{
    int64_t until = timing_mono_ms() + wait_ms;
    rd_kafka_headers_t *headers = rd_kafka_headers_copy(t->headers);
    rd_kafka_resp_err_t e;

    for (;;) {
        e = rd_kafka_producev(
            l->producer, RD_KAFKA_V_TOPIC(l->topic),
            RD_KAFKA_V_KEY(t->has_key ? t->bytes : NULL, t->n_key),
            RD_KAFKA_V_VALUE(t->has_value ? t->bytes + t->n_key : NULL,
                             t->n_value),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(t), RD_KAFKA_V_END);
        if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL || timing_mono_ms() >= until ||
            atomic_load(l->stopping))
            break;
        rd_kafka_poll(l->producer, POLL_MS);
    }
    if (e) {
        rd_kafka_headers_destroy(headers);
        keep_returned(l, t, e);
    }
}

static void send_again(struct dead_letters *l)
{
    struct letter *t = l->returned, *next;

    l->returned = NULL;
    l->last = &l->returned;
    for (; t; t = next) {
        next = t->next;
        send_letter(l, t, 0);
    }
}

/* --- the functions of dead_letters.h ------------------------------------ */

int dead_letters_create(const struct conf_kafka *conf, const char *servers,
                        struct source_dead_letters *counts,
                        const _Atomic bool *stopping,
                        struct dead_letters **letters, struct err *err)
{
    struct dead_letters *l;
    rd_kafka_conf_t *to;

    if (!conf->dead_letter)
        return 0;
    to = kafka_conf_create(conf, RD_KAFKA_PRODUCER, servers, NULL, err);
    if (!to)
        return ERR_INVALID;
    if (!kafka_conf_get(conf, "message.max.bytes"))
        rd_kafka_conf_set(to, "message.max.bytes", MAX_MESSAGE, NULL, 0);
    if (!kafka_conf_get(conf, "topic.metadata.refresh.interval.ms"))
        rd_kafka_conf_set(to, "topic.metadata.refresh.interval.ms", REFRESH_MS,
                          NULL, 0);
    l = xcalloc(1, sizeof *l);
    l->topic = conf->dead_letter;
    l->counts = counts;
    l->stopping = stopping;
    l->last = &l->returned;
    l->pause_ms = PAUSE_MS;
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

void dead_letters_send(struct dead_letters *l, const rd_kafka_message_t *m,
                       const struct record *r)
{
    struct letter *t = make_letter(m, r);
    bool was_full = l->is_full;

    atomic_fetch_add(&l->counts->waiting, 1);
    l->bytes += size_of(t);
    l->is_full = l->returned && l->bytes > DEAD_LETTERS_BYTES;
    if (!l->is_full) {
        send_letter(l, t, l->returned ? 0 : WAIT_MS);
        return;
    }
    if (!was_full)
        log_warn("dead_letter",
                 "topic=%s waiting=%" PRId64 " reason=\"no room "
                 "for more: further dead letters fail; their records are in "
                 "the quarantine\"",
                 l->topic, atomic_load(&l->counts->waiting));
    end_letter(l, t, &l->counts->failed);
}

void dead_letters_poll(struct dead_letters *l)
{
    if (!l)
        return;
    rd_kafka_poll(l->producer, 0);
    if (l->returned && timing_mono_ms() >= l->next_ms)
        send_again(l);
}

void dead_letters_free(struct dead_letters *l)
{
    int64_t failed;

    if (!l)
        return;
    failed = atomic_load(&l->counts->failed);
    l->is_ending = true;
    send_again(l);
    rd_kafka_flush(l->producer, FLUSH_MS);
    rd_kafka_purge(l->producer,
                   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(l->producer, FLUSH_MS);
    failed = atomic_load(&l->counts->failed) - failed;
    if (failed)
        log_warn("dead_letter",
                 "topic=%s failed=%" PRId64 " reason=\"not "
                 "delivered before the end; their records are in the "
                 "quarantine\"",
                 l->topic, failed);
    rd_kafka_destroy(l->producer);
    free(l);
}
