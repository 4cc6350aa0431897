/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rebalance callback stores the assigned partitions in g->list. Their
 * offsets are found later, outside the callback, since that takes questions to
 * the broker. An assignment, a seek and a skipped gap all end in the same call:
 * rd_kafka_assign of all partitions with explicit offsets.
 */
#include "config.h"

#include "daemon/stream/kafka_group.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "daemon/stream/kafka_conf.h"

#define RETRY_MS 1000
#define ANSWER_MS 1000 /* for an answer, when no other request is waiting */
#define ANSWER_MOST_MS 5000 /* a limit, as reading and a stop wait for it */
#define PATIENCE 3 /* unanswered questions before the link counts as down */

/* --- stopping, gaps ----------------------------------------------------- */

/*
 * Ends the reading of all partitions. An assignment of the group is answered
 * with an empty list. NULL would be no answer: librdkafka would wait for one
 * and hold back every rebalance and unsubscribe.
 */
static void drop_assignment(struct kafka_group *g)
{
    rd_kafka_topic_partition_list_t *none =
        g->list ? rd_kafka_topic_partition_list_new(0) : NULL;

    rd_kafka_assign(g->rk, none);
    if (none)
        rd_kafka_topic_partition_list_destroy(none);
    kafka_partitions_set_assigned(&g->parts, NULL);
}

/* Stops reading until a seek. */
static void __attribute__((format(printf, 2, 3)))
stop_reading(struct kafka_group *g, const char *fmt, ...)
{
    char reason[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    drop_assignment(g);
    g->is_stopped = true;
    g->needs_assign = false;
    source_set_state(g->source, SOURCE_STOPPED, "%s", reason);
}

static void __attribute__((format(printf, 2, 3)))
retry_later(struct kafka_group *g, const char *fmt, ...)
{
    char reason[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    g->retry_ms = timing_mono_ms() + RETRY_MS;
    source_set_state(g->source, SOURCE_RETRYING, "%s", reason);
}

/* Handles a gap as source.kafka.on_gap says. Returns 0 with part->next set, or
 * ERR_STATE when reading has stopped. */
static int handle_gap(struct kafka_group *g, struct kafka_partition *part,
                      int64_t nearest, const char *gap)
{
    if (g->query.conf->on_gap == CONF_ON_GAP_STOP) {
        stop_reading(g,
                     "%s; roll back to a version whose offsets Kafka still "
                     "has, or set source.kafka.on_gap: skip",
                     gap);
        return ERR_STATE;
    }
    source_count_gap(g->source, "%s; reading continues at %" PRId64, gap,
                     nearest);
    atomic_store(&part->next, nearest);
    atomic_store(&part->resume, nearest);
    return 0;
}

/* --- assignment --------------------------------------------------------- */

/* The position to continue at: of this process, or else of the store. */
static struct source_position known_position(const struct kafka_partition *part)
{
    struct source_position at = {.topic = part->topic,
                                 .partition = part->partition,
                                 .next_offset = atomic_load(&part->start),
                                 .last_learned = -1};
    int64_t next = atomic_load(&part->next);

    if (part->has_position)
        at = part->position;
    if (next >= 0)
        at.next_offset = next;
    if (part->last_read >= 0) {
        at.last_learned = part->last_read;
        at.last_hash = part->last_hash;
    }
    return at;
}

/*
 * Sets part->next to the known position, if that is still valid. A next offset
 * behind the partition's end means that records were lost. Reading then
 * continues at the end, so that nothing is learned twice. But a topic that was
 * created again is read from its beginning.
 */
static int use_known_position(struct kafka_group *g,
                              struct kafka_partition *part, struct err *err)
{
    struct source_position at = known_position(part);
    struct err gap = ERR_INIT;
    int64_t nearest = -1;
    int rc = kafka_position_check(&g->query, &at, &nearest, &gap);

    if (rc == ERR_STATE) {
        rc = part->may_be_recreated && nearest < at.next_offset
                 ? kafka_position_start(&g->query, part->topic, part->partition,
                                        true, &nearest, err)
                 : 0;
        return rc != 0 ? rc : handle_gap(g, part, nearest, gap.msg);
    }
    if (rc != 0)
        return err_set(err, rc, "%s", gap.msg);
    atomic_store(&part->next, at.next_offset);
    return 0;
}

/* Sets part->next. ERR_AGAIN: no answer; ERR_STATE: reading has stopped.
 *   is_new  is set when source.kafka.start has given the offset */
static int find_offset(struct kafka_group *g, struct kafka_partition *part,
                       bool *is_new, struct err *err)
{
    int64_t offset = -1;
    int rc;

    if (part->has_position || atomic_load(&part->start) >= 0)
        rc = atomic_load(&part->next) < 0 || part->needs_check
                 ? use_known_position(g, part, err)
                 : 0;
    else if (atomic_load(&part->next) >= 0)
        rc = 0;
    else
        rc = kafka_position_start(
            &g->query, part->topic, part->partition,
            kafka_partitions_has_begun(&g->parts, part->topic), &offset, err);
    if (rc == 0 && offset >= 0) {
        atomic_store(&part->next, offset);
        *is_new = true;
    }
    if (rc == 0)
        part->needs_check = part->may_be_recreated = false;
    return rc;
}

/* Finds the offset of every partition in the group's list, and writes it into
 * the list. Commits new starts. */
static int find_offsets(struct kafka_group *g, struct err *err)
{
    rd_kafka_topic_partition_list_t *starts =
        rd_kafka_topic_partition_list_new(g->list->cnt);
    int rc = kafka_partitions_read_marks(&g->parts, &g->query, g->list, err);

    for (int i = 0; i < g->list->cnt && rc == 0; i++) {
        rd_kafka_topic_partition_t *row = &g->list->elems[i];
        struct kafka_partition *part =
            kafka_partitions_get(&g->parts, row->topic, row->partition);
        bool is_new = false;

        rc = find_offset(g, part, &is_new, err);
        row->offset = atomic_load(&part->next);
        if (rc == 0 && is_new)
            kafka_partitions_add_commit(&g->parts, part, row->offset,
                                        row->offset, starts);
    }
    if (rc == 0)
        rc = kafka_partitions_commit_starts(&g->parts, g->rk, starts, err);
    for (int i = 0; i < starts->cnt && rc != 0; i++) /* are to be found again */
        atomic_store(&kafka_partitions_get(&g->parts, starts->elems[i].topic,
                                           starts->elems[i].partition)
                          ->next,
                     -1);
    rd_kafka_topic_partition_list_destroy(starts);
    return rc;
}

void kafka_group_assign(struct kafka_group *g)
{
    struct err err = ERR_INIT;
    rd_kafka_resp_err_t e;
    int rc;

    if (!g->needs_assign || !g->list || g->is_stopped ||
        timing_mono_ms() < g->retry_ms)
        return;
    rc = find_offsets(g, &err);
    if (rc == ERR_STATE && !g->is_stopped) { /* the group is another store's */
        stop_reading(g, "%s", err.msg);
        rd_kafka_unsubscribe(g->rk);
    } else if (rc != 0 && rc != ERR_STATE) {
        retry_later(g, "%s", err.msg);
    }
    if (rc != 0)
        return;
    e = rd_kafka_assign(g->rk, g->list);
    if (e) {
        retry_later(g, "cannot read the assigned partitions: %s",
                    rd_kafka_err2str(e));
        return;
    }
    kafka_partitions_set_assigned(&g->parts, g->list);
    /* librdkafka keeps a pause beyond its assignment. */
    rd_kafka_resume_partitions(g->rk, g->list);
    g->is_paused = false;
    g->needs_assign = false;
    g->misses_topic = false;
    source_set_state(g->source, SOURCE_RUNNING, "%s", "");
}

static void assign_again(struct kafka_group *g)
{
    g->needs_assign = true;
    g->retry_ms = 0;
}

void kafka_group_set_positions(struct kafka_group *g,
                               const struct source_position *positions,
                               size_t n)
{
    kafka_partitions_set_positions(&g->parts, positions, n);
    g->is_stopped = false;
    assign_again(g);
    if (g->list)
        drop_assignment(g);
}

void kafka_group_pause(struct kafka_group *g, bool pause)
{
    rd_kafka_topic_partition_list_t *list;

    if (pause == g->is_paused || g->needs_assign || g->is_stopped || !g->list)
        return;
    list = rd_kafka_topic_partition_list_copy(g->list);
    if (pause)
        rd_kafka_pause_partitions(g->rk, list);
    else
        rd_kafka_resume_partitions(g->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    g->is_paused = pause;
}

bool kafka_group_is_reading(const struct kafka_group *g,
                            const struct kafka_partition *part)
{
    return part && part->is_assigned && !g->needs_assign;
}

/* Threads: polling, inside rd_kafka_consumer_poll */
static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t e,
                         rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct kafka_group *g = arg;

    (void)rk;
    if (g->list)
        rd_kafka_topic_partition_list_destroy(g->list);
    g->list = NULL;
    if (e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        g->list = rd_kafka_topic_partition_list_copy(list);
        kafka_partitions_set_listed(&g->parts, list);
    }
    if (g->list && !g->is_stopped && !atomic_load(g->stopping))
        assign_again(g);
    else
        drop_assignment(g);
}

/* --- errors ------------------------------------------------------------- */

/* Checks the positions again after a pause: the error may be temporary. */
static void check_positions_later(struct kafka_group *g)
{
    if (!g->list || !g->list->cnt || g->is_stopped || g->needs_assign)
        return;
    g->needs_assign = true;
    g->retry_ms = timing_mono_ms() + RETRY_MS;
}

void kafka_group_handle_error(struct kafka_group *g,
                              const rd_kafka_message_t *m,
                              struct kafka_partition *part)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (part && part->is_assigned) {
            part->needs_check = true;
            check_positions_later(g);
        }
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        kafka_partitions_miss_topic(
            &g->parts, m->rkt ? rd_kafka_topic_name(m->rkt) : NULL);
        check_positions_later(g);
        /* fall through */
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        g->misses_topic = true;
        source_set_state(g->source, SOURCE_RETRYING, "%s: %s",
                         kafka_position_servers(&g->query),
                         rd_kafka_message_errstr(m));
        break;
    default:
        log_debug("kafka", "%s", rd_kafka_message_errstr(m));
    }
}

static void set_link_down(struct kafka_group *g, const char *how,
                          const char *reason)
{
    g->link = KAFKA_LINK_DOWN;
    g->retry_ms = timing_mono_ms() + RETRY_MS;
    if (!g->is_stopped)
        source_set_state(g->source, SOURCE_RETRYING, "Kafka at %s %s: %s",
                         kafka_position_servers(&g->query), how, reason);
}

/* Threads: polling, inside a poll */
static void on_error(rd_kafka_t *rk, int e, const char *reason, void *arg)
{
    struct kafka_group *g = arg;
    char why[256];

    if (e == RD_KAFKA_RESP_ERR__FATAL) {
        e = rd_kafka_fatal_error(rk, why, sizeof why);
        stop_reading(g,
                     "Kafka has ended the membership in the group: %s (%s); "
                     "is another daemon running with this group.instance.id?",
                     rd_kafka_err2str(e), why);
    } else if (e == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
               e == RD_KAFKA_RESP_ERR__SSL) {
        set_link_down(g, "cannot be used", reason);
    } else {
        log_debug("kafka", "%s: %s", rd_kafka_err2name(e), reason);
        /* librdkafka also reports that all brokers are down. That report is
         * not reliable: it may be missing, or come when one of two is down. */
        if (g->link == KAFKA_LINK_UP)
            g->link = KAFKA_LINK_UNSURE;
    }
}

/* How long to wait for an answer. A broker answers the requests of a connection
 * in order. It answers a fetch when it has records, or after fetch.wait.max.ms.
 */
static int answer_timeout_ms(struct kafka_group *g)
{
    char text[32] = "";
    size_t size = sizeof text;
    int64_t most = ANSWER_MS;

    if (rd_kafka_conf_get(rd_kafka_conf(g->rk), "fetch.wait.max.ms", text,
                          &size) == RD_KAFKA_CONF_OK)
        most += atoll(text);
    return (int)(most < ANSWER_MOST_MS ? most : ANSWER_MOST_MS);
}

void kafka_group_check_broker(struct kafka_group *g)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t e;

    if (g->link == KAFKA_LINK_UP || timing_mono_ms() < g->check_ms)
        return;
    e = rd_kafka_metadata(g->rk, 0, NULL, &metadata, answer_timeout_ms(g));
    g->check_ms = timing_mono_ms() + RETRY_MS;
    if (e && g->link == KAFKA_LINK_DOWN)
        g->retry_ms = g->check_ms;
    else if (e && ++g->n_unanswered >= PATIENCE)
        set_link_down(g, "does not answer", rd_kafka_err2str(e));
    if (e)
        return;
    rd_kafka_metadata_destroy(metadata);
    g->n_unanswered = 0;
    if (g->link == KAFKA_LINK_DOWN) {
        g->retry_ms = 0;
        if (!g->is_stopped && !g->misses_topic && !g->needs_assign)
            source_set_state(g->source, SOURCE_RUNNING, "%s", "");
    }
    g->link = KAFKA_LINK_UP;
}

/* --- the handle --------------------------------------------------------- */

int kafka_group_open(struct kafka_group *g, struct source *source,
                     const char *servers, const _Atomic bool *stopping,
                     struct err *err)
{
    const struct conf_kafka *conf = &source->options.conf->source.kafka;
    char instance[64];
    rd_kafka_conf_t *to;

    g->source = source;
    g->stopping = stopping;
    g->query.conf = conf;
    g->query.servers = servers;
    kafka_partitions_init(&g->parts, &conf->topics, source->options.store_id);
    snprintf(instance, sizeof instance, "mneme-%.40s",
             source->options.store_id);
    to = kafka_conf_create(conf, RD_KAFKA_CONSUMER, servers, instance, err);
    if (!to)
        return ERR_INVALID;
    rd_kafka_conf_set_opaque(to, g);
    rd_kafka_conf_set_rebalance_cb(to, on_rebalance);
    rd_kafka_conf_set_error_cb(to, on_error);
    g->rk = g->query.rk = kafka_conf_open(RD_KAFKA_CONSUMER, to, err);
    if (!g->rk)
        return ERR_INVALID;
    rd_kafka_poll_set_consumer(g->rk);
    return 0;
}

int kafka_group_subscribe(struct kafka_group *g, struct err *err)
{
    const struct conf_strings *topics = &g->query.conf->topics;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)topics->n);
    rd_kafka_resp_err_t e;

    for (size_t i = 0; i < topics->n; i++)
        rd_kafka_topic_partition_list_add(list, topics->items[i],
                                          RD_KAFKA_PARTITION_UA);
    e = rd_kafka_subscribe(g->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e ? err_set(err, ERR_INVALID, "source.kafka.topics: %s",
                       rd_kafka_err2str(e))
             : 0;
}

void kafka_group_close(struct kafka_group *g, bool leave)
{
    if (g->rk && leave)
        rd_kafka_consumer_close(g->rk);
    if (g->rk)
        kafka_conf_close(g->rk);
    if (g->list)
        rd_kafka_topic_partition_list_destroy(g->list);
    kafka_partitions_release(&g->parts);
}
