/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records from Kafka topics: one thread polls the consumer.
 *
 *     subscribed --group--> assigned --place--> reading <--> full (paused)
 *                              ^ |                 |
 *            broker is asked   | v                 v
 *            again each second +-+             halted: a gap, another topic,
 *                                              another store's group
 *
 * The group says which partitions (k->group); where each goes on is found
 * outside its callback, since the broker has to be asked for that. Every change
 * of place - an assignment, a seek, a gap that is skipped - is one and the same
 * thing: rd_kafka_assign of all partitions with explicit offsets.
 *
 * Where a partition goes on:
 *   1. where this process left it (part->next), after a rebalance or a gap
 *   2. the store's position, after it has been checked (kafka_place.h)
 *   3. where this store began to read it, from the mark in the group's commit
 *   4. what source.kafka.start says, which then is committed with a mark before
 *      the first record is read
 *
 * A full queue: after some patience what has been polled waits in k->held and
 * every partition is paused; polling goes on, so that the group never evicts
 * us. A message that comes below part->next has been had already (librdkafka
 * reads again what a pause made it drop).
 *
 * Invariants: (1) parts are only added, and a topic's name lives as long as the
 * source: records point to it. (2) No mutex is held while the broker is asked.
 *
 * Threads: the polling thread writes everything here but the orders; others
 * read parts under the mutex, and ask the broker through k->rk.
 */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/broker.h"
#include "daemon/kafka_conf.h"
#include "daemon/kafka_place.h"
#include "daemon/source_impl.h"

#define POLL_MS 50
#define PATIENCE_MS 1000
#define RETRY_MS 1000
#define ANSWER_MS 500 /* of a broker that was away */
#define SEEK_MS 10000
#define FLUSH_MS 3000
#define DEAD_LETTER_WAIT_MS 2000

struct part {
    char *topic;
    int32_t partition;
    bool has_position;
    struct source_position position; /* topic is ours */
    bool is_assigned;
    int64_t start; /* where this store began, -1: not known yet */
    _Atomic int64_t next, end; /* -1: not known */
};

/* Positions to go on from, asked for by another thread. */
struct order {
    bool is_set;
    struct source_position *positions;
    size_t n;
    int64_t epoch;
};

struct source_kafka {
    struct source base;
    rd_kafka_t *rk;
    rd_kafka_t *producer; /* of dead letters, or NULL */
    struct broker *broker; /* or NULL */
    struct kafka_place place;
    pthread_t thread;
    bool has_thread;
    _Atomic bool stopping, paused, has_order;

    /* Locks: base.mutex */
    struct order order;
    struct part **parts;
    size_t n_parts, cap_parts;

    /* The polling thread's. */
    int64_t epoch;
    rd_kafka_topic_partition_list_t *group; /* what we are to read, or NULL */
    bool needs_assign;
    int64_t try_at_ms; /* not before */
    bool is_halted;
    bool is_paused;  /* what librdkafka has been told */
    bool is_away;    /* all brokers are */
    bool wants_topic; /* one that is not there */
    struct record **held;
    size_t n_held, cap_held;
    struct part *last; /* looked up */
};

static struct source_kafka *kafka_of(struct source *s)
{
    return (struct source_kafka *)s;
}

static const struct conf_kafka *kafka_conf(const struct source_kafka *k)
{
    return &k->base.options.conf->source.kafka;
}

static const char *servers_of(const struct source_kafka *k)
{
    const char *given = kafka_conf_get(kafka_conf(k), "bootstrap.servers");

    return k->broker ? broker_address(k->broker) : given ? given : "";
}

/* --- partitions --------------------------------------------------------- */

static struct part *find_part(struct source_kafka *k, const char *topic,
                              int32_t partition)
{
    for (size_t i = 0; i < k->n_parts; i++)
        if (k->parts[i]->partition == partition &&
            strcmp(k->parts[i]->topic, topic) == 0)
            return k->parts[i];
    return NULL;
}

/* Locks: takes mutex. */
static struct part *get_part(struct source_kafka *k, const char *topic,
                             int32_t partition)
{
    struct part *part = find_part(k, topic, partition);

    if (part)
        return part;
    part = xcalloc(1, sizeof *part);
    part->topic = xstrdup(topic);
    part->partition = partition;
    part->start = -1;
    atomic_store(&part->next, -1);
    atomic_store(&part->end, -1);
    pthread_mutex_lock(&k->base.mutex);
    XGROW(k->parts, k->n_parts, k->cap_parts);
    k->parts[k->n_parts++] = part;
    pthread_mutex_unlock(&k->base.mutex);
    return part;
}

static bool is_configured(const struct source_kafka *k, const char *topic)
{
    const struct conf_strings *topics = &kafka_conf(k)->topics;

    for (size_t i = 0; i < topics->n; i++)
        if (strcmp(topics->items[i], topic) == 0)
            return true;
    return false;
}

/* What is known of a topic without asking: are there positions in it? */
static bool has_positions(const struct source_kafka *k, const char *topic)
{
    for (size_t i = 0; i < k->n_parts; i++)
        if (k->parts[i]->has_position && strcmp(k->parts[i]->topic, topic) == 0)
            return true;
    return false;
}

/* --- halting, gaps ------------------------------------------------------ */

static void drop_assignment(struct source_kafka *k)
{
    rd_kafka_assign(k->rk, NULL);
    pthread_mutex_lock(&k->base.mutex);
    for (size_t i = 0; i < k->n_parts; i++)
        k->parts[i]->is_assigned = false;
    pthread_mutex_unlock(&k->base.mutex);
}

/* Reads no more, until a seek. */
static void __attribute__((format(printf, 2, 3)))
halt(struct source_kafka *k, const char *fmt, ...)
{
    char reason[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    drop_assignment(k);
    k->is_halted = true;
    k->needs_assign = false;
    source_set_state(&k->base, SOURCE_STOPPED, "%s", reason);
}

static void __attribute__((format(printf, 2, 3)))
retry_later(struct source_kafka *k, const char *fmt, ...)
{
    char reason[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    k->try_at_ms = timing_mono_ms() + RETRY_MS;
    source_set_state(&k->base, SOURCE_RETRYING, "%s", reason);
}

/* A position that cannot be read on from. Returns 0 when it is skipped, with
 * part->next set; ERR_STATE: halted. */
static int meet_gap(struct source_kafka *k, struct part *part, int64_t nearest,
                    const char *what)
{
    if (kafka_conf(k)->on_gap == CONF_ON_GAP_STOP) {
        halt(k, "%s; roll back to a version whose offsets are there, or set "
             "source.kafka.on_gap: skip", what);
        return ERR_STATE;
    }
    source_count_gap(&k->base, "%s; going on at %" PRId64, what, nearest);
    atomic_store(&part->next, nearest);
    return 0;
}

/* --- finding the places ------------------------------------------------- */

/* Somebody else's group? Takes the starts from our own marks. */
static int read_marks(struct source_kafka *k, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_copy(k->group);
    rd_kafka_resp_err_t e =
        rd_kafka_committed(k->rk, list, KAFKA_PLACE_WAIT_MS);
    int rc = 0;

    if (e)
        rc = err_set(err, ERR_AGAIN, "%s: cannot ask for the group's offsets: "
                     "%s", servers_of(k), rd_kafka_err2str(e));
    for (int i = 0; i < list->cnt && rc == 0; i++) {
        const rd_kafka_topic_partition_t *row = &list->elems[i];
        struct part *part = get_part(k, row->topic, row->partition);
        char store_id[80];
        int64_t start;

        if (row->err)
            rc = err_set(err, ERR_AGAIN, "%s [%d]: %s", row->topic,
                         (int)row->partition, rd_kafka_err2str(row->err));
        else if (!kafka_place_read_mark(row->metadata, row->metadata_size,
                                        store_id, &start))
            continue;
        else if (strcmp(store_id, k->base.options.store_id) == 0)
            part->start = start;
        else
            rc = err_set(err, ERR_STATE,
                         "%s [%d]: group %s belongs to another data directory "
                         "(%s); set another group.id", row->topic,
                         (int)row->partition,
                         kafka_conf_get(kafka_conf(k), "group.id"), store_id);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

/* Sets part->next. *is_new: resolved from the configuration. ERR_AGAIN;
 * ERR_STATE: halted. */
static int place_part(struct source_kafka *k, struct part *part, bool *is_new,
                      struct err *err)
{
    struct source_position at = part->position;
    int64_t offset = -1;
    int rc;

    if (atomic_load(&part->next) >= 0)
        return 0;
    if (!part->has_position && part->start < 0) {
        rc = kafka_place_start(&k->place, part->topic, part->partition,
                               has_positions(k, part->topic), &offset, err);
        if (rc != 0)
            return rc;
        part->start = offset;
        *is_new = true;
    } else {
        if (!part->has_position)
            at = (struct source_position){.topic = part->topic,
                                          .partition = part->partition,
                                          .next_offset = part->start,
                                          .last_learned = -1};
        rc = kafka_place_check(&k->place, &at, &offset, err);
        if (rc == ERR_STATE)
            return meet_gap(k, part, offset, err->msg);
        if (rc != 0)
            return rc;
        offset = at.next_offset;
    }
    atomic_store(&part->next, offset);
    return 0;
}

/* --- commits ------------------------------------------------------------ */

static void add_commit(rd_kafka_topic_partition_list_t *list,
                       const struct part *part, int64_t offset,
                       const char *store_id)
{
    rd_kafka_topic_partition_t *row = rd_kafka_topic_partition_list_add(
        list, part->topic, part->partition);

    row->offset = offset;
    row->metadata = kafka_place_mark(store_id, part->start);
    row->metadata_size = strlen(row->metadata);
}

/* Waits for the broker's answer, but not for ever as rd_kafka_commit does. */
static int commit_now(struct source_kafka *k,
                      rd_kafka_topic_partition_list_t *list, struct err *err)
{
    rd_kafka_queue_t *answers = rd_kafka_queue_new(k->rk);
    rd_kafka_resp_err_t e =
        rd_kafka_commit_queue(k->rk, list, answers, NULL, NULL);
    rd_kafka_event_t *answer = NULL;

    if (!e) {
        answer = rd_kafka_queue_poll(answers, KAFKA_PLACE_WAIT_MS);
        e = answer ? rd_kafka_event_error(answer)
                   : RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (answer)
        rd_kafka_event_destroy(answer);
    rd_kafka_queue_destroy(answers);
    if (e)
        return err_set(err, ERR_AGAIN, "cannot commit the first offsets: %s",
                       rd_kafka_err2str(e));
    return 0;
}

/* --- assigning ---------------------------------------------------------- */

/* Places every partition of the group's list and writes the offsets into it;
 * starts that are new are added to `starts`. */
static int place_all(struct source_kafka *k,
                     rd_kafka_topic_partition_list_t *starts, struct err *err)
{
    int rc = read_marks(k, err);

    for (int i = 0; i < k->group->cnt && rc == 0; i++) {
        rd_kafka_topic_partition_t *row = &k->group->elems[i];
        struct part *part = get_part(k, row->topic, row->partition);
        bool is_new = false;

        rc = place_part(k, part, &is_new, err);
        row->offset = atomic_load(&part->next);
        if (rc == 0 && is_new)
            add_commit(starts, part, row->offset, k->base.options.store_id);
    }
    if (rc == 0 && starts->cnt) {
        rc = commit_now(k, starts, err);
        for (int i = 0; i < starts->cnt && rc != 0; i++) {
            struct part *part = get_part(k, starts->elems[i].topic,
                                         starts->elems[i].partition);

            part->start = -1; /* resolve it again: it is not written down */
            atomic_store(&part->next, -1);
        }
    }
    return rc;
}

static void start_reading(struct source_kafka *k)
{
    rd_kafka_resp_err_t e = rd_kafka_assign(k->rk, k->group);

    if (e) {
        retry_later(k, "cannot take the partitions: %s", rd_kafka_err2str(e));
        return;
    }
    pthread_mutex_lock(&k->base.mutex);
    for (int i = 0; i < k->group->cnt; i++)
        find_part(k, k->group->elems[i].topic, k->group->elems[i].partition)
            ->is_assigned = true;
    pthread_mutex_unlock(&k->base.mutex);
    /* A pause outlives its assignment. */
    rd_kafka_resume_partitions(k->rk, k->group);
    k->is_paused = false;
    k->needs_assign = false;
    k->wants_topic = false;
    source_set_state(&k->base, SOURCE_RUNNING, "%s", "");
}

static void try_assign(struct source_kafka *k)
{
    rd_kafka_topic_partition_list_t *starts;
    struct err err = ERR_INIT;
    int rc;

    if (!k->needs_assign || !k->group || k->is_halted ||
        timing_mono_ms() < k->try_at_ms)
        return;
    starts = rd_kafka_topic_partition_list_new(k->group->cnt);
    rc = place_all(k, starts, &err);
    rd_kafka_topic_partition_list_destroy(starts);
    if (rc == 0) {
        start_reading(k);
    } else if (rc != ERR_STATE) {
        retry_later(k, "%s", err.msg);
    } else if (!k->is_halted) { /* the group is another's: leave it alone */
        halt(k, "%s", err.msg);
        rd_kafka_unsubscribe(k->rk);
    }
}

/* Called from within rd_kafka_consumer_poll. */
static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t e,
                         rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct source_kafka *k = arg;

    (void)rk;
    if (k->group)
        rd_kafka_topic_partition_list_destroy(k->group);
    k->group = NULL;
    if (e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !k->is_halted &&
        !atomic_load(&k->stopping)) {
        k->group = rd_kafka_topic_partition_list_copy(list);
        k->needs_assign = true;
        k->try_at_ms = 0;
    } else if (e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        k->group = rd_kafka_topic_partition_list_copy(list);
        drop_assignment(k);
    } else {
        drop_assignment(k);
    }
}

/* --- dead letters ------------------------------------------------------- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct source_kafka *k = arg;

    (void)rk;
    if (m->err)
        log_warn("dead_letter", "not delivered: %s", rd_kafka_err2str(m->err));
    else
        atomic_fetch_add(&k->base.dead_lettered, 1);
}

static void add_header(rd_kafka_headers_t *to, const char *name,
                       const char *fmt, int64_t number, const char *text)
{
    char value[300];

    snprintf(value, sizeof value, fmt, number, text);
    rd_kafka_header_add(to, name, -1, value, -1);
}

static rd_kafka_headers_t *letter_headers(const rd_kafka_message_t *m,
                                          const struct record *r)
{
    rd_kafka_headers_t *given, *to;

    if (rd_kafka_message_headers(m, &given) == RD_KAFKA_RESP_ERR_NO_ERROR)
        to = rd_kafka_headers_copy(given);
    else
        to = rd_kafka_headers_new(4);
    rd_kafka_header_add(to, "mneme.reason", -1, r->reason, -1);
    rd_kafka_header_add(to, "mneme.topic", -1, r->topic, -1);
    add_header(to, "mneme.partition", "%" PRId64 "%s", r->partition, "");
    add_header(to, "mneme.offset", "%" PRId64 "%s", r->offset, "");
    return to;
}

/* As it came, with the reason. A full outgoing queue is waited for a while. */
static void send_dead_letter(struct source_kafka *k,
                             const rd_kafka_message_t *m,
                             const struct record *r)
{
    int64_t until = timing_mono_ms() + DEAD_LETTER_WAIT_MS;
    rd_kafka_headers_t *headers = letter_headers(m, r);
    rd_kafka_resp_err_t e;

    for (;;) {
        e = rd_kafka_producev(
            k->producer, RD_KAFKA_V_TOPIC(kafka_conf(k)->dead_letter),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(m->key, m->key_len),
            RD_KAFKA_V_VALUE(m->payload, m->len),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL ||
            timing_mono_ms() >= until || atomic_load(&k->stopping))
            break;
        rd_kafka_poll(k->producer, POLL_MS);
    }
    if (e) {
        rd_kafka_headers_destroy(headers);
        log_warn("dead_letter", "%s [%d] offset %" PRId64 " not sent: %s",
                 r->topic, (int)r->partition, r->offset, rd_kafka_err2str(e));
    }
}

/* --- records ------------------------------------------------------------ */

/* The header `domain`, as a string: header values are any bytes. */
static char *domain_header(const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;

    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, "domain", &value, &n) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        !value)
        return NULL;
    return xstrndup(value, n);
}

/* Of a value that is too long only the beginning travels on. */
static struct record *make_record(struct source_kafka *k,
                                  const rd_kafka_message_t *m,
                                  const struct part *part)
{
    const struct conf_source *conf = &k->base.options.conf->source;
    size_t max_bytes = (size_t)conf->max_record_bytes;
    struct record *r =
        record_create_data(&k->base.maker, m->payload,
                           m->len < max_bytes ? m->len : max_bytes);
    char *domain = domain_header(m);
    int64_t time_ms = rd_kafka_message_timestamp(m, NULL);

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

/* Waits for room a little before it is held: a pause throws away what
 * librdkafka has fetched ahead. */
static void push_or_hold(struct source_kafka *k, struct record *r)
{
    struct queue *q = k->base.options.queue;

    if (!k->n_held && queue_try_push(q, r))
        return;
    for (int64_t waited = 0; !k->n_held && waited < PATIENCE_MS &&
                             !atomic_load(&k->stopping) &&
                             !atomic_load(&k->has_order);
         waited += POLL_MS)
        if (queue_push(q, r, POLL_MS))
            return;
    XGROW(k->held, k->n_held, k->cap_held);
    k->held[k->n_held++] = r;
}

/* In order; what does not fit stays. Room for more is asked for only when the
 * queue has drained to half. */
static void push_held(struct source_kafka *k)
{
    size_t done = 0;

    if (!k->n_held || !queue_has_room(k->base.options.queue))
        return;
    while (done < k->n_held &&
           queue_try_push(k->base.options.queue, k->held[done]))
        done++;
    k->n_held -= done;
    memmove(k->held, k->held + done, k->n_held * sizeof *k->held);
}

static void drop_held(struct source_kafka *k)
{
    for (size_t i = 0; i < k->n_held; i++)
        record_free(k->held[i]);
    k->n_held = 0;
}

static void take_message(struct source_kafka *k, const rd_kafka_message_t *m,
                         struct part *part)
{
    struct record *r;

    if (m->offset < atomic_load(&part->next))
        return;
    r = make_record(k, m, part);
    if (r->reason && k->producer)
        send_dead_letter(k, m, r);
    push_or_hold(k, r);
    atomic_store(&part->next, m->offset + 1);
    atomic_fetch_add(&k->base.records_read, 1);
}

/* Offsets before the end that hold nothing for us: marks of transactions. */
static void reach_end(struct source_kafka *k, int64_t end, struct part *part)
{
    int64_t next = atomic_load(&part->next);

    atomic_store(&part->end, end);
    if (end > next && next >= 0) {
        struct record *r = record_create(RECORD_HOLE);

        r->epoch = k->epoch;
        r->topic = part->topic;
        r->partition = part->partition;
        r->first_offset = next;
        r->offset = end - 1;
        push_or_hold(k, r);
        atomic_store(&part->next, end);
    }
}

/* --- errors ------------------------------------------------------------- */

/* The broker has dropped what we were about to read. */
static void lose_offset(struct source_kafka *k, struct part *part)
{
    struct source_position at = {.topic = part->topic,
                                 .partition = part->partition,
                                 .next_offset = atomic_load(&part->next),
                                 .last_learned = -1};
    struct err err = ERR_INIT;
    int64_t nearest = -1;
    int rc = kafka_place_check(&k->place, &at, &nearest, &err);

    if (rc == ERR_STATE && meet_gap(k, part, nearest, err.msg) != 0)
        return;
    /* From part->next, whatever it is now; not at once when it was there. */
    k->needs_assign = true;
    k->try_at_ms = rc == ERR_STATE ? 0 : timing_mono_ms() + RETRY_MS;
}

static void handle_error(struct source_kafka *k, const rd_kafka_message_t *m,
                         struct part *part)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (part && part->is_assigned && !k->needs_assign)
            reach_end(k, m->offset, part);
        break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (part && part->is_assigned)
            lose_offset(k, part);
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        k->wants_topic = true;
        source_set_state(&k->base, SOURCE_RETRYING, "%s: %s", servers_of(k),
                         rd_kafka_message_errstr(m));
        break;
    default:
        log_debug("kafka", "%s", rd_kafka_message_errstr(m));
    }
}

/* Called from within a poll. */
static void on_error(rd_kafka_t *rk, int e, const char *reason, void *arg)
{
    struct source_kafka *k = arg;
    char why[256];

    if (e == RD_KAFKA_RESP_ERR__FATAL) {
        e = rd_kafka_fatal_error(rk, why, sizeof why);
        halt(k, "Kafka has ended our membership: %s (%s); is another daemon "
             "running with this group.instance.id?", rd_kafka_err2str(e), why);
    } else if (e == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
               e == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
               e == RD_KAFKA_RESP_ERR__SSL) {
        k->is_away = true;
        k->try_at_ms = timing_mono_ms() + RETRY_MS;
        if (!k->is_halted)
            source_set_state(&k->base, SOURCE_RETRYING,
                             "Kafka at %s is away: %s", servers_of(k), reason);
    } else {
        log_debug("kafka", "%s: %s", rd_kafka_err2name(e), reason);
    }
}

/* All brokers were away: is one back? */
static void look_for_broker(struct source_kafka *k)
{
    const struct rd_kafka_metadata *metadata;

    if (!k->is_away || timing_mono_ms() < k->try_at_ms)
        return;
    k->try_at_ms = timing_mono_ms() + RETRY_MS;
    if (rd_kafka_metadata(k->rk, 0, NULL, &metadata, ANSWER_MS) != 0)
        return;
    rd_kafka_metadata_destroy(metadata);
    k->is_away = false;
    k->try_at_ms = 0;
    if (!k->is_halted && !k->wants_topic && !k->needs_assign)
        source_set_state(&k->base, SOURCE_RUNNING, "%s", "");
}

/* --- the thread --------------------------------------------------------- */

/* Sets the positions; partitions without one begin at their start. Those of
 * an embedded broker's earlier life mean nothing. */
static void set_positions(struct source_kafka *k,
                          const struct source_position *positions, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_configured(k, positions[i].topic))
            get_part(k, positions[i].topic, positions[i].partition);
    pthread_mutex_lock(&k->base.mutex);
    for (size_t i = 0; i < k->n_parts; i++) {
        k->parts[i]->has_position = false;
        atomic_store(&k->parts[i]->next, -1);
    }
    for (size_t i = 0; i < n; i++) {
        struct part *part =
            find_part(k, positions[i].topic, positions[i].partition);

        if (!part)
            continue;
        part->position = positions[i];
        part->position.topic = part->topic;
        part->has_position = true;
    }
    pthread_mutex_unlock(&k->base.mutex);
}

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
    drop_held(k);
    set_positions(k, o.positions, o.n);
    source_positions_free(o.positions, o.n);
    k->epoch = o.epoch;
    k->is_halted = false;
    k->needs_assign = true;
    k->try_at_ms = 0;
    if (k->group)
        drop_assignment(k);
}

static void apply_pause(struct source_kafka *k)
{
    bool want = k->n_held || atomic_load(&k->paused);
    rd_kafka_topic_partition_list_t *list = NULL;

    if (want == k->is_paused || k->needs_assign || k->is_halted || !k->group)
        return;
    list = rd_kafka_topic_partition_list_copy(k->group);
    if (want)
        rd_kafka_pause_partitions(k->rk, list);
    else
        rd_kafka_resume_partitions(k->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    k->is_paused = want;
}

static void handle_message(struct source_kafka *k, const rd_kafka_message_t *m)
{
    struct part *part = k->last;

    if (m->rkt && (!part || part->partition != m->partition ||
                   strcmp(part->topic, rd_kafka_topic_name(m->rkt)) != 0))
        part = find_part(k, rd_kafka_topic_name(m->rkt), m->partition);
    if (!m->rkt)
        part = NULL;
    if (part)
        k->last = part;
    if (m->err)
        handle_error(k, m, part);
    else if (part && part->is_assigned && !k->needs_assign)
        take_message(k, m, part);
}

static void *run(void *arg)
{
    struct source_kafka *k = arg;

    pthread_setname_np(pthread_self(), "source");
    while (!atomic_load(&k->stopping)) {
        rd_kafka_message_t *m;

        take_order(k);
        try_assign(k);
        push_held(k);
        apply_pause(k);
        m = rd_kafka_consumer_poll(k->rk, k->n_held ? 5 : POLL_MS);
        if (m) {
            handle_message(k, m);
            rd_kafka_message_destroy(m);
        }
        if (k->producer)
            rd_kafka_poll(k->producer, 0);
        look_for_broker(k);
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

static int subscribe(struct source_kafka *k, struct err *err)
{
    const struct conf_strings *topics = &kafka_conf(k)->topics;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)topics->n);
    rd_kafka_resp_err_t e;

    for (size_t i = 0; i < topics->n; i++)
        rd_kafka_topic_partition_list_add(list, topics->items[i],
                                          RD_KAFKA_PARTITION_UA);
    e = rd_kafka_subscribe(k->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e ? err_set(err, ERR_INVALID, "source.kafka.topics: %s",
                       rd_kafka_err2str(e))
             : 0;
}

static int kafka_begin(struct source *s,
                       const struct source_position *positions, size_t n,
                       int64_t epoch, struct err *err)
{
    struct source_kafka *k = kafka_of(s);
    int rc = subscribe(k, err);

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

/* The starts of partitions that the positions do not name, as positions. */
static struct source_position *
complete(struct source_kafka *k, const struct source_position *positions,
         size_t *n)
{
    struct source_position *all;
    size_t m = 0;

    pthread_mutex_lock(&k->base.mutex);
    all = xcalloc(*n + k->n_parts + 1, sizeof *all);
    for (size_t i = 0; i < *n; i++)
        if (is_configured(k, positions[i].topic))
            all[m++] = positions[i];
    *n = m;
    for (size_t i = 0; i < k->n_parts; i++) {
        const struct part *part = k->parts[i];
        bool is_named = part->start < 0;

        for (size_t j = 0; j < *n && !is_named; j++)
            is_named = all[j].partition == part->partition &&
                       strcmp(all[j].topic, part->topic) == 0;
        if (!is_named)
            all[m++] = (struct source_position){.topic = part->topic,
                                                .partition = part->partition,
                                                .next_offset = part->start,
                                                .last_learned = -1};
    }
    pthread_mutex_unlock(&k->base.mutex);
    *n = m;
    return all;
}

static int kafka_seek(struct source *s,
                      const struct source_position *positions, size_t n,
                      int64_t epoch, struct err *err)
{
    struct source_kafka *k = kafka_of(s);
    int64_t until = timing_mono_ms() + SEEK_MS;
    struct source_position *all = complete(k, positions, &n);
    struct err why = ERR_INIT;
    int64_t nearest;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (timing_mono_ms() > until - KAFKA_PLACE_WAIT_MS && i)
            rc = err_set(&why, ERR_STATE, "Kafka at %s answers too slowly",
                         servers_of(k));
        else
            rc = kafka_place_check(&k->place, &all[i], &nearest, &why);
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
    struct source_kafka *k = kafka_of(s);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)n);

    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < n; i++) {
        const struct part *part =
            find_part(k, positions[i].topic, positions[i].partition);

        if (part && part->is_assigned)
            add_commit(list, part, positions[i].next_offset,
                       s->options.store_id);
    }
    pthread_mutex_unlock(&s->mutex);
    if (list->cnt)
        rd_kafka_commit(k->rk, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

static void kafka_pause(struct source *s, bool pause)
{
    atomic_store(&kafka_of(s)->paused, pause);
}

/* The end that the last fetch told, or that of a partition read to it. */
static int64_t end_of(const struct source_kafka *k, const struct part *part)
{
    int64_t low, high = -1;

    if (rd_kafka_get_watermark_offsets(k->rk, part->topic, part->partition,
                                       &low, &high) != 0 ||
        high < atomic_load(&part->end))
        high = atomic_load(&part->end);
    return high;
}

static size_t kafka_get_partitions(struct source *s,
                                   struct source_partition **rows)
{
    struct source_kafka *k = kafka_of(s);
    size_t n;

    pthread_mutex_lock(&s->mutex);
    n = k->n_parts;
    *rows = xcalloc(n ? n : 1, sizeof **rows);
    for (size_t i = 0; i < n; i++) {
        const struct part *part = k->parts[i];
        struct source_partition *row = &(*rows)[i];
        int64_t next = atomic_load(&part->next);

        snprintf(row->topic, sizeof row->topic, "%s", part->topic);
        row->partition = part->partition;
        row->offset = next >= 0           ? next
                      : part->has_position ? part->position.next_offset
                                           : 0;
        row->end = end_of(k, part);
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}

static void close_handles(struct source_kafka *k)
{
    if (k->producer) {
        rd_kafka_flush(k->producer, FLUSH_MS);
        rd_kafka_destroy(k->producer);
    }
    if (!k->rk)
        return;
    if (k->has_thread)
        rd_kafka_consumer_close(k->rk);
    rd_kafka_destroy(k->rk);
}

static void kafka_free(struct source *s)
{
    struct source_kafka *k = kafka_of(s);

    atomic_store(&k->stopping, true);
    if (k->has_thread)
        pthread_join(k->thread, NULL);
    drop_held(k);
    close_handles(k);
    broker_stop(k->broker);
    if (k->group)
        rd_kafka_topic_partition_list_destroy(k->group);
    source_positions_free(k->order.positions, k->order.n);
    for (size_t i = 0; i < k->n_parts; i++) {
        free(k->parts[i]->topic);
        free(k->parts[i]);
    }
    free(k->parts);
    free(k->held);
    source_release(s);
    free(k);
}

/* --- creation ----------------------------------------------------------- */

static int start_broker(struct source_kafka *k, struct err *err)
{
    const struct conf_kafka *conf = kafka_conf(k);
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

static int open_consumer(struct source_kafka *k, struct err *err)
{
    char instance[64];
    rd_kafka_conf_t *conf;

    snprintf(instance, sizeof instance, "mneme-%.40s",
             k->base.options.store_id);
    conf = kafka_conf_create(kafka_conf(k), RD_KAFKA_CONSUMER,
                             k->place.servers, instance, err);
    if (!conf)
        return ERR_INVALID;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    k->rk = kafka_conf_open(RD_KAFKA_CONSUMER, conf, err);
    if (!k->rk)
        return ERR_INVALID;
    rd_kafka_poll_set_consumer(k->rk);
    k->place.rk = k->rk;
    return 0;
}

static int open_producer(struct source_kafka *k, struct err *err)
{
    rd_kafka_conf_t *conf;

    if (!kafka_conf(k)->dead_letter)
        return 0;
    conf = kafka_conf_create(kafka_conf(k), RD_KAFKA_PRODUCER,
                             k->place.servers, NULL, err);
    if (!conf)
        return ERR_INVALID;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    k->producer = kafka_conf_open(RD_KAFKA_PRODUCER, conf, err);
    return k->producer ? 0 : ERR_INVALID;
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
        .pause = kafka_pause,
        .get_partitions = kafka_get_partitions,
    };
    struct source_kafka *k = xcalloc(1, sizeof *k);
    int rc;

    source_init(&k->base, &ops, options);
    k->place.conf = kafka_conf(k);
    rc = start_broker(k, err);
    if (k->broker)
        k->place.servers = broker_address(k->broker);
    if (rc == 0)
        rc = open_consumer(k, err);
    if (rc == 0)
        rc = open_producer(k, err);
    if (rc != 0)
        kafka_free(&k->base);
    else
        *source = &k->base;
    return rc;
}
