/* SPDX-License-Identifier: Apache-2.0 */
/* The queue at its limits, and with a producer that is faster than its
 * consumer. */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/queue.h"

static struct record *numbered(int64_t offset, size_t n_bytes)
{
    char *value = xcalloc(n_bytes + 1, 1);
    struct record_maker m;
    struct record *r;

    record_maker_init(&m, false);
    r = record_create_data(&m, value, n_bytes);
    record_maker_release(&m);
    free(value);
    r->offset = offset;
    return r;
}

static void push_or_free(struct queue *q, struct record *r, bool expected)
{
    bool taken = queue_try_push(q, r);

    if (!taken)
        record_free(r);
    assert_int_equal(taken, expected);
}

static void test_bound_in_records(void **state)
{
    struct queue *q = queue_create(4, 1 << 20);
    struct record *r;

    (void)state;
    for (int i = 0; i < 4; i++)
        push_or_free(q, numbered(i, 1), true);
    push_or_free(q, numbered(4, 1), false);
    assert_int_equal(queue_length(q), 4);
    assert_false(queue_has_room(q));
    for (int i = 0; i < 2; i++) {
        r = queue_pop(q, 0);
        assert_int_equal(r->offset, i);
        record_free(r);
    }
    assert_true(queue_has_room(q));
    push_or_free(q, numbered(4, 1), true); /* wraps around the ring */
    queue_free(q);
}

static void test_bound_in_bytes(void **state)
{
    struct record *first = numbered(0, 1000);
    struct queue *q = queue_create(100, 2 * record_memory(first));

    (void)state;
    push_or_free(q, first, true);
    push_or_free(q, numbered(1, 1000), true);
    push_or_free(q, numbered(2, 1000), false);
    assert_false(queue_has_room(q));
    queue_clear(q);
    assert_true(queue_has_room(q));
    /* A record larger than max_bytes enters only an empty queue. */
    push_or_free(q, numbered(3, 10000), true);
    push_or_free(q, numbered(4, 1), false);
    queue_free(q);
}

static void test_pop_many(void **state)
{
    struct queue *q = queue_create(100, 1 << 20);
    struct record *r[4];

    (void)state;
    assert_int_equal(queue_pop_many(q, r, 4, 0), 0);
    for (int i = 0; i < 6; i++)
        push_or_free(q, numbered(i, 1), true);
    for (int64_t next = 0; next < 6;) {
        size_t n = queue_pop_many(q, r, 4, 1000);

        assert_int_equal(n, next ? 2 : 4);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(r[i]->offset, next++);
            record_free(r[i]);
        }
    }
    queue_wake(q);
    assert_int_equal(queue_pop_many(q, r, 4, 5000), 0);
    queue_free(q);
}

static void test_waits(void **state)
{
    struct queue *q = queue_create(1, 1 << 20);
    struct record *r = numbered(1, 1);
    int64_t begin = timing_mono_ms();

    (void)state;
    assert_null(queue_pop(q, 20));
    assert_true(timing_mono_ms() - begin >= 19);
    push_or_free(q, numbered(0, 1), true);
    begin = timing_mono_ms();
    assert_false(queue_push(q, r, 20));
    assert_true(timing_mono_ms() - begin >= 19);
    queue_clear(q);
    assert_true(queue_push(q, r, 0));
    queue_free(q);
}

/* A wake ends the present wait, or the next one. */
static void test_wake(void **state)
{
    struct queue *q = queue_create(4, 1 << 20);
    int64_t begin = timing_mono_ms();

    (void)state;
    queue_wake(q);
    assert_null(queue_pop(q, 600000));
    assert_true(timing_mono_ms() - begin < 60000);
    push_or_free(q, numbered(0, 1), true);
    queue_wake(q);
    record_free(queue_pop(q, 0)); /* a record comes before the wake */
    assert_null(queue_pop(q, 600000));
    assert_true(timing_mono_ms() - begin < 60000);
    queue_free(q);
}

#define MANY 50000

static void *produce(void *arg)
{
    struct queue *q = arg;

    for (int64_t i = 0; i < MANY; i++) {
        struct record *r = numbered(i, (size_t)(i % 50));

        while (!queue_push(q, r, 1000))
            continue;
    }
    return NULL;
}

static void *wake(void *arg)
{
    for (int i = 0; i < 100; i++) {
        queue_wake(arg);
        timing_sleep_ms(1);
    }
    return NULL;
}

static void test_order_between_threads(void **state)
{
    struct queue *q = queue_create(64, 8192);
    pthread_t producer, waker;

    (void)state;
    assert_int_equal(pthread_create(&producer, NULL, produce, q), 0);
    assert_int_equal(pthread_create(&waker, NULL, wake, q), 0);
    for (int64_t i = 0; i < MANY; i++) {
        struct record *r;

        while (!(r = queue_pop(q, 1000)))
            continue;
        assert_int_equal(r->offset, i);
        record_free(r);
    }
    pthread_join(producer, NULL);
    pthread_join(waker, NULL);
    assert_int_equal(queue_length(q), 0);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_in_records),
        cmocka_unit_test(test_bound_in_bytes),
        cmocka_unit_test(test_pop_many),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_wake),
        cmocka_unit_test(test_order_between_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
