/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kafka source, with librdkafka's mock cluster in the same process. All
 * sources start before the first test.
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

#include "base/fileio.h"
#include "base/timing.h"
#include "tests/daemon/stream/test_source_kafka_util.h"

/* --- one source for each test ------------------------------------------- */

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
    LETTERS,
    TIMED,
    TIMED_LATE,
    LATE_STOP,
    LATE_SKIP,
    LEADER,
    AWAY,
    EMBEDDED,
    N_FIXTURES
};

static struct fixture fixtures[N_FIXTURES];

static struct fixture *prepare_one(int which, int n_partitions,
                                   size_t queue_size)
{
    struct fixture *fx = &fixtures[which];

    prepare(fx, which, queue_size);
    if (which != EMBEDDED)
        create_topic(fx, n_partitions);
    return fx;
}

/* Moves the leaders of its partitions, and its group's coordinator. */
static void lead(const struct fixture *fx, int32_t broker)
{
    for (int32_t p = 0; p < 2; p++)
        assert_int_equal(rd_kafka_mock_partition_set_leader(
                             cluster, fx->topic, p, broker), 0);
    assert_int_equal(rd_kafka_mock_coordinator_set(cluster, "group", fx->group,
                                                   broker), 0);
}

/* --- times --------------------------------------------------------------- */

#define TIME_MS 1700000000000

rd_kafka_resp_err_t
__real_rd_kafka_offsets_for_times(rd_kafka_t *rk,
                                  rd_kafka_topic_partition_list_t *list,
                                  int wait_ms);
rd_kafka_resp_err_t
__wrap_rd_kafka_offsets_for_times(rd_kafka_t *rk,
                                  rd_kafka_topic_partition_list_t *list,
                                  int wait_ms);

/* The mock cluster finds no offset for a time. For one topic this function
 * answers like a real broker: the first offset since TIME_MS is 4. */
rd_kafka_resp_err_t
__wrap_rd_kafka_offsets_for_times(rd_kafka_t *rk,
                                  rd_kafka_topic_partition_list_t *list,
                                  int wait_ms)
{
    if (list->cnt == 1 && list->elems[0].offset == TIME_MS &&
        strcmp(list->elems[0].topic, fixtures[TIMED].topic) == 0) {
        list->elems[0].offset = 4;
        list->elems[0].err = RD_KAFKA_RESP_ERR_NO_ERROR;
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    return __real_rd_kafka_offsets_for_times(rk, list, wait_ms);
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

        /* The offset advances just after the record is pushed. */
        for (int try = 0; try < 200 && offset != 10; try++) {
            assert_int_equal(source_get_partitions(fx->source, &rows), 3);
            offset = rows[i].offset;
            free(rows);
            timing_sleep_ms(offset == 10 ? 0 : 10);
        }
        assert_int_equal(offset, 10);
    }

    /* The start was committed with a mark before the first record was read. */
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

static void test_start_at_a_time(void **state)
{
    struct fixture *fx = &fixtures[TIMED];
    char store_id[80];
    int64_t start = -1;

    (void)state;
    for (int64_t i = 4; i < 10; i++)
        expect_number(fx, 0, i);
    assert_int_equal(committed(fx, 0, store_id, &start), 4);
    assert_int_equal(start, 4);
}

/* No record has so late a time yet: reading begins at the end. */
static void test_start_at_a_time_to_come(void **state)
{
    struct fixture *fx = &fixtures[TIMED_LATE];

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

    /* A seek to an offset that Kafka still has ends the stop. */
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
    struct source_partition *rows;
    struct source_health h;

    (void)state;
    assert_non_null(r);
    assert_true(r->offset > 5);
    assert_int_equal(source_get_partitions(fx->source, &rows), 1);
    assert_int_equal(rows[0].start, r->offset);
    free(rows);
    record_free(r);
    source_get_health(fx->source, &h);
    assert_int_equal(h.gaps, 1);
    assert_int_equal(h.state, SOURCE_RUNNING);
}

static int64_t offset_of(struct fixture *fx)
{
    struct source_partition *rows = NULL;
    int64_t offset = source_get_partitions(fx->source, &rows) ? rows[0].offset
                                                              : -1;

    free(rows);
    return offset;
}

/* The source is paused, with four records in the queue and more held. Meanwhile
 * the broker drops the next records. Returns the next offset. */
static int64_t fall_behind(struct fixture *fx)
{
    int64_t next;

    for (int i = 0; i < WAIT_MS && offset_of(fx) < 5; i += 10)
        timing_sleep_ms(10);
    timing_sleep_ms(100);
    overflow(fx->topic);
    assert_int_equal(rd_kafka_flush(producer, WAIT_MS), 0);
    next = offset_of(fx);
    assert_in_range(next, 5, 19);
    for (int64_t i = 0; i < next; i++)
        expect_number(fx, 0, i);
    return next;
}

static void test_gap_in_mid_stream_stops(void **state)
{
    struct fixture *fx = &fixtures[LATE_STOP];
    char words[80];
    struct source_health h;
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    snprintf(words, sizeof words, "%s [0]: the next offset is %d, and",
             fx->topic, (int)fall_behind(fx));
    expect_state(fx, SOURCE_STOPPED, words);
    expect_state(fx, SOURCE_STOPPED, "on_gap: skip");
    assert_null(queue_pop(fx->queue, 100));
    source_get_health(fx->source, &h);
    assert_int_equal(h.gaps, 0);

    p = at(fx, 0, 130, NULL);
    fx->epoch = 2;
    assert_int_equal(source_seek(fx->source, &p, 1, 2, &err), 0);
    record_free(expect(fx, 0, 130));
    expect_state(fx, SOURCE_RUNNING, "");
}

static void test_gap_in_mid_stream_is_skipped(void **state)
{
    struct fixture *fx = &fixtures[LATE_SKIP];
    int64_t next = fall_behind(fx);
    struct record *r = queue_pop(fx->queue, WAIT_MS);
    struct source_health h;

    (void)state;
    assert_non_null(r);
    assert_true(r->offset > next);
    next = r->offset + 1;
    record_free(r);
    expect_in_order(fx, &next, (int)(140 - next));
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
    expect_number(fx, 0, 0); /* skip reads the new topic from its beginning */
}

static void test_group_of_another_store(void **state)
{
    struct fixture *fx = &fixtures[FOREIGN];

    (void)state;
    expect_state(fx, SOURCE_STOPPED, "belongs to another data directory");
    expect_state(fx, SOURCE_STOPPED, "their-store");
    assert_int_equal(queue_length(fx->queue), 0);
}

/* The queue has room for four. Pauses lose no record and repeat none. */
static void test_slow_consumer(void **state)
{
    struct fixture *fx = &fixtures[SLOW];
    int64_t next[3] = {0, 0, 0};

    (void)state;
    expect_in_order(fx, next, 300);
    timing_sleep_ms(1300); /* longer than PATIENCE_MS */
    expect_in_order(fx, next, 300);
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
    fx->epoch = 4; /* no position: the store's start */
    assert_int_equal(source_seek(fx->source, NULL, 0, 4, &err), 0);
    expect_number(fx, 0, 0);
}

static void test_kinds_of_values(void **state)
{
    static const char *const reasons[] = {NULL, "null", "empty", "not_utf8",
                                          "too_long", NULL};
    struct fixture *fx = &fixtures[KINDS];
    struct source_partition *rows, row;
    struct source_health h;
    size_t n;

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
    /* Every value that the source reports. The counters follow the records. */
    for (int i = 0; i < WAIT_MS; i += 10) {
        source_get_health(fx->source, &h);
        n = source_get_partitions(fx->source, &rows);
        row = rows[0];
        free(rows);
        if (h.dead_lettered == 4 && h.records_read == 6 && row.end == 6)
            break;
        timing_sleep_ms(10);
    }
    assert_int_equal(h.state, SOURCE_RUNNING);
    assert_string_equal(h.reason, "");
    assert_int_equal(h.gaps, 0);
    assert_int_equal(h.records_read, 6);
    assert_int_equal(h.times_cut, 1);
    assert_int_equal(h.dead_lettered, 4);
    assert_int_equal(h.dead_letters_failed, 0);
    assert_int_equal(h.dead_letters_waiting, 0);
    assert_int_equal(n, 1);
    assert_string_equal(row.topic, fx->topic);
    assert_int_equal(row.partition, 0);
    assert_int_equal(row.start, 0);
    assert_int_equal(row.offset, 6);
    assert_int_equal(row.end, 6);
}

static void expect_letters(struct fixture *fx, int64_t delivered,
                           int64_t failed, int64_t waiting)
{
    struct source_health h;

    for (int i = 0; i < 3 * WAIT_MS; i += 10) {
        source_get_health(fx->source, &h);
        if (h.dead_lettered == delivered && h.dead_letters_failed == failed &&
            h.dead_letters_waiting == waiting)
            return;
        timing_sleep_ms(10);
    }
    fail_msg("%lld delivered, %lld failed, %lld waiting",
             (long long)h.dead_lettered, (long long)h.dead_letters_failed,
             (long long)h.dead_letters_waiting);
}

/* Dead letters wait while their topic is missing, and all are delivered later.
 */
static void test_letters_wait(void **state)
{
    struct fixture *fx = &fixtures[LETTERS];

    (void)state;
    for (int64_t i = 0; i < 3; i++)
        record_free(expect(fx, 0, i));
    expect_letters(fx, 0, 0, 3);
    timing_sleep_ms(2500); /* meanwhile they are sent again */
    produce(fx->topic, 0, "\xff", 1, NULL);
    record_free(expect(fx, 0, 3));
    expect_letters(fx, 0, 0, 4);
    rd_kafka_mock_topic_set_error(cluster, "no-such-topic",
                                  RD_KAFKA_RESP_ERR_NO_ERROR);
    expect_letters(fx, 4, 0, 0);
}

/* Dead letters that wait at the end fail. source_free does not wait for them.
 */
static void test_letters_at_the_end(void **state)
{
    struct fixture *fx = &fixtures[LETTERS];
    int64_t started = timing_mono_ms();

    (void)state;
    rd_kafka_mock_topic_set_error(cluster, "no-such-topic",
                                  RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    timing_sleep_ms(500);
    produce(fx->topic, 0, "\xff", 1, NULL);
    record_free(expect(fx, 0, 4));
    expect_letters(fx, 4, 0, 1);
    close_source(fx);
    assert_true(timing_mono_ms() - started < 3 * WAIT_MS);
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
    produce_numbers(fx->topic, 1, 0, 3);
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

/* Partitions and group move from broker 1 to broker 2, and broker 1 stops. One
 * broker is always up, so the state does not change. */
static void test_leader_change(void **state)
{
    struct fixture *fx = &fixtures[LEADER];
    int64_t next[2] = {0, 0};
    struct source_health h;

    (void)state;
    expect_in_order(fx, next, 20);
    lead(fx, 2);
    rd_kafka_mock_broker_set_down(cluster, 1);
    produce_numbers(fx->topic, 2, 10, 10);
    expect_in_order(fx, next, 20);
    for (int i = 0; i < 400; i++) {
        source_get_health(fx->source, &h);
        if (h.state != SOURCE_RUNNING)
            fail_msg("%s", h.reason);
        timing_sleep_ms(10);
    }
    rd_kafka_mock_broker_set_up(cluster, 1);
    lead(fx, 1);
    produce_numbers(fx->topic, 2, 20, 10);
    expect_in_order(fx, next, 20);
}

/* This test comes last: it stops all brokers. */
static void test_broker_away(void **state)
{
    struct fixture *fx = &fixtures[AWAY];
    struct source_position p = at(fx, 0, 1, NULL);
    struct err err = ERR_INIT;
    int64_t begun;

    (void)state;
    for (int64_t i = 0; i < 10; i++)
        expect_number(fx, 0, i);
    rd_kafka_mock_broker_set_down(cluster, -1);
    expect_state(fx, SOURCE_RETRYING, "does not answer");
    begun = timing_mono_ms();
    assert_int_equal(source_seek(fx->source, &p, 1, 2, &err), ERR_STATE);
    assert_true(timing_mono_ms() - begun < WAIT_MS);
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
}

/* --- setup -------------------------------------------------------------- */

static void prepare_plain(void)
{
    struct fixture *fx = prepare_one(EARLIEST, 3, 100);

    produce_numbers(fx->topic, 3, 0, 10);

    fx = prepare_one(LATEST, 1, 100);
    fx->conf.source.kafka.start.kind = CONF_START_LATEST;
    produce_numbers(fx->topic, 1, 0, 10);

    for (int which = TIMED; which <= TIMED_LATE; which++) {
        fx = prepare_one(which, 1, 100);
        fx->conf.source.kafka.start.kind = CONF_START_TIMESTAMP;
        fx->conf.source.kafka.start.timestamp_ms = TIME_MS;
        produce_numbers(fx->topic, 1, 0, 10);
    }

    fx = prepare_one(STORED, 1, 100);
    produce_numbers(fx->topic, 1, 0, 10);
    store_position(fx, 6, "5");

    fx = prepare_one(SLOW, 3, 4);
    produce_numbers(fx->topic, 3, 0, 200);

    fx = prepare_one(SEEK, 1, 100);
    produce_numbers(fx->topic, 1, 0, 10);

    fx = prepare_one(LEADER, 2, 100);
    /* A broker answers a fetch before a later request. */
    set_property(fx, "fetch.wait.max.ms", "1500");
    lead(fx, 1);
    produce_numbers(fx->topic, 2, 0, 10);

    fx = prepare_one(AWAY, 1, 100);
    produce_numbers(fx->topic, 1, 0, 10);
}

static void prepare_gaps(void)
{
    struct fixture *fx = prepare_one(GAP_STOP, 1, 100);

    overflow(fx->topic);
    store_position(fx, 5, NULL);

    fx = prepare_one(GAP_SKIP, 1, 100);
    fx->conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
    overflow(fx->topic);
    store_position(fx, 5, NULL);

    for (int which = LATE_STOP; which <= LATE_SKIP; which++) {
        fx = prepare_one(which, 1, 4);
        if (which == LATE_SKIP)
            fx->conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
        produce_numbers(fx->topic, 1, 0, 20);
    }

    fx = prepare_one(BEYOND, 1, 100);
    produce_numbers(fx->topic, 1, 0, 10);
    store_position(fx, 99, NULL);

    for (int which = OTHER_TOPIC; which <= OTHER_SKIP; which++) {
        fx = prepare_one(which, 1, 100);
        if (which == OTHER_SKIP)
            fx->conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
        produce_numbers(fx->topic, 1, 0, 10);
        store_position(fx, 5, "not the number 4");
    }

    fx = prepare_one(FOREIGN, 1, 100);
    produce_numbers(fx->topic, 1, 0, 10);
    commit_as(fx, "their-store");
}

static void prepare_others(void)
{
    struct fixture *fx = prepare_one(KINDS, 1, 100);
    static char dead[] = "dead-letters", lost[] = "no-such-topic";
    /* the event time is in the future */
    const char *json = "{\"text\":\"a\",\"label\":\"spam\",\"ts\":9e15}";
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

    fx = prepare_one(LETTERS, 1, 100);
    fx->conf.source.kafka.dead_letter = lost;
    set_property(fx, "topic.metadata.propagation.max.ms", "300");
    rd_kafka_mock_topic_set_error(cluster, lost,
                                  RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    for (int i = 0; i < 3; i++)
        produce(fx->topic, 0, "\xff", 1, NULL);

    fx = prepare_one(EMBEDDED, 1, 100);
    set_property(fx, "bootstrap.servers", "embedded");
    store_position(fx, 700, "lost");
}

static int start_all(void **state)
{
    (void)state;
    if (start_cluster("2") != 0)
        return -1;
    prepare_plain();
    prepare_gaps();
    prepare_others();
    if (rd_kafka_flush(producer, WAIT_MS) != 0)
        return -1;
    for (int i = 0; i < N_FIXTURES; i++)
        begin(&fixtures[i]);
    return 0;
}

static void *close_one(void *fx)
{
    close_source(fx);
    return NULL;
}

static int stop_all(void **state)
{
    pthread_t threads[N_FIXTURES];

    (void)state;
    /* Closing takes a second, so all sources close at the same time. */
    for (int i = 0; i < N_FIXTURES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, close_one,
                                        &fixtures[i]), 0);
    for (int i = 0; i < N_FIXTURES; i++)
        pthread_join(threads[i], NULL);
    return stop_cluster();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_earliest_of_three_partitions),
        cmocka_unit_test(test_latest),
        cmocka_unit_test(test_start_at_a_time),
        cmocka_unit_test(test_start_at_a_time_to_come),
        cmocka_unit_test(test_stored_positions),
        cmocka_unit_test(test_gap_stops),
        cmocka_unit_test(test_gap_is_skipped),
        cmocka_unit_test(test_gap_in_mid_stream_stops),
        cmocka_unit_test(test_gap_in_mid_stream_is_skipped),
        cmocka_unit_test(test_position_beyond_the_end),
        cmocka_unit_test(test_another_topic),
        cmocka_unit_test(test_group_of_another_store),
        cmocka_unit_test(test_slow_consumer),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_kinds_of_values),
        cmocka_unit_test(test_letters_wait),
        cmocka_unit_test(test_letters_at_the_end),
        cmocka_unit_test(test_embedded),
        cmocka_unit_test(test_leader_change),
        cmocka_unit_test(test_broker_away),
    };

    return cmocka_run_group_tests(tests, start_all, stop_all);
}
