/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads records from Kafka topics. One thread polls the consumer.
 *
 * This file has the polling thread, the way of a message into the queue, and
 * the functions of source.h. Other files have the rest:
 *
 *     kafka_group       assignment of partitions, their first offsets, errors
 *     kafka_partitions  the table of partitions, and commits
 *     kafka_position    checks positions against the broker's offsets
 *     dead_letters      sends refused messages to a Kafka topic
 *
 * A full queue: the thread waits up to PATIENCE_MS for room. Then it keeps
 * polled records in k->held, pauses all partitions and goes on polling, so
 * that the group does not evict this member. It pushes the held records once
 * the queue is half empty, and resumes when none is left. Pausing at once would
 * cost more: librdkafka drops the messages that it has fetched ahead, and
 * fetches them again.
 *
 * part->next is the next offset to read. A message below it has been read
 * already: librdkafka may deliver messages again after a pause.
 *
 * Threads: the polling thread owns the group and the held records. Others read
 * the table under its mutex, ask the broker through the group's handle, and
 * leave a seek request.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/checksum.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/board/pulse.h"
#include "daemon/stream/broker.h"
#include "daemon/stream/dead_letters.h"
#include "daemon/stream/kafka_conf.h"
#include "daemon/stream/kafka_group.h"
#include "daemon/stream/source_private.h"

#define POLL_MS 50
#define POLL_HOLDING_MS 5 /* short, since the queue may get room */
#define PATIENCE_MS 1000
#define SLICE_MS 50 /* of a wait for room: then stopping and seeks are read */
#define SEEK_MS 10000

/* A request of another thread to read at other positions. */
struct seek_request {
    struct source_position *positions; /* owns the topics */
    size_t n;
    int64_t epoch;
};

struct source_kafka {
    struct source base;
    struct broker *broker; /* embedded, or NULL */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stopping, has_request;
    struct seek_request request; /* Locks: base.mutex */

    /* Only the polling thread uses the fields below. */
    struct kafka_group group;
    struct dead_letters *dead_letters; /* NULL: no topic is configured */
    struct kafka_partition *last;      /* of the last message */
    int64_t epoch;
    struct record **held; /* records that found no room in the queue */
    size_t n_held, held_capacity;
};

static struct source_kafka *kafka_of(struct source *s)
{
    return (struct source_kafka *)s;
}

/* --- from a message to the queue ---------------------------------------- */

/* A message without a value, whose key can be an id. */
static bool is_tombstone(const struct source_kafka *k,
                         const rd_kafka_message_t *m)
{
    return k->base.options.conf->source.kafka.tombstone ==
               CONF_TOMBSTONE_FORGET &&
           !m->payload && m->key && m->key_len > 0 &&
           m->key_len <= RECORD_NAME_MAX && !memchr(m->key, 0, m->key_len) &&
           utf8_valid(m->key, m->key_len);
}

/* Makes the record of a tombstone: it has no value, and its key is the id. */
static struct record *make_tombstone(struct source_kafka *k,
                                     const rd_kafka_message_t *m)
{
    struct record *r = record_create_data(&k->base.maker, m->key, m->key_len);

    r->forgets = r->value;
    r->value = NULL;
    r->n_bytes = 0;
    return r;
}

/* Makes a record of a message. A value that is too long is cut at the limit. */
static struct record *make_record(struct source_kafka *k,
                                  const rd_kafka_message_t *m,
                                  const struct kafka_partition *part)
{
    const struct conf_source *conf = &k->base.options.conf->source;
    size_t max_bytes = (size_t)conf->max_record_bytes;
    struct record *r =
        is_tombstone(k, m)
            ? make_tombstone(k, m)
            : record_create_data(&k->base.maker, m->payload,
                                 m->len < max_bytes ? m->len : max_bytes);
    int64_t time_ms = rd_kafka_message_timestamp(m, NULL);
    rd_kafka_headers_t *headers;
    const void *value;
    char *domain = NULL;
    size_t n;

    if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        rd_kafka_header_get_last(headers, "domain", &value, &n) ==
            RD_KAFKA_RESP_ERR_NO_ERROR &&
        value)
        domain = xstrndup(value, n);
    r->epoch = k->epoch;
    r->topic = part->topic;
    r->partition = part->partition;
    r->offset = m->offset;
    r->time_ms = time_ms > 0 ? time_ms : 0;
    r->value_hash = checksum_xxh3(m->payload ? m->payload : "", m->len, 0);
    if (m->len > max_bytes)
        r->reason = "too_long";
    source_parse(&k->base, r, domain);
    free(domain);
    return r;
}

static void push_or_hold(struct source_kafka *k, struct record *r)
{
    struct queue *q = k->base.options.queue;

    if (!k->n_held && queue_try_push(q, r))
        return;
    for (int64_t waited = 0;
         !k->n_held && waited < PATIENCE_MS && !atomic_load(&k->stopping) &&
         !atomic_load(&k->has_request);
         waited += SLICE_MS)
        if (queue_push(q, r, SLICE_MS))
            return;
    XGROW(k->held, k->n_held, k->held_capacity);
    k->held[k->n_held++] = r;
}

/* Pushes held records in order, as many as fit, once the queue is half empty.
 */
static void push_held(struct source_kafka *k)
{
    struct queue *q = k->base.options.queue;
    size_t n = 0;

    if (!k->n_held || !queue_has_room(q))
        return;
    while (n < k->n_held && queue_try_push(q, k->held[n]))
        n++;
    k->n_held -= n;
    memmove(k->held, k->held + n, k->n_held * sizeof *k->held);
}

static void drop_held(struct source_kafka *k)
{
    for (size_t i = 0; i < k->n_held; i++)
        record_free(k->held[i]);
    k->n_held = 0;
}

static void read_message(struct source_kafka *k, const rd_kafka_message_t *m,
                         struct kafka_partition *part)
{
    struct record *r;

    if (m->offset < atomic_load(&part->next))
        return;
    r = make_record(k, m, part);
    if (r->reason && !r->forgets && k->dead_letters)
        dead_letters_send(k->dead_letters, m, r);
    part->last_read = m->offset;
    part->last_hash = r->value_hash;
    push_or_hold(k, r);
    atomic_store(&part->next, m->offset + 1);
    atomic_fetch_add(&k->base.records_read, 1);
}

/* The partition is read up to `end`. Offsets below it without a message, such
 * as marks of transactions, become a hole. */
static void reach_end(struct source_kafka *k, int64_t end,
                      struct kafka_partition *part)
{
    int64_t next = atomic_load(&part->next);
    struct record *r;

    atomic_store(&part->end, end);
    if (next < 0 || end <= next)
        return;
    r = record_create(RECORD_HOLE);
    r->epoch = k->epoch;
    r->topic = part->topic;
    r->partition = part->partition;
    r->first_offset = next;
    r->offset = end - 1;
    push_or_hold(k, r);
    atomic_store(&part->next, end);
}

/* --- the thread --------------------------------------------------------- */

static void free_request(struct seek_request *request)
{
    for (size_t i = 0; i < request->n; i++)
        free((char *)request->positions[i].topic);
    free(request->positions);
}

static void follow_request(struct source_kafka *k)
{
    struct seek_request request;

    if (!atomic_exchange(&k->has_request, false))
        return;
    pthread_mutex_lock(&k->base.mutex);
    request = k->request;
    k->request = (struct seek_request){.positions = NULL};
    pthread_mutex_unlock(&k->base.mutex);
    if (!request.positions)
        return;
    drop_held(k);
    k->epoch = request.epoch;
    kafka_group_set_positions(&k->group, request.positions, request.n);
    free_request(&request);
}

/* Finds the partition of a message; NULL when there is none. Most messages are
 * of the same partition as the one before. */
static struct kafka_partition *part_of(struct source_kafka *k,
                                       const rd_kafka_message_t *m)
{
    struct kafka_partition *part = k->last;
    const char *topic;

    if (!m->rkt)
        return NULL;
    topic = rd_kafka_topic_name(m->rkt);
    if (!part || part->partition != m->partition ||
        strcmp(part->topic, topic) != 0)
        part = kafka_partitions_find(&k->group.parts, topic, m->partition);
    if (part)
        k->last = part;
    return part;
}

static void *run(void *arg)
{
    struct source_kafka *k = arg;

    pthread_setname_np(pthread_self(), "source");
    while (!atomic_load(&k->stopping)) {
        struct kafka_partition *part;
        rd_kafka_message_t *m;

        pulse_beat(PULSE_SOURCE, PULSE_STEP_MS);
        follow_request(k);
        kafka_group_assign(&k->group);
        push_held(k);
        kafka_group_pause(&k->group, k->n_held > 0);
        m = rd_kafka_consumer_poll(k->group.rk,
                                   k->n_held ? POLL_HOLDING_MS : POLL_MS);
        if (m) {
            part = part_of(k, m);
            if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
                kafka_group_handle_error(&k->group, m, part);
            else if (kafka_group_is_reading(&k->group, part) && m->err)
                reach_end(k, m->offset, part);
            else if (kafka_group_is_reading(&k->group, part))
                read_message(k, m, part);
            rd_kafka_message_destroy(m);
        }
        dead_letters_poll(k->dead_letters);
        kafka_group_check_broker(&k->group);
    }
    pulse_rest(PULSE_SOURCE);
    return NULL;
}

/* --- the functions of source.h ------------------------------------------ */

/* Leaves a request for the polling thread, in place of an older one. */
static void leave_request(struct source_kafka *k,
                          const struct source_position *positions, size_t n,
                          int64_t epoch)
{
    struct seek_request request = {.n = n, .epoch = epoch};

    request.positions = xcalloc(n + 1, sizeof *positions);
    for (size_t i = 0; i < n; i++) {
        request.positions[i] = positions[i];
        request.positions[i].topic = xstrdup(positions[i].topic);
    }
    pthread_mutex_lock(&k->base.mutex);
    free_request(&k->request);
    k->request = request;
    pthread_mutex_unlock(&k->base.mutex);
    atomic_store(&k->has_request, true);
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
        source_count_gap(s,
                         "the embedded broker of an earlier run is gone "
                         "with its records, so the stored positions are void; "
                         "reading begins anew");
        n = 0;
    }
    leave_request(k, positions, n, epoch);
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
    const struct kafka_position_query *query = &k->group.query;
    int64_t until = timing_mono_ms() + SEEK_MS;
    struct source_position *all =
        kafka_partitions_complete(&k->group.parts, positions, &n);
    struct err why = ERR_INIT;
    int64_t nearest;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (timing_mono_ms() > until - KAFKA_POSITION_WAIT_MS && i)
            rc = err_set(&why, ERR_STATE, "Kafka at %s answers too slowly",
                         kafka_position_servers(query));
        else
            rc = kafka_position_check(query, &all[i], &nearest, &why);
    }
    if (rc == 0)
        leave_request(k, all, n, epoch);
    else
        err_set(err, ERR_STATE, "%s", why.msg);
    free(all);
    return rc == 0 ? 0 : ERR_STATE;
}

static void kafka_published(struct source *s,
                            const struct source_position *positions, size_t n)
{
    struct kafka_group *g = &kafka_of(s)->group;

    kafka_partitions_commit_published(&g->parts, g->rk, positions, n);
}

static size_t kafka_get_partitions(struct source *s,
                                   struct source_partition **rows)
{
    struct kafka_group *g = &kafka_of(s)->group;

    return kafka_partitions_get_rows(&g->parts, g->rk, rows);
}

static void kafka_free(struct source *s)
{
    struct source_kafka *k = kafka_of(s);

    atomic_store(&k->stopping, true);
    if (k->has_thread)
        pthread_join(k->thread, NULL);
    drop_held(k);
    free(k->held);
    dead_letters_free(k->dead_letters);
    kafka_group_close(&k->group, k->has_thread);
    broker_stop(k->broker);
    free_request(&k->request);
    source_release(s);
    free(k);
}

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
    const char *servers;
    int rc;

    source_init(&k->base, &ops, options);
    rc = start_broker(k, conf, err);
    if (rc != 0) {
        source_release(&k->base);
        free(k);
        return rc;
    }
    servers = k->broker ? broker_address(k->broker) : NULL;
    rc = kafka_group_open(&k->group, &k->base, servers, &k->stopping, err);
    if (rc == 0)
        rc = dead_letters_create(conf, servers, &k->base.dead_letters,
                                 &k->stopping, &k->dead_letters, err);
    if (rc != 0)
        kafka_free(&k->base);
    else
        *source = &k->base;
    return rc;
}
