/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counted reference: nothing is freed while somebody has it, everything is
 * freed once.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "store/current.h"

struct object {
    int64_t version;
    uint64_t canary;
};

#define CANARY 0x5ca1ab1e0ddba11ull

static atomic_int alive;

static struct object *make(int64_t version)
{
    struct object *o = xmalloc(sizeof *o);

    o->version = version;
    o->canary = CANARY;
    atomic_fetch_add(&alive, 1);
    return o;
}

static void unmake(void *object)
{
    struct object *o = object;

    if (o->canary != CANARY)
        abort();
    o->canary = 0;
    atomic_fetch_sub(&alive, 1);
    free(o);
}

static int64_t version_of(struct current *c)
{
    int64_t version = 0;

    current_put(c, current_get(c, 0, &version));
    return version;
}

/* Without any kept: a swapped out version goes with its last reference. */
static void test_swap(void **state)
{
    struct current *c = current_create(unmake, 0);
    const struct object *a, *b;
    int64_t got = 0;

    (void)state;
    assert_null(current_get(c, 0, &got));
    assert_int_equal(version_of(c), 0);
    current_swap(c, 1, make(1));
    a = current_get(c, 0, &got);
    assert_int_equal(got, 1);
    current_swap(c, 2, make(2));
    assert_int_equal(alive, 2); /* a is still held, and found */
    b = current_get(c, 1, NULL);
    assert_ptr_equal(a, b);
    current_put(c, b);
    b = current_get(c, 2, &got);
    assert_int_equal(b->version, 2);
    assert_int_equal(a->version, 1);
    current_put(c, a);
    assert_int_equal(alive, 1);
    current_put(c, b);
    current_put(c, NULL);
    assert_int_equal(alive, 1); /* the current one stays */
    assert_int_equal(version_of(c), 2);
    current_swap(c, 2, make(2)); /* the same number again */
    assert_int_equal(alive, 1);
    current_free(c);
    assert_int_equal(alive, 0);
    current_free(NULL);
}

static void test_kept(void **state)
{
    struct current *c = current_create(unmake, 2);

    (void)state;
    current_swap(c, 9, make(9));
    for (int64_t v = 1; v <= 4; v++)
        current_put(c, current_keep(c, v, make(v)));
    assert_int_equal(alive, 3);
    assert_null(current_get(c, 1, NULL));
    assert_null(current_get(c, 2, NULL));
    current_put(c, current_get(c, 3, NULL)); /* 4 is now the older one */
    current_put(c, current_keep(c, 5, make(5)));
    assert_null(current_get(c, 4, NULL));
    current_put(c, current_get(c, 3, NULL));
    current_swap(c, 10, make(10)); /* 9 is kept, 5 goes */
    assert_null(current_get(c, 5, NULL));
    current_put(c, current_get(c, 9, NULL));
    current_retain(c, (int64_t[]){3, 8}, 2); /* but never without 10 */
    assert_null(current_get(c, 9, NULL));
    current_put(c, current_get(c, 3, NULL));
    assert_int_equal(version_of(c), 10);
    assert_false(current_choose(c, 9)); /* it is not here any more */
    assert_int_equal(version_of(c), 10);
    assert_true(current_choose(c, 3)); /* what was kept becomes current */
    assert_int_equal(version_of(c), 3);
    assert_true(current_choose(c, 10)); /* and what was current, kept */
    assert_true(current_choose(c, 10));
    assert_int_equal(alive, 2);
    current_swap(c, 3, make(3)); /* also with another object */
    assert_int_equal(alive, 2);
    current_free(c);
    assert_int_equal(alive, 0);
}

static void test_keep_twice(void **state)
{
    struct current *c = current_create(unmake, 0);
    const void *a = current_keep(c, 1, make(1));
    const void *b = current_keep(c, 1, make(1));

    (void)state;
    assert_ptr_equal(a, b);
    assert_int_equal(alive, 1);
    current_retain(c, NULL, 0);
    current_put(c, a);
    assert_int_equal(alive, 1);
    current_put(c, b);
    assert_int_equal(alive, 0);
    current_free(c);
}

static void *reader(void *arg)
{
    struct current *c = arg;
    int64_t last = 0;

    for (int i = 0; i < 3000; i++) {
        int64_t got = 0;
        int64_t want = 1 + i % 40;
        const struct object *o = current_get(c, 0, &got);

        if (!o || o->canary != CANARY || o->version != got || got < last)
            abort();
        last = got;
        current_put(c, o);
        o = current_get(c, want, NULL);
        if (!o)
            o = current_keep(c, want, make(want));
        if (o->version != want)
            abort();
        current_put(c, o);
        if (i % 64 == 0)
            current_retain(c, &got, 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct current *c = current_create(unmake, 3);
    pthread_t threads[3];

    (void)state;
    current_swap(c, 100, make(100));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, c), 0);
    for (int64_t v = 101; v < 1100; v++)
        current_swap(c, v, make(v));
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(alive, 1, 4);
    current_free(c);
    assert_int_equal(alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swap),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_keep_twice),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
