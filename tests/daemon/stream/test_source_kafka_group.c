/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kafka source as a member of a group, with librdkafka's mock cluster:
 * rebalances, and a broker that refuses requests.
 *
 * In the mock cluster a rebalance takes a second less than the session's
 * timeout, so the timeout is short here. The last tests make all requests of
 * one kind fail, so no other source runs during them.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>

#include "base/timing.h"
#include "tests/daemon/stream/test_source_kafka_util.h"

#define N_PARTITIONS 4
#define LIST_OFFSETS 2 /* Kafka's number of this request */
#define FETCH 1

/* Starts a member with a name, in the group of this number.
 *   n_partitions   creates the topic with so many; 0: it exists */
static void join(struct fixture *fx, int number, int n_partitions,
                 const char *name, const char *store_id, size_t queue_size)
{
    prepare(fx, number, queue_size);
    if (n_partitions)
        create_topic(fx, n_partitions);
    fx->store_id = store_id;
    set_property(fx, "group.instance.id", name);
    set_property(fx, "session.timeout.ms", "2500");
    set_property(fx, "heartbeat.interval.ms", "200");
    begin(fx);
}

static void fill(const struct fixture *fx, int first, int n)
{
    produce_numbers(fx->topic, N_PARTITIONS, first, n);
    assert_int_equal(rd_kafka_flush(producer, WAIT_MS), 0);
}

static void publish(struct fixture *fx, int64_t next)
{
    struct source_position all[N_PARTITIONS];

    for (int p = 0; p < N_PARTITIONS; p++)
        all[p] = at(fx, p, next, NULL);
    source_published(fx->source, all, N_PARTITIONS);
}

static void expect_commit(const struct fixture *fx, int32_t partition,
                          int64_t offset)
{
    char store_id[80];
    int64_t start = -1, found = -1;

    for (int i = 0; i < WAIT_MS && found != offset; i += 20) {
        found = committed(fx, partition, store_id, &start);
        timing_sleep_ms(found == offset ? 0 : 20);
    }
    assert_int_equal(found, offset);
    assert_string_equal(store_id, "our-store");
    assert_int_equal(start, 0);
}

static int64_t sum(const int64_t *numbers)
{
    int64_t total = 0;

    for (int p = 0; p < N_PARTITIONS; p++)
        total += numbers[p];
    return total;
}

/*
 * A second member joins and leaves. The first never reads a record twice,
 * whoever had the partition meanwhile, since its trainer has learned that
 * record. It commits only its assigned partitions.
 */
static void test_member_comes_and_goes(void **state)
{
    static struct fixture a, b;
    int64_t a_next[N_PARTITIONS] = {0}, b_next[N_PARTITIONS] = {0};
    int n_shared = 0;

    (void)state;
    join(&a, 0, N_PARTITIONS, "a", "our-store", 100);
    fill(&a, 0, 10);
    expect_in_order(&a, a_next, 10 * N_PARTITIONS);
    publish(&a, 6);
    for (int p = 0; p < N_PARTITIONS; p++)
        expect_commit(&a, p, 6);

    /* The second begins at the store's starts, with half of the partitions. */
    join(&b, 0, 0, "b", "our-store", 100);
    expect_in_order(&b, b_next, 10 * 2);
    fill(&a, 10, 5);
    expect_in_order(&a, a_next, 5 * 2);
    expect_in_order(&b, b_next, 5 * 2);
    assert_null(queue_pop(a.queue, 300));
    assert_null(queue_pop(b.queue, 0));
    publish(&b, 12);
    for (int p = 0; p < N_PARTITIONS; p++) {
        assert_int_equal(a_next[p], b_next[p] ? 10 : 15);
        assert_int_equal(b_next[p], b_next[p] ? 15 : 0);
        expect_commit(&a, p, b_next[p] ? 12 : 6);
        n_shared += b_next[p] > 0;
    }
    assert_int_equal(n_shared, 2);
    publish(&a, 14);
    for (int p = 0; p < N_PARTITIONS; p++)
        if (!b_next[p])
            expect_commit(&a, p, 14);
    for (int p = 0; p < N_PARTITIONS; p++) /* in one commit or several */
        if (b_next[p])
            expect_commit(&a, p, 12);

    /* The partitions return while the queue is full and records are held. */
    fill(&a, 15, 100);
    close_source(&b);
    timing_sleep_ms(5000);
    assert_int_equal(queue_length(a.queue), 100);
    expect_in_order(&a, a_next, (int)(115 * N_PARTITIONS - sum(a_next)));
    assert_null(queue_pop(a.queue, 300));
    expect_state(&a, SOURCE_RUNNING, "");
    close_source(&a);
}

/* A daemon of another store is refused and leaves. The first one reads on. */
static void test_daemon_of_another_store_joins(void **state)
{
    static struct fixture ours, theirs;
    int64_t next[N_PARTITIONS] = {0};

    (void)state;
    join(&ours, 1, N_PARTITIONS, "ours", "our-store", 1000);
    fill(&ours, 0, 10);
    expect_in_order(&ours, next, 10 * N_PARTITIONS);
    join(&theirs, 1, 0, "theirs", "their-store", 1000);
    expect_state(&theirs, SOURCE_STOPPED, "belongs to another data directory");
    fill(&ours, 10, 10);
    expect_in_order(&ours, next, 10 * N_PARTITIONS);
    assert_null(queue_pop(ours.queue, 300));
    assert_int_equal(queue_length(theirs.queue), 0);
    publish(&ours, 20);
    for (int p = 0; p < N_PARTITIONS; p++)
        expect_commit(&ours, p, 20);
    close_source(&theirs);
    close_source(&ours);
}

static void refuse(int request, rd_kafka_resp_err_t e)
{
    assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(
                         cluster, 1, (int16_t)request, 1, e, 0), 0);
}

static void expect_refused(int request)
{
    size_t n = 1;

    for (int i = 0; i < WAIT_MS && n; i += 10) {
        assert_int_equal(rd_kafka_mock_broker_error_stack_cnt(
                             cluster, 1, (int16_t)request, &n), 0);
        timing_sleep_ms(n ? 10 : 0);
    }
    assert_int_equal(n, 0);
}

/* The broker reports once that it lacks an offset, which is no gap. */
static void test_offset_is_there_after_all(void **state)
{
    static struct fixture fx;
    struct source_health h;

    (void)state;
    join(&fx, 2, 1, "only", "our-store", 100);
    produce_numbers(fx.topic, 1, 0, 5);
    for (int64_t i = 0; i < 5; i++)
        expect_number(&fx, 0, i);
    refuse(FETCH, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
    expect_refused(FETCH);
    produce_numbers(fx.topic, 1, 5, 5);
    for (int64_t i = 5; i < 10; i++)
        expect_number(&fx, 0, i);
    source_get_health(fx.source, &h);
    assert_int_equal(h.gaps, 0);
    assert_int_equal(h.state, SOURCE_RUNNING);
    close_source(&fx);
}

/* The source asks for the first offset until a broker answers. It can be
 * stopped meanwhile. */
static void test_broker_refuses_to_tell_offsets(void **state)
{
    static struct fixture first, second;
    int64_t begun;

    (void)state;
    refuse(LIST_OFFSETS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    join(&first, 3, 1, "first", "our-store", 100);
    produce_numbers(first.topic, 1, 0, 5);
    expect_state(&first, SOURCE_RETRYING, "cannot ask for its offsets");
    for (int64_t i = 0; i < 5; i++)
        expect_number(&first, 0, i);
    expect_state(&first, SOURCE_RUNNING, "");
    close_source(&first);

    for (int i = 0; i < 100; i++)
        refuse(LIST_OFFSETS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    join(&second, 4, 1, "second", "our-store", 100);
    expect_state(&second, SOURCE_RETRYING, "cannot ask for its offsets");
    begun = timing_mono_ms();
    close_source(&second);
    assert_true(timing_mono_ms() - begun < WAIT_MS);
}

static int start(void **state)
{
    (void)state;
    return start_cluster("1");
}

static int stop(void **state)
{
    (void)state;
    return stop_cluster();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_comes_and_goes),
        cmocka_unit_test(test_daemon_of_another_store_joins),
        cmocka_unit_test(test_offset_is_there_after_all),
        cmocka_unit_test(test_broker_refuses_to_tell_offsets),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
