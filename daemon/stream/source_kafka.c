/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records from Kafka topics: one thread polls the consumer.
 *
 * This is the thread, its orders from others, and the functions of source.h.
 * The rooms around it:
 *
 *     kafka_group    which partitions are ours, where each goes on, errors
 *     kafka_parts    the table of partitions, and what is committed of them
 *     kafka_inbox    from a message to a record in the queue, or held
 *     kafka_letters  dead letters
 *
 * A full queue: what has been polled waits in the inbox and every partition is
 * paused; polling goes on.
 *
 * Threads: the polling thread owns the group and the inbox; others read parts
 * under their mutex, ask the broker through the group's handle, and leave
 * orders.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/broker.h"
#include "daemon/stream/kafka_conf.h"
#include "daemon/stream/kafka_group.h"
#include "daemon/stream/kafka_inbox.h"
#include "daemon/stream/kafka_letters.h"
#include "daemon/stream/source_private.h"

#define POLL_MS 50
#define POLL_HOLDING_MS 5 /* while the queue may get room */
#define SEEK_MS 10000

/* Positions to go on from, asked for by another thread. */
struct order {
    bool is_set;
    struct source_position *positions;
    size_t n;
    int64_t epoch;
};

struct source_kafka {
    struct source base;
    struct broker *broker; /* or NULL */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stopping, has_order;
    struct order order; /* Locks: base.mutex */

    struct kafka_group group; /* the polling thread's, from here on */
    struct kafka_inbox inbox;
    struct kafka_part *last; /* looked up */
};

static struct source_kafka *kafka_of(struct source *s)
{
    return (struct source_kafka *)s;
}

/* --- the thread --------------------------------------------------------- */

static void take_order(struct source_kafka *k)
{
    struct order o;

    if (!atomic_exchange(&k->has_order, false))
        return;
    pthread_mutex_lock(&k->base.mutex);
    o = k->order;
    memset(&k->order, 0, sizeof k->order);
    pthread_mutex_unlock(&k->base.mutex);
    if (!o.is_set)
        return;
    kafka_inbox_restart(&k->inbox, o.epoch);
    kafka_group_set_positions(&k->group, o.positions, o.n);
    source_positions_free(o.positions, o.n);
}

/* The partition that the message is of, or NULL: mostly the last one again. */
static struct kafka_part *part_of(struct source_kafka *k,
                                  const rd_kafka_message_t *m)
{
    struct kafka_part *part = k->last;
    const char *topic;

    if (!m->rkt)
        return NULL;
    topic = rd_kafka_topic_name(m->rkt);
    if (!part || part->partition != m->partition ||
        strcmp(part->topic, topic) != 0)
        part = kafka_parts_find(&k->group.parts, topic, m->partition);
    if (part)
        k->last = part;
    return part;
}

static void handle_message(struct source_kafka *k, const rd_kafka_message_t *m)
{
    struct kafka_part *part = part_of(k, m);

    if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        kafka_group_take_error(&k->group, m, part);
    else if (!kafka_group_is_reading(&k->group, part))
        return;
    else if (m->err)
        kafka_inbox_reach_end(&k->inbox, m->offset, part);
    else
        kafka_inbox_take(&k->inbox, m, part);
}

static void *run(void *arg)
{
    struct source_kafka *k = arg;

    pthread_setname_np(pthread_self(), "source");
    while (!atomic_load(&k->stopping)) {
        rd_kafka_message_t *m;
        bool is_holding;

        take_order(k);
        kafka_group_try(&k->group);
        kafka_inbox_push(&k->inbox);
        is_holding = kafka_inbox_is_holding(&k->inbox);
        kafka_group_pause(&k->group, is_holding);
        m = rd_kafka_consumer_poll(k->group.rk,
                                   is_holding ? POLL_HOLDING_MS : POLL_MS);
        if (m) {
            handle_message(k, m);
            rd_kafka_message_destroy(m);
        }
        kafka_letters_poll(k->inbox.letters);
        kafka_group_look_for_broker(&k->group);
    }
    return NULL;
}

/* --- the functions of source.h ------------------------------------------ */

static void give_order(struct source_kafka *k,
                       const struct source_position *positions, size_t n,
                       int64_t epoch)
{
    struct order o = {.is_set = true, .n = n, .epoch = epoch};

    o.positions = source_positions_copy(positions, n);
    pthread_mutex_lock(&k->base.mutex);
    source_positions_free(k->order.positions, k->order.n);
    k->order = o;
    pthread_mutex_unlock(&k->base.mutex);
    atomic_store(&k->has_order, true);
}

static int kafka_begin(struct source *s,
                       const struct source_position *positions, size_t n,
                       int64_t epoch, struct err *err)
{
    struct source_kafka *k = kafka_of(s);
    int rc = kafka_group_subscribe(&k->group, err);

    BUG_ON(k->has_thread);
    if (rc != 0)
        return rc;
    if (k->broker && n) {
        source_count_gap(s, "the embedded broker of an earlier run is gone, "
                         "and %zu stored positions with it; reading begins "
                         "anew", n);
        n = 0;
    }
    give_order(k, positions, n, epoch);
    rc = pthread_create(&k->thread, NULL, run, k);
    if (rc != 0)
        return err_set_errno(err, ERR_IO, rc, "cannot start a thread");
    k->has_thread = true;
    return 0;
}

static int kafka_seek(struct source *s,
                      const struct source_position *positions, size_t n,
                      int64_t epoch, struct err *err)
{
    struct source_kafka *k = kafka_of(s);
    const struct kafka_place *place = &k->group.place;
    int64_t until = timing_mono_ms() + SEEK_MS;
    struct source_position *all =
        kafka_parts_complete(&k->group.parts, positions, &n);
    struct err why = ERR_INIT;
    int64_t nearest;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (timing_mono_ms() > until - KAFKA_PLACE_WAIT_MS && i)
            rc = err_set(&why, ERR_STATE, "Kafka at %s answers too slowly",
                         kafka_place_servers(place));
        else
            rc = kafka_place_check(place, &all[i], &nearest, &why);
    }
    if (rc == 0)
        give_order(k, all, n, epoch);
    else
        err_set(err, ERR_STATE, "%s", why.msg);
    free(all);
    return rc == 0 ? 0 : ERR_STATE;
}

static void kafka_published(struct source *s,
                            const struct source_position *positions, size_t n)
{
    struct kafka_group *g = &kafka_of(s)->group;

    kafka_parts_commit_published(&g->parts, g->rk, positions, n);
}

static size_t kafka_get_partitions(struct source *s,
                                   struct source_partition **rows)
{
    struct kafka_group *g = &kafka_of(s)->group;

    return kafka_parts_get_rows(&g->parts, g->rk, rows);
}

static void kafka_free(struct source *s)
{
    struct source_kafka *k = kafka_of(s);

    atomic_store(&k->stopping, true);
    if (k->has_thread)
        pthread_join(k->thread, NULL);
    kafka_inbox_release(&k->inbox);
    kafka_letters_free(k->inbox.letters);
    kafka_group_close(&k->group, k->has_thread);
    broker_stop(k->broker);
    source_positions_free(k->order.positions, k->order.n);
    source_release(s);
    free(k);
}

/* --- creation ----------------------------------------------------------- */

static int start_broker(struct source_kafka *k, const struct conf_kafka *conf,
                        struct err *err)
{
    const char **topics;
    size_t n = conf->topics.n;
    int rc;

    if (!kafka_conf_is_embedded(conf))
        return 0;
    topics = xcalloc(n + 1, sizeof *topics);
    for (size_t i = 0; i < n; i++)
        topics[i] = conf->topics.items[i];
    if (conf->dead_letter)
        topics[n++] = conf->dead_letter;
    rc = broker_start(topics, n, k->base.options.data_dir, &k->broker, err);
    free(topics);
    return rc;
}

/* The parts, once the broker is there. */
static int open_handles(struct source_kafka *k, const struct conf_kafka *conf,
                        struct err *err)
{
    const char *servers = k->broker ? broker_address(k->broker) : NULL;
    int rc = kafka_group_open(&k->group, &k->base, servers, &k->stopping, err);

    k->inbox.source = &k->base;
    k->inbox.stopping = &k->stopping;
    k->inbox.has_order = &k->has_order;
    if (rc == 0)
        rc = kafka_letters_create(conf, servers, &k->base.letters,
                                  &k->stopping, &k->inbox.letters, err);
    return rc;
}

int source_kafka_create(struct source **source,
                        const struct source_options *options,
                        struct err *err)
{
    static const struct source_ops ops = {
        .free = kafka_free,
        .begin = kafka_begin,
        .seek = kafka_seek,
        .published = kafka_published,
        .get_partitions = kafka_get_partitions,
    };
    const struct conf_kafka *conf = &options->conf->source.kafka;
    struct source_kafka *k = xcalloc(1, sizeof *k);
    int rc;

    source_init(&k->base, &ops, options);
    rc = start_broker(k, conf, err);
    if (rc != 0) {
        source_release(&k->base);
        free(k);
        return rc;
    }
    rc = open_handles(k, conf, err);
    if (rc != 0)
        kafka_free(&k->base);
    else
        *source = &k->base;
    return rc;
}
