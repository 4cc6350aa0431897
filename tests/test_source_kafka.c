/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kafka source against librdkafka's mock cluster, in this process.
 *
 * A new group waits three seconds for its members there, so all sources are
 * started before the first test: each test has a topic and a group of its own
 * and finds its source assigned.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/kafka_place.h"
#include "daemon/source.h"

#define WAIT_MS 10000
#define MAX_BYTES 64

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;
static char dir[] = "/tmp/mneme-test-XXXXXX";

/* --- one source each ---------------------------------------------------- */

enum {
    EARLIEST,
    LATEST,
    STORED,
    GAP_STOP,
    GAP_SKIP,
    BEYOND,
    OTHER_TOPIC,
    OTHER_SKIP,
    FOREIGN,
    SLOW,
    SEEK,
    KINDS,
    AWAY,
    EMBEDDED,
    N_FIXTURES
};

struct fixture {
    struct conf conf;
    char *topic_name;
    char topic[32], group[32];
    struct conf_property properties[2];
    struct queue *queue;
    struct source *source;
    struct source_position position; /* stored */
    size_t n_positions;
    int64_t epoch;
};

static struct fixture fixtures[N_FIXTURES];

static void produce(const char *topic, int32_t partition, const char *value,
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

/* "0", "1", ... in each partition. */
static void produce_numbers(const char *topic, int n_partitions, int n)
{
    char value[16];

    for (int i = 0; i < n; i++) {
        snprintf(value, sizeof value, "%d", i);
        for (int p = 0; p < n_partitions; p++)
            produce(topic, p, value, strlen(value), NULL);
    }
}

static struct source_position at(const struct fixture *fx, int32_t partition,
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

static struct fixture *prepare(int which, int n_partitions, size_t queue_size)
{
    struct fixture *fx = &fixtures[which];
    struct conf_kafka *kafka = &fx->conf.source.kafka;

    snprintf(fx->topic, sizeof fx->topic, "topic-%d", which);
    snprintf(fx->group, sizeof fx->group, "group-%d", which);
    fx->topic_name = fx->topic;
    fx->conf.source.type = CONF_SOURCE_KAFKA;
    fx->conf.source.max_record_bytes = MAX_BYTES;
    kafka->topics = (struct conf_strings){&fx->topic_name, 1};
    fx->properties[0] = (struct conf_property){
        .name = "bootstrap.servers",
        .value = (char *)rd_kafka_mock_cluster_bootstraps(cluster)};
    fx->properties[1] =
        (struct conf_property){.name = "group.id", .value = fx->group};
    kafka->properties = (struct conf_properties){fx->properties, 2};
    fx->queue = queue_create(queue_size, 1 << 20);
    fx->epoch = 1;
    if (which != EMBEDDED)
        assert_int_equal(rd_kafka_mock_topic_create(cluster, fx->topic,
                                                    n_partitions, 1), 0);
    return fx;
}

static void store_position(struct fixture *fx, int64_t next, const char *last)
{
    fx->position = at(fx, 0, next, last);
    fx->n_positions = 1;
}

static void begin(struct fixture *fx)
{
    struct source_options o = {.conf = &fx->conf, .data_dir = dir,
                               .store_id = "our-store", .queue = fx->queue};
    struct err err = ERR_INIT;

    if (source_create(&o, &fx->source, &err) != 0 ||
        source_begin(fx->source, &fx->position, fx->n_positions, fx->epoch,
                     &err) != 0)
        fail_msg("%s", err.msg);
}

static struct record *expect(struct fixture *fx, int32_t partition,
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

static void expect_number(struct fixture *fx, int32_t partition,
                          int64_t offset)
{
    struct record *r = expect(fx, partition, offset);

    assert_int_equal(atoll(r->value), offset);
    assert_null(r->reason);
    record_free(r);
}

static void expect_state(struct fixture *fx, enum source_state state,
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

/* What the group has committed, by a client that is no member. */
static int64_t committed(const struct fixture *fx, int32_t partition,
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
    kafka_place_read_mark(list->elems[0].metadata,
                          list->elems[0].metadata_size, store_id, start);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return offset;
}

/* As another store's daemon would have left it. */
static void commit_as(const struct fixture *fx, const char *store_id)
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
    row->metadata = kafka_place_mark(store_id, 0);
    row->metadata_size = strlen(row->metadata);
    assert_int_equal(rd_kafka_commit(rk, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}

/* --- the tests ---------------------------------------------------------- */

static void test_earliest_of_three_partitions(void **state)
{
    struct fixture *fx = &fixtures[EARLIEST];
    int64_t next[3] = {0, 0, 0}, start = -1;
    struct source_partition *rows;
    struct source_position p;
    char store_id[80];

    (void)state;
    for (int i = 0; i < 30; i++) {
        struct record *r = queue_pop(fx->queue, WAIT_MS);

        assert_non_null(r);
        assert_int_equal(r->offset, next[r->partition]);
        assert_int_equal(atoll(r->value), next[r->partition]++);
        assert_int_equal(r->time_ms, 1234567);
        assert_string_equal(r->domain, fx->topic);
        record_free(r);
    }
    expect_state(fx, SOURCE_RUNNING, "");
    for (int i = 0; i < 3; i++) {
        int64_t offset = 0;

        /* It is told just after the record has been handed over. */
        for (int try = 0; try < 200 && offset != 10; try++) {
            assert_int_equal(source_get_partitions(fx->source, &rows), 3);
            offset = rows[i].offset;
            free(rows);
            timing_sleep_ms(offset == 10 ? 0 : 10);
        }
        assert_int_equal(offset, 10);
    }

    /* The start was committed with our mark before anything was read. */
    assert_int_equal(committed(fx, 1, store_id, &start), 0);
    assert_string_equal(store_id, "our-store");
    assert_int_equal(start, 0);

    p = at(fx, 1, 7, NULL);
    source_published(fx->source, &p, 1);
    for (int i = 0; i < 200 && committed(fx, 1, store_id, &start) != 7; i++)
        timing_sleep_ms(10);
    assert_int_equal(committed(fx, 1, store_id, &start), 7);
    assert_int_equal(start, 0);
}

static void test_latest(void **state)
{
    struct fixture *fx = &fixtures[LATEST];

    (void)state;
    expect_state(fx, SOURCE_RUNNING, "");
    assert_null(queue_pop(fx->queue, 100));
    produce(fx->topic, 0, "10", 2, NULL);
    expect_number(fx, 0, 10);
}

static void test_stored_positions(void **state)
{
    struct fixture *fx = &fixtures[STORED];

    (void)state;
    for (int64_t i = 6; i < 10; i++)
        expect_number(fx, 0, i);
}

static void test_gap_stops(void **state)
{
    struct fixture *fx = &fixtures[GAP_STOP];
    struct source_position p;
    struct source_health h;
    struct err err = ERR_INIT;
    int64_t high;

    (void)state;
    expect_state(fx, SOURCE_STOPPED, "topic-3 [0]: the next offset is 5");
    expect_state(fx, SOURCE_STOPPED, "on_gap: skip");
    assert_int_equal(queue_length(fx->queue), 0);
    source_get_health(fx->source, &h);
    assert_int_equal(h.gaps, 0);

    /* The way out: a version whose offsets are there. */
    high = atoll(strstr(h.reason, " to ") + 4);
    p = at(fx, 0, 4, NULL);
    assert_int_equal(source_seek(fx->source, &p, 1, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "topic-3 [0]"));
    p = at(fx, 0, high - 1, NULL);
    fx->epoch = 3;
    assert_int_equal(source_seek(fx->source, &p, 1, 3, &err), 0);
    record_free(expect(fx, 0, high - 1));
    expect_state(fx, SOURCE_RUNNING, "");
}

static void test_gap_is_skipped(void **state)
{
    struct fixture *fx = &fixtures[GAP_SKIP];
    struct record *r = queue_pop(fx->queue, WAIT_MS);
    struct source_health h;

    (void)state;
    assert_non_null(r);
    assert_true(r->offset > 5);
    record_free(r);
    source_get_health(fx->source, &h);
    assert_int_equal(h.gaps, 1);
    assert_int_equal(h.state, SOURCE_RUNNING);
}

static void test_position_beyond_the_end(void **state)
{
    (void)state;
    expect_state(&fixtures[BEYOND], SOURCE_STOPPED,
                 "the next offset is 99, and Kafka has 0 to 10");
}

static void test_another_topic(void **state)
{
    struct fixture *fx = &fixtures[OTHER_SKIP];

    (void)state;
    expect_state(&fixtures[OTHER_TOPIC], SOURCE_STOPPED,
                 "another topic of that name");
    expect_number(fx, 0, 0); /* skip: from its beginning */
}

static void test_group_of_another_store(void **state)
{
    struct fixture *fx = &fixtures[FOREIGN];

    (void)state;
    expect_state(fx, SOURCE_STOPPED, "belongs to another data directory");
    expect_state(fx, SOURCE_STOPPED, "their-store");
    assert_int_equal(queue_length(fx->queue), 0);
}

/* The queue holds four: pause and resume lose and repeat nothing. */
static void test_slow_consumer(void **state)
{
    struct fixture *fx = &fixtures[SLOW];
    int64_t next[3] = {0, 0, 0};

    (void)state;
    while (next[0] + next[1] + next[2] < 600) {
        struct record *r = queue_pop(fx->queue, WAIT_MS);

        assert_non_null(r);
        assert_int_equal(r->kind, RECORD_DATA);
        assert_int_equal(r->offset, next[r->partition]++);
        record_free(r);
        if (next[0] + next[1] + next[2] == 300)
            timing_sleep_ms(1300); /* longer than the source's patience */
    }
    assert_null(queue_pop(fx->queue, 100));
    produce(fx->topic, 0, "200", 3, NULL);
    expect_number(fx, 0, 200);
}

static void test_seek(void **state)
{
    struct fixture *fx = &fixtures[SEEK];
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    for (int64_t i = 0; i < 10; i++)
        expect_number(fx, 0, i);
    p = at(fx, 0, 3, "2");
    fx->epoch = 2;
    assert_int_equal(source_seek(fx->source, &p, 1, 2, &err), 0);
    for (int64_t i = 3; i < 10; i++)
        expect_number(fx, 0, i);
    p = at(fx, 0, 3, "another record");
    assert_int_equal(source_seek(fx->source, &p, 1, 3, &err), ERR_STATE);
    p = at(fx, 0, 11, NULL);
    assert_int_equal(source_seek(fx->source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "11"));
    assert_null(queue_pop(fx->queue, 100));
    fx->epoch = 4; /* before the first record: where this store began */
    assert_int_equal(source_seek(fx->source, NULL, 0, 4, &err), 0);
    expect_number(fx, 0, 0);
}

static void test_kinds_of_values(void **state)
{
    static const char *const reasons[] = {NULL, "null", "empty", "not_utf8",
                                          "too_long", NULL};
    struct fixture *fx = &fixtures[KINDS];
    struct source_health h;

    (void)state;
    for (int64_t i = 0; i < 6; i++) {
        struct record *r = expect(fx, 0, i);

        if (!reasons[i])
            assert_null(r->reason);
        else
            assert_string_equal(r->reason, reasons[i]);
        if (i == 0)
            assert_string_equal(r->domain, "news");
        if (i == 5)
            assert_string_equal(r->label, "spam");
        assert_true(r->n_bytes <= MAX_BYTES);
        record_free(r);
    }
    for (int i = 0; i < WAIT_MS; i += 10) {
        source_get_health(fx->source, &h);
        if (h.dead_lettered == 4)
            break;
        timing_sleep_ms(10);
    }
    assert_int_equal(h.dead_lettered, 4);
    assert_int_equal(h.records_read, 6);
}

static void test_embedded(void **state)
{
    struct fixture *fx = &fixtures[EMBEDDED];
    char *path = fileio_join(dir, "kafka.addr");
    struct buf address = BUF_INIT;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *saved = producer;
    struct source_health h;

    (void)state;
    assert_int_equal(fileio_read(path, 100, &address, NULL), 0);
    address.data[strcspn(address.data, "\n")] = '\0';
    rd_kafka_conf_set(conf, "bootstrap.servers", address.data, NULL, 0);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    produce_numbers(fx->topic, 1, 3);
    assert_int_equal(rd_kafka_flush(producer, WAIT_MS), 0);
    rd_kafka_destroy(producer);
    producer = saved;
    for (int64_t i = 0; i < 3; i++)
        expect_number(fx, 0, i);
    source_get_health(fx->source, &h);
    assert_int_equal(h.gaps, 1); /* the stored positions are void */
    source_free(fx->source);
    fx->source = NULL;
    assert_false(fileio_exists(path));
    buf_release(&address);
    free(path);
}

/* Last: it takes the broker down for everybody. */
static void test_broker_away(void **state)
{
    struct fixture *fx = &fixtures[AWAY];
    struct source_position p = at(fx, 0, 1, NULL);
    struct err err = ERR_INIT;
    int64_t begun = timing_mono_ms();

    (void)state;
    for (int64_t i = 0; i < 10; i++)
        expect_number(fx, 0, i);
    rd_kafka_mock_broker_set_down(cluster, -1);
    expect_state(fx, SOURCE_RETRYING, "away");
    assert_int_equal(source_seek(fx->source, &p, 1, 2, &err), ERR_STATE);
    assert_true(timing_mono_ms() - begun < 10000);
    rd_kafka_mock_broker_set_up(cluster, -1);
    expect_state(fx, SOURCE_RUNNING, "");
    produce(fx->topic, 0, "10", 2, NULL);
    expect_number(fx, 0, 10);
}

static void check_property(const char *name, const char *value,
                           const char *words)
{
    char why[256] = "";
    int rc = source_property_check(name, value, why, sizeof why);

    assert_int_equal(rc, words ? -1 : 0);
    if (words && !strstr(why, words))
        fail_msg("%s: '%s' does not say '%s'", name, why, words);
}

static void test_properties(void **state)
{
    (void)state;
    check_property("bootstrap.servers", "a:1,b:2", NULL);
    check_property("sasl.mechanisms", "SCRAM-SHA-512", NULL);
    check_property("no.such.thing", "1", "no such property");
    check_property("fetch.wait.max.ms", "soon", "fetch.wait.max.ms");
    check_property("enable.auto.commit", "true", "cannot be set");
    check_property("enable.auto.commit", "false", NULL);
    check_property("auto.offset.reset", "latest", "source.kafka.start");
    check_property("test.mock.num.brokers", "3", "embedded");
}

/* --- all of them -------------------------------------------------------- */

/* More than the mock keeps of a partition: the first offsets are gone. */
static void overflow(const struct fixture *fx)
{
    static char value[60000];

    memset(value, 'x', sizeof value);
    for (int i = 0; i < 120; i++)
        produce(fx->topic, 0, value, sizeof value, NULL);
}

static void prepare_plain(void)
{
    struct fixture *fx = prepare(EARLIEST, 3, 100);

    produce_numbers(fx->topic, 3, 10);

    fx = prepare(LATEST, 1, 100);
    fx->conf.source.kafka.start.kind = CONF_START_LATEST;
    produce_numbers(fx->topic, 1, 10);

    fx = prepare(STORED, 1, 100);
    produce_numbers(fx->topic, 1, 10);
    store_position(fx, 6, "5");

    fx = prepare(SLOW, 3, 4);
    produce_numbers(fx->topic, 3, 200);

    fx = prepare(SEEK, 1, 100);
    produce_numbers(fx->topic, 1, 10);

    fx = prepare(AWAY, 1, 100);
    produce_numbers(fx->topic, 1, 10);
}

static void prepare_gaps(void)
{
    struct fixture *fx = prepare(GAP_STOP, 1, 100);

    overflow(fx);
    store_position(fx, 5, NULL);

    fx = prepare(GAP_SKIP, 1, 100);
    fx->conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
    overflow(fx);
    store_position(fx, 5, NULL);

    fx = prepare(BEYOND, 1, 100);
    produce_numbers(fx->topic, 1, 10);
    store_position(fx, 99, NULL);

    for (int which = OTHER_TOPIC; which <= OTHER_SKIP; which++) {
        fx = prepare(which, 1, 100);
        if (which == OTHER_SKIP)
            fx->conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
        produce_numbers(fx->topic, 1, 10);
        store_position(fx, 5, "not the number 4");
    }

    fx = prepare(FOREIGN, 1, 100);
    produce_numbers(fx->topic, 1, 10);
    commit_as(fx, "their-store");
}

static void prepare_others(void)
{
    struct fixture *fx = prepare(KINDS, 1, 100);
    static char embedded[] = "embedded", dead[] = "dead-letters";
    const char *json = "{\"text\":\"a\",\"label\":\"spam\"}";
    char large[MAX_BYTES + 1];

    memset(large, 'a', sizeof large);
    fx->conf.source.kafka.dead_letter = dead;
    rd_kafka_mock_topic_create(cluster, dead, 1, 1);
    produce(fx->topic, 0, "text", 4, "news");
    produce(fx->topic, 0, NULL, 0, NULL);
    produce(fx->topic, 0, " ", 1, NULL);
    produce(fx->topic, 0, "\xff", 1, NULL);
    produce(fx->topic, 0, large, sizeof large, NULL);
    produce(fx->topic, 0, json, strlen(json), NULL);

    fx = prepare(EMBEDDED, 1, 100);
    fx->properties[0].value = embedded;
    store_position(fx, 700, "lost");
}

static int start_all(void **state)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    (void)state;
    log_configure(LOG_ERROR, LOG_TEXT);
    if (!mkdtemp(dir))
        return -1;
    rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", NULL, 0);
    rd_kafka_conf_set(conf, "linger.ms", "0", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    if (!producer)
        return -1;
    cluster = rd_kafka_handle_mock_cluster(producer);
    prepare_plain();
    prepare_gaps();
    prepare_others();
    if (rd_kafka_flush(producer, WAIT_MS) != 0)
        return -1;
    for (int i = 0; i < N_FIXTURES; i++)
        begin(&fixtures[i]);
    return 0;
}

static void *close_one(void *arg)
{
    struct fixture *fx = arg;

    source_free(fx->source);
    queue_free(fx->queue);
    return NULL;
}

static int stop_all(void **state)
{
    pthread_t threads[N_FIXTURES];

    (void)state;
    /* A consumer takes a second to close: all of them at once. */
    for (int i = 0; i < N_FIXTURES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, close_one,
                                        &fixtures[i]), 0);
    for (int i = 0; i < N_FIXTURES; i++)
        pthread_join(threads[i], NULL);
    rd_kafka_destroy(producer);
    return fileio_remove_dir(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_earliest_of_three_partitions),
        cmocka_unit_test(test_latest),
        cmocka_unit_test(test_stored_positions),
        cmocka_unit_test(test_gap_stops),
        cmocka_unit_test(test_gap_is_skipped),
        cmocka_unit_test(test_position_beyond_the_end),
        cmocka_unit_test(test_another_topic),
        cmocka_unit_test(test_group_of_another_store),
        cmocka_unit_test(test_slow_consumer),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_kinds_of_values),
        cmocka_unit_test(test_embedded),
        cmocka_unit_test(test_broker_away),
    };

    return cmocka_run_group_tests(tests, start_all, stop_all);
}
