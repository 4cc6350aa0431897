/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "daemon/stream/kafka_position.h"
#include "tests/daemon/stream/test_source_kafka_util.h"

rd_kafka_t *producer;
rd_kafka_mock_cluster_t *cluster;
char dir[] = "/tmp/mneme-test-XXXXXX";

void produce(const char *topic, int32_t partition, const char *value,
                    size_t n_bytes, const char *domain)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);

    if (domain)
        rd_kafka_header_add(headers, "domain", -1, domain, -1);
    assert_int_equal(
        rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic),
                          RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_VALUE((void *)value, n_bytes),
                          RD_KAFKA_V_TIMESTAMP(1234567),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
        0);
}

void produce_numbers(const char *topic, int n_partitions, int first, int n)
{
    char value[16];

    for (int i = first; i < first + n; i++) {
        snprintf(value, sizeof value, "%d", i);
        for (int p = 0; p < n_partitions; p++)
            produce(topic, p, value, strlen(value), NULL);
    }
}

struct source_position at(const struct fixture *fx, int32_t partition,
                                 int64_t next, const char *last)
{
    return (struct source_position){
        .topic = fx->topic,
        .partition = partition,
        .next_offset = next,
        .last_learned = last ? next - 1 : -1,
        .last_hash = last ? checksum_xxh3(last, strlen(last), 0) : 0,
    };
}

void set_property(struct fixture *fx, const char *name, const char *value)
{
    struct conf_properties *all = &fx->conf.source.kafka.properties;
    size_t i = 0;

    while (i < all->n && strcmp(fx->properties[i].name, name) != 0)
        i++;
    assert_true(i < sizeof fx->properties / sizeof *fx->properties);
    fx->properties[i] = (struct conf_property){.name = (char *)name,
                                               .value = (char *)value};
    *all = (struct conf_properties){fx->properties,
                                    i < all->n ? all->n : i + 1};
}

void prepare(struct fixture *fx, int number, size_t queue_size)
{
    struct conf_source *source = &fx->conf.source;

    snprintf(fx->topic, sizeof fx->topic, "topic-%d", number);
    snprintf(fx->group, sizeof fx->group, "group-%d", number);
    fx->topic_name = fx->topic;
    fx->store_id = "our-store";
    source->type = CONF_SOURCE_KAFKA;
    source->max_record_bytes = MAX_BYTES;
    source->kafka.topics = (struct conf_strings){&fx->topic_name, 1};
    set_property(fx, "bootstrap.servers",
                 rd_kafka_mock_cluster_bootstraps(cluster));
    set_property(fx, "group.id", fx->group);
    fx->queue = queue_create(queue_size, 1 << 20);
    fx->epoch = 1;
}

void create_topic(const struct fixture *fx, int n_partitions)
{
    assert_int_equal(rd_kafka_mock_topic_create(cluster, fx->topic,
                                                n_partitions, 1), 0);
}

void store_position(struct fixture *fx, int64_t next, const char *last)
{
    fx->position = at(fx, 0, next, last);
    fx->n_positions = 1;
}

void begin(struct fixture *fx)
{
    struct source_options o = {.conf = &fx->conf, .data_dir = dir,
                               .store_id = fx->store_id, .queue = fx->queue};
    struct err err = ERR_INIT;

    if (source_create(&o, &fx->source, &err) != 0 ||
        source_begin(fx->source, &fx->position, fx->n_positions, fx->epoch,
                     &err) != 0)
        fail_msg("%s", err.msg);
}

struct record *expect(struct fixture *fx, int32_t partition,
                             int64_t offset)
{
    struct record *r = queue_pop(fx->queue, WAIT_MS);

    assert_non_null(r);
    assert_int_equal(r->kind, RECORD_DATA);
    assert_string_equal(r->topic, fx->topic);
    assert_int_equal(r->partition, partition);
    assert_int_equal(r->offset, offset);
    assert_int_equal(r->epoch, fx->epoch);
    return r;
}

void expect_number(struct fixture *fx, int32_t partition,
                          int64_t offset)
{
    struct record *r = expect(fx, partition, offset);

    assert_int_equal(atoll(r->value), offset);
    assert_null(r->reason);
    record_free(r);
}

void expect_state(struct fixture *fx, enum source_state state,
                         const char *words)
{
    struct source_health h;

    for (int i = 0; i < WAIT_MS; i += 5) {
        source_get_health(fx->source, &h);
        if (h.state == state)
            break;
        timing_sleep_ms(5);
    }
    if (h.state != state)
        fail_msg("state %d, not %d: %s", (int)h.state, (int)state, h.reason);
    if (!strstr(h.reason, words))
        fail_msg("'%s' does not say '%s'", h.reason, words);
}

int64_t committed(const struct fixture *fx, int32_t partition,
                         char store_id[80], int64_t *start)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_t *rk;
    int64_t offset;

    rd_kafka_conf_set(conf, "bootstrap.servers",
                      rd_kafka_mock_cluster_bootstraps(cluster), NULL, 0);
    rd_kafka_conf_set(conf, "group.id", fx->group, NULL, 0);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
    rd_kafka_topic_partition_list_add(list, fx->topic, partition);
    assert_int_equal(rd_kafka_committed(rk, list, WAIT_MS), 0);
    offset = list->elems[0].offset;
    store_id[0] = '\0';
    kafka_position_read_mark(list->elems[0].metadata,
                             list->elems[0].metadata_size, store_id, start);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return offset;
}

void commit_as(const struct fixture *fx, const char *store_id)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *row =
        rd_kafka_topic_partition_list_add(list, fx->topic, 0);
    rd_kafka_t *rk;

    rd_kafka_conf_set(conf, "bootstrap.servers",
                      rd_kafka_mock_cluster_bootstraps(cluster), NULL, 0);
    rd_kafka_conf_set(conf, "group.id", fx->group, NULL, 0);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
    row->offset = 1;
    row->metadata = kafka_position_mark(store_id, 0);
    row->metadata_size = strlen(row->metadata);
    assert_int_equal(rd_kafka_commit(rk, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}

void overflow(const char *topic)
{
    static char value[60000];

    memset(value, 'x', sizeof value);
    for (int i = 0; i < 120; i++)
        produce(topic, 0, value, sizeof value, NULL);
}

void expect_in_order(struct fixture *fx, int64_t *next, int n)
{
    for (int i = 0; i < n; i++) {
        struct record *r = queue_pop(fx->queue, WAIT_MS);

        assert_non_null(r);
        assert_int_equal(r->kind, RECORD_DATA);
        assert_int_equal(r->offset, next[r->partition]++);
        record_free(r);
    }
}

void close_source(struct fixture *fx)
{
    source_free(fx->source);
    queue_free(fx->queue);
    fx->source = NULL;
    fx->queue = NULL;
}

int start_cluster(const char *n_brokers)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    log_configure(LOG_ERROR, LOG_TEXT);
    if (!mkdtemp(dir))
        return -1;
    rd_kafka_conf_set(conf, "test.mock.num.brokers", n_brokers, NULL, 0);
    rd_kafka_conf_set(conf, "linger.ms", "0", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    if (!producer)
        return -1;
    cluster = rd_kafka_handle_mock_cluster(producer);
    return 0;
}

int stop_cluster(void)
{
    rd_kafka_destroy(producer);
    return fileio_remove_dir(dir, NULL);
}
