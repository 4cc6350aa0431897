/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With a learned vocabulary, serving_prepare comes after the first requests. A
 * build with --enable-tsan reports a data race here.
 */
#include "config.h"

#include "daemon/publish/serving.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/util/store_util.h"

#define NO_SUCH_VERSION 7

struct requests {
    struct serving *serving;
    atomic_int n;
    atomic_bool stopping;
    bool answered;
};

static void *request(void *arg)
{
    struct requests *q = arg;

    while (!q->stopping) {
        struct err err = ERR_INIT;
        int64_t got;

        q->answered |= serving_get(q->serving, NO_SUCH_VERSION, &got, &err) ||
                       err.code != ERR_NOTFOUND;
        q->n++;
    }
    return NULL;
}

static void test_prepare_late(void **state)
{
    struct util_both b = util_open_both(*state);
    struct requests q = {.serving = serving_create(b.c, NULL)};
    struct util_version v;
    pthread_t thread;

    util_version_init(&v, 0, 1);
    assert_int_equal(pthread_create(&thread, NULL, request, &q), 0);
    while (q.n < 10)
        ;
    serving_prepare(q.serving, &v.shape, NULL);
    while (q.n < 20)
        ;
    q.stopping = true;
    pthread_join(thread, NULL);
    assert_false(q.answered);
    serving_free(q.serving);
    util_version_release(&v);
    util_close_both(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prepare_late,
                                        util_make_temp, util_remove_temp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
