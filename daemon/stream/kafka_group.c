/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group says which partitions (g->list); where each goes on is found
 * outside its callback, since the broker has to be asked for that. Every change
 * of place - an assignment, a seek, a gap that is skipped - is one and the same
 * thing: rd_kafka_assign of all partitions with explicit offsets.
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
#define ANSWER_MS 1000 /* of a broker, when it has nothing else to answer */
#define ANSWER_MOST_MS 5000 /* reading waits for it, and so does the end */
#define PATIENCE 3    /* answers that do not come, until all brokers are away */

/* --- halting, gaps ------------------------------------------------------ */

/*
 * Reads nothing. What the group gave is answered with an empty list: to NULL
 * librdkafka goes on waiting for our answer, and no unsubscribe and no
 * rebalance gets past that.
 */
static void drop_assignment(struct kafka_group *g)
{
    rd_kafka_topic_partition_list_t *none =
        g->list ? rd_kafka_topic_partition_list_new(0) : NULL;

    rd_kafka_assign(g->rk, none);
    if (none)
        rd_kafka_topic_partition_list_destroy(none);
    kafka_parts_set_assigned(&g->parts, NULL);
}

/* Reads no more, until a seek. */
static void __attribute__((format(printf, 2, 3)))
halt(struct kafka_group *g, const char *fmt, ...)
{
    char reason[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    drop_assignment(g);
    g->is_halted = true;
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
    g->try_at_ms = timing_mono_ms() + RETRY_MS;
    source_set_state(g->source, SOURCE_RETRYING, "%s", reason);
}

/* A position that cannot be read on from. Returns 0 when it is skipped, with
 * part->next set; ERR_STATE: halted. */
static int meet_gap(struct kafka_group *g, struct kafka_part *part,
                    int64_t nearest, const char *what)
{
    if (g->place.conf->on_gap == CONF_ON_GAP_STOP) {
        halt(g, "%s; roll back to a version whose offsets are there, or set "
             "source.kafka.on_gap: skip", what);
        return ERR_STATE;
    }
    source_count_gap(g->source, "%s; going on at %" PRId64, what, nearest);
    atomic_store(&part->next, nearest);
    atomic_store(&part->went_on, nearest);
    return 0;
}

/* --- assigning ---------------------------------------------------------- */

/* Where the part goes on as far as is known here, and what was read last. */
static struct source_position known_place(const struct kafka_part *part)
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
 * Sets part->next to a place that is known, if it still means the same. Past
 * the end of what Kafka has, records were lost, and what was learned is not
 * learned again; but a topic that has been made anew is read from its
 * beginning.
 */
static int place_known(struct kafka_group *g, struct kafka_part *part,
                       struct err *err)
{
    struct source_position at = known_place(part);
    struct err gap = ERR_INIT;
    int64_t nearest = -1;
    int rc = kafka_place_check(&g->place, &at, &nearest, &gap);

    if (rc == ERR_STATE) {
        rc = part->is_gone && nearest < at.next_offset
                 ? kafka_place_start(&g->place, part->topic, part->partition,
                                     true, &nearest, err)
                 : 0;
        return rc != 0 ? rc : meet_gap(g, part, nearest, gap.msg);
    }
    if (rc != 0)
        return err_set(err, rc, "%s", gap.msg);
    atomic_store(&part->next, at.next_offset);
    return 0;
}

/* Sets part->next. *is_new: resolved from the configuration. ERR_AGAIN;
 * ERR_STATE: halted. */
static int place_part(struct kafka_group *g, struct kafka_part *part,
                      bool *is_new, struct err *err)
{
    int64_t offset = -1;
    int rc;

    if (part->has_position || atomic_load(&part->start) >= 0)
        rc = atomic_load(&part->next) < 0 || part->is_doubted
                 ? place_known(g, part, err)
                 : 0;
    else if (atomic_load(&part->next) >= 0)
        rc = 0;
    else
        rc = kafka_place_start(&g->place, part->topic, part->partition,
                               kafka_parts_has_begun(&g->parts, part->topic),
                               &offset, err);
    if (rc == 0 && offset >= 0) {
        atomic_store(&part->next, offset);
        *is_new = true;
    }
    if (rc == 0)
        part->is_doubted = part->is_gone = false;
    return rc;
}

/* Places every partition of the group's list and writes the offsets into it;
 * starts that are new are committed. */
static int place_all(struct kafka_group *g, struct err *err)
{
    rd_kafka_topic_partition_list_t *starts =
        rd_kafka_topic_partition_list_new(g->list->cnt);
    int rc = kafka_parts_read_marks(&g->parts, &g->place, g->list, err);

    for (int i = 0; i < g->list->cnt && rc == 0; i++) {
        rd_kafka_topic_partition_t *row = &g->list->elems[i];
        struct kafka_part *part =
            kafka_parts_get(&g->parts, row->topic, row->partition);
        bool is_new = false;

        rc = place_part(g, part, &is_new, err);
        row->offset = atomic_load(&part->next);
        if (rc == 0 && is_new)
            kafka_parts_add_commit(&g->parts, part, row->offset, row->offset,
                                   starts);
    }
    if (rc == 0)
        rc = kafka_parts_commit_starts(&g->parts, g->rk, starts, err);
    else
        kafka_parts_drop_starts(&g->parts, starts);
    rd_kafka_topic_partition_list_destroy(starts);
    return rc;
}

static void start_reading(struct kafka_group *g)
{
    rd_kafka_resp_err_t e = rd_kafka_assign(g->rk, g->list);

    if (e) {
        retry_later(g, "cannot take the partitions: %s", rd_kafka_err2str(e));
        return;
    }
    kafka_parts_set_assigned(&g->parts, g->list);
    /* A pause outlives its assignment. */
    rd_kafka_resume_partitions(g->rk, g->list);
    g->is_paused = false;
    g->needs_assign = false;
    g->wants_topic = false;
    source_set_state(g->source, SOURCE_RUNNING, "%s", "");
}

void kafka_group_try(struct kafka_group *g)
{
    struct err err = ERR_INIT;
    int rc;

    if (!g->needs_assign || !g->list || g->is_halted ||
        timing_mono_ms() < g->try_at_ms)
        return;
    rc = place_all(g, &err);
    if (rc == 0) {
        start_reading(g);
    } else if (rc != ERR_STATE) {
        retry_later(g, "%s", err.msg);
    } else if (!g->is_halted) { /* the group is another's: leave it alone */
        halt(g, "%s", err.msg);
        rd_kafka_unsubscribe(g->rk);
    }
}

static void assign_again(struct kafka_group *g)
{
    g->needs_assign = true;
    g->try_at_ms = 0;
}

void kafka_group_set_positions(struct kafka_group *g,
                               const struct source_position *positions,
                               size_t n)
{
    kafka_parts_set_positions(&g->parts, positions, n);
    g->is_halted = false;
    assign_again(g);
    if (g->list)
        drop_assignment(g);
}

void kafka_group_pause(struct kafka_group *g, bool pause)
{
    rd_kafka_topic_partition_list_t *list;

    if (pause == g->is_paused || g->needs_assign || g->is_halted || !g->list)
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
                            const struct kafka_part *part)
{
    return part && part->is_assigned && !g->needs_assign;
}

/* Called from within rd_kafka_consumer_poll. */
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
        kafka_parts_set_listed(&g->parts, list);
    }
    if (g->list && !g->is_halted && !atomic_load(g->stopping))
        assign_again(g);
    else
        drop_assignment(g);
}

/* --- errors ------------------------------------------------------------- */

/* Looks again at doubted parts; not at once, for they may be there. */
static void place_again(struct kafka_group *g)
{
    if (!g->list || !g->list->cnt || g->is_halted || g->needs_assign)
        return;
    g->needs_assign = true;
    g->try_at_ms = timing_mono_ms() + RETRY_MS;
}

void kafka_group_take_error(struct kafka_group *g, const rd_kafka_message_t *m,
                            struct kafka_part *part)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (part && part->is_assigned) {
            part->is_doubted = true;
            place_again(g);
        }
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        kafka_parts_doubt(&g->parts,
                          m->rkt ? rd_kafka_topic_name(m->rkt) : NULL);
        place_again(g);
        /* fall through */
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        g->wants_topic = true;
        source_set_state(g->source, SOURCE_RETRYING, "%s: %s",
                         kafka_place_servers(&g->place),
                         rd_kafka_message_errstr(m));
        break;
    default:
        log_debug("kafka", "%s", rd_kafka_message_errstr(m));
    }
}

static void say_down(struct kafka_group *g, const char *how,
                     const char *reason)
{
    g->link = KAFKA_LINK_DOWN;
    g->try_at_ms = timing_mono_ms() + RETRY_MS;
    if (!g->is_halted)
        source_set_state(g->source, SOURCE_RETRYING, "Kafka at %s %s: %s",
                         kafka_place_servers(&g->place), how, reason);
}

/* Called from within a poll. */
static void on_error(rd_kafka_t *rk, int e, const char *reason, void *arg)
{
    struct kafka_group *g = arg;
    char why[256];

    if (e == RD_KAFKA_RESP_ERR__FATAL) {
        e = rd_kafka_fatal_error(rk, why, sizeof why);
        halt(g, "Kafka has ended our membership: %s (%s); is another daemon "
             "running with this group.instance.id?", rd_kafka_err2str(e), why);
    } else if (e == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
               e == RD_KAFKA_RESP_ERR__SSL) {
        say_down(g, "cannot be used", reason);
    } else {
        log_debug("kafka", "%s: %s", rd_kafka_err2name(e), reason);
        /* It counts the brokers that are down, and the count can be wrong
         * either way: that all are is not always said, and is said when one
         * of two is. */
        if (g->link == KAFKA_LINK_UP)
            g->link = KAFKA_LINK_DOUBTED;
    }
}

/* A broker answers one request of a connection after the other, and a fetch
 * only when there is something, or after fetch.wait.max.ms. */
static int answer_ms(struct kafka_group *g)
{
    char text[32] = "";
    size_t size = sizeof text;
    int64_t most = ANSWER_MS;

    if (rd_kafka_conf_get(rd_kafka_conf(g->rk), "fetch.wait.max.ms", text,
                          &size) == RD_KAFKA_CONF_OK)
        most += atoll(text);
    return (int)(most < ANSWER_MOST_MS ? most : ANSWER_MOST_MS);
}

void kafka_group_look_for_broker(struct kafka_group *g)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t e;

    if (g->link == KAFKA_LINK_UP || timing_mono_ms() < g->look_at_ms)
        return;
    e = rd_kafka_metadata(g->rk, 0, NULL, &metadata, answer_ms(g));
    g->look_at_ms = timing_mono_ms() + RETRY_MS;
    if (e && g->link == KAFKA_LINK_DOWN)
        g->try_at_ms = g->look_at_ms;
    else if (e && ++g->n_unanswered >= PATIENCE)
        say_down(g, "is away", rd_kafka_err2str(e));
    if (e)
        return;
    rd_kafka_metadata_destroy(metadata);
    g->n_unanswered = 0;
    if (g->link == KAFKA_LINK_DOWN) {
        g->try_at_ms = 0;
        if (!g->is_halted && !g->wants_topic && !g->needs_assign)
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
    g->place.conf = conf;
    g->place.servers = servers;
    kafka_parts_init(&g->parts, &conf->topics, source->options.store_id);
    snprintf(instance, sizeof instance, "mneme-%.40s",
             source->options.store_id);
    to = kafka_conf_create(conf, RD_KAFKA_CONSUMER, servers, instance, err);
    if (!to)
        return ERR_INVALID;
    rd_kafka_conf_set_opaque(to, g);
    rd_kafka_conf_set_rebalance_cb(to, on_rebalance);
    rd_kafka_conf_set_error_cb(to, on_error);
    g->rk = g->place.rk = kafka_conf_open(RD_KAFKA_CONSUMER, to, err);
    if (!g->rk)
        return ERR_INVALID;
    rd_kafka_poll_set_consumer(g->rk);
    return 0;
}

int kafka_group_subscribe(struct kafka_group *g, struct err *err)
{
    const struct conf_strings *topics = &g->place.conf->topics;
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
    kafka_parts_release(&g->parts);
}
