/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topic that was deleted and created again has the same name but other
 * records. Its offsets do not show that. So a second consumer reads the last
 * learned record again, and its hash is compared.
 */
#include "config.h"

#include "daemon/stream/kafka_position.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"

const char *kafka_position_servers(const struct kafka_position_query *query)
{
    const char *given = kafka_conf_get(query->conf, "bootstrap.servers");

    return query->servers ? query->servers : given ? given : "";
}

/*
 * Asks for the first offset whose record has at least this time; -1: there is
 * none. RD_KAFKA_OFFSET_BEGINNING and RD_KAFKA_OFFSET_END as the time ask for
 * the first offset and for the end. The function for that,
 * rd_kafka_query_watermark_offsets, exceeds its timeout while no broker can be
 * reached.
 */
static int offset_at(const struct kafka_position_query *query,
                     const char *topic, int32_t partition, int64_t time_ms,
                     int64_t *offset, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *row =
        rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t e;
    int rc = 0;

    row->offset = time_ms;
    e = rd_kafka_offsets_for_times(query->rk, list, KAFKA_POSITION_WAIT_MS);
    if (!e)
        e = row->err;
    if (e)
        rc = err_set(err, ERR_AGAIN, "%s [%d]: cannot ask for its offsets: %s",
                     topic, (int)partition, rd_kafka_err2str(e));
    else
        *offset = row->offset;
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

/* Asks for the first offset, and for the offset after the last. */
static int offset_range(const struct kafka_position_query *query,
                        const char *topic, int32_t partition, int64_t *low,
                        int64_t *high, struct err *err)
{
    int rc =
        offset_at(query, topic, partition, RD_KAFKA_OFFSET_BEGINNING, low, err);

    if (rc == 0)
        rc = offset_at(query, topic, partition, RD_KAFKA_OFFSET_END, high, err);
    return rc;
}

int kafka_position_start(const struct kafka_position_query *query,
                         const char *topic, int32_t partition, bool is_new,
                         int64_t *offset, struct err *err)
{
    enum conf_start_kind kind =
        is_new ? CONF_START_EARLIEST : query->conf->start.kind;
    int64_t low, high, at = -1;
    int rc = offset_range(query, topic, partition, &low, &high, err);

    if (rc != 0)
        return rc;
    if (kind == CONF_START_TIMESTAMP)
        rc = offset_at(query, topic, partition, query->conf->start.timestamp_ms,
                       &at, err);
    if (rc == 0)
        *offset = kind == CONF_START_EARLIEST ? low : at >= 0 ? at : high;
    return rc;
}

/* Polls the first record. *found stays -1 when the partition ends before. */
static int poll_first(rd_kafka_t *reader, int64_t *found, uint64_t *hash,
                      struct err *err)
{
    int64_t until = timing_mono_ms() + KAFKA_POSITION_WAIT_MS;

    while (timing_mono_ms() < until) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, 100);
        bool done =
            m && (!m->err || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF);

        if (done && !m->err) {
            *found = m->offset;
            *hash = checksum_xxh3(m->payload, m->len, 0);
        }
        if (m)
            rd_kafka_message_destroy(m);
        if (done)
            return 0;
    }
    return err_set(err, ERR_AGAIN, "no answer from the broker");
}

/* Compares the last learned record with the one that the broker has now.
 * Compaction may have removed it: that is no difference. */
static int compare_last(const struct kafka_position_query *query,
                        const struct source_position *at, struct err *err)
{
    rd_kafka_conf_t *conf = kafka_conf_create(query->conf, RD_KAFKA_CONSUMER,
                                              query->servers, NULL, err);
    rd_kafka_t *reader =
        conf ? kafka_conf_open(RD_KAFKA_CONSUMER, conf, err) : NULL;
    rd_kafka_topic_partition_list_t *list;
    uint64_t hash = 0;
    int64_t found = -1;
    int rc;

    if (!reader)
        return ERR_INVALID;
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, at->topic, at->partition)->offset =
        at->last_learned;
    rd_kafka_assign(reader, list);
    rc = poll_first(reader, &found, &hash, err);
    rd_kafka_topic_partition_list_destroy(list);
    kafka_conf_close(reader);
    if (rc == 0 && found == at->last_learned && hash != at->last_hash)
        return err_set(err, ERR_STATE,
                       "%s [%d]: offset %" PRId64 " holds another record than "
                       "the one that was learned: another topic of that name",
                       at->topic, (int)at->partition, at->last_learned);
    return rc;
}

int kafka_position_check(const struct kafka_position_query *query,
                         const struct source_position *at, int64_t *nearest,
                         struct err *err)
{
    int64_t low, high;
    int rc = offset_range(query, at->topic, at->partition, &low, &high, err);

    if (rc != 0)
        return rc;
    if (at->next_offset < low || at->next_offset > high) {
        *nearest = at->next_offset < low ? low : high;
        return err_set(err, ERR_STATE,
                       "%s [%d]: the next offset is %" PRId64
                       ", and Kafka has %" PRId64 " to %" PRId64,
                       at->topic, (int)at->partition, at->next_offset, low,
                       high);
    }
    *nearest = low;
    if (at->last_learned >= low && at->last_learned < high)
        return compare_last(query, at, err);
    return 0;
}

/* --- marks -------------------------------------------------------------- */

#define MARK "mneme "

char *kafka_position_mark(const char *store_id, int64_t start)
{
    return xasprintf(MARK "%s %" PRId64, store_id, start);
}

bool kafka_position_read_mark(const void *mark, size_t n_bytes,
                              char store_id[80], int64_t *start)
{
    char text[160];

    if (!mark || n_bytes >= sizeof text)
        return false;
    memcpy(text, mark, n_bytes);
    text[n_bytes] = '\0';
    return sscanf(text, MARK "%79s %" SCNd64, store_id, start) == 2;
}
