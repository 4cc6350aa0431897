/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topic that was deleted and made anew has the same name and other records.
 * So the record that was learned last is read again, by a consumer made for
 * that, and its hash compared: what it says holds whatever the offsets are.
 */
#include "config.h"

#include "daemon/stream/kafka_place.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"

const char *kafka_place_servers(const struct kafka_place *place)
{
    const char *given = kafka_conf_get(place->conf, "bootstrap.servers");

    return place->servers ? place->servers : given ? given : "";
}

/*
 * The first offset whose record is at least that late; -1: none is. The
 * broker's two names for times, RD_KAFKA_OFFSET_BEGINNING and _END, ask for the
 * watermarks: rd_kafka_query_watermark_offsets does not keep to its timeout
 * while the broker is away.
 */
static int ask_time(const struct kafka_place *place, const char *topic,
                    int32_t partition, int64_t time_ms, int64_t *offset,
                    struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *row =
        rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t e;
    int rc = 0;

    row->offset = time_ms;
    e = rd_kafka_offsets_for_times(place->rk, list, KAFKA_PLACE_WAIT_MS);
    if (!e)
        e = row->err;
    if (e)
        rc = err_set(err, ERR_AGAIN,
                     "%s [%d]: cannot ask for its offsets: %s", topic,
                     (int)partition, rd_kafka_err2str(e));
    else
        *offset = row->offset;
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

static int ask_watermarks(const struct kafka_place *place, const char *topic,
                          int32_t partition, int64_t *low, int64_t *high,
                          struct err *err)
{
    int rc = ask_time(place, topic, partition, RD_KAFKA_OFFSET_BEGINNING, low,
                      err);

    if (rc == 0)
        rc = ask_time(place, topic, partition, RD_KAFKA_OFFSET_END, high, err);
    return rc;
}

int kafka_place_start(const struct kafka_place *place, const char *topic,
                      int32_t partition, bool anew, int64_t *offset,
                      struct err *err)
{
    enum conf_start_kind kind =
        anew ? CONF_START_EARLIEST : place->conf->start.kind;
    int64_t low, high, at = -1;
    int rc = ask_watermarks(place, topic, partition, &low, &high, err);

    if (rc != 0)
        return rc;
    if (kind == CONF_START_TIMESTAMP)
        rc = ask_time(place, topic, partition,
                      place->conf->start.timestamp_ms, &at, err);
    if (rc == 0)
        *offset = kind == CONF_START_EARLIEST ? low : at >= 0 ? at : high;
    return rc;
}

/* The first record from `offset` on. *found -1: the partition ends before. */
static int read_one(rd_kafka_t *reader, int64_t *found, uint64_t *hash,
                    struct err *err)
{
    int64_t until = timing_mono_ms() + KAFKA_PLACE_WAIT_MS;

    while (timing_mono_ms() < until) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, 100);
        bool done =
            m && (!m->err || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF);

        if (done && !m->err) {
            *found = m->offset;
            *hash = checksum_xxh3(m->payload, m->len, 0);
        } else if (done) {
            *found = -1;
        }
        if (m)
            rd_kafka_message_destroy(m);
        if (done)
            return 0;
    }
    return err_set(err, ERR_AGAIN, "no answer from the broker");
}

static int read_last(const struct kafka_place *place,
                     const struct source_position *at, int64_t *found,
                     uint64_t *hash, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    rd_kafka_t *reader;
    rd_kafka_conf_t *conf;
    int rc;

    conf = kafka_conf_create(place->conf, RD_KAFKA_CONSUMER, place->servers,
                             NULL, err);
    reader = conf ? kafka_conf_open(RD_KAFKA_CONSUMER, conf, err) : NULL;
    if (!reader)
        return ERR_INVALID;
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, at->topic, at->partition)->offset =
        at->last_learned;
    rd_kafka_assign(reader, list);
    rc = read_one(reader, found, hash, err);
    rd_kafka_topic_partition_list_destroy(list);
    kafka_conf_close(reader);
    return rc;
}

/* Missing is no matter (compaction): the next offset is there. */
static int compare_last(const struct kafka_place *place,
                        const struct source_position *at, struct err *err)
{
    uint64_t hash = 0;
    int64_t found = -1;
    int rc = read_last(place, at, &found, &hash, err);

    if (rc != 0)
        return rc;
    if (found == at->last_learned && hash != at->last_hash)
        return err_set(err, ERR_STATE,
                       "%s [%d]: offset %" PRId64 " holds another record than "
                       "the one that was learned: another topic of that name",
                       at->topic, (int)at->partition, at->last_learned);
    return 0;
}

int kafka_place_check(const struct kafka_place *place,
                      const struct source_position *at, int64_t *nearest,
                      struct err *err)
{
    int64_t low, high;
    int rc = ask_watermarks(place, at->topic, at->partition, &low, &high, err);

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
        return compare_last(place, at, err);
    return 0;
}

/* --- marks -------------------------------------------------------------- */

#define MARK "mneme "

char *kafka_place_mark(const char *store_id, int64_t start)
{
    return xasprintf(MARK "%s %" PRId64, store_id, start);
}

bool kafka_place_read_mark(const void *mark, size_t n_bytes, char store_id[80],
                           int64_t *start)
{
    char text[160];

    if (!mark || n_bytes >= sizeof text)
        return false;
    memcpy(text, mark, n_bytes);
    text[n_bytes] = '\0';
    return sscanf(text, MARK "%79s %" SCNd64, store_id, start) == 2;
}
