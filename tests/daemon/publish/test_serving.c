/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With a learned vocabulary, shape and tokenizer are known only after the first
 * requests. This test is for a build with --enable-tsan, which reports it when
 * they are read and written at the same time.
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

struct asking {
    struct serving *serving;
    atomic_int asked;
    atomic_bool stopping;
    bool answered;
};

static void *ask(void *arg)
{
    struct asking *a = arg;

    while (!a->stopping) {
        struct err err = ERR_INIT;
        int64_t got;

        a->answered |= serving_get(a->serving, NO_SUCH_VERSION, &got, &err) ||
                       err.code != ERR_NOTFOUND;
        a->asked++;
    }
    return NULL;
}

static void test_prepared_while_asked(void **state)
{
    struct util_both b = util_open_both(*state);
    struct asking a = {.serving = serving_create(b.c, NULL)};
    struct util_version v;
    pthread_t thread;

    util_version_init(&v, 0, 1);
    assert_int_equal(pthread_create(&thread, NULL, ask, &a), 0);
    while (a.asked < 10)
        ;
    serving_prepare(a.serving, &v.shape, NULL);
    while (a.asked < 20)
        ;
    a.stopping = true;
    pthread_join(thread, NULL);
    assert_false(a.answered);
    serving_free(a.serving);
    util_version_release(&v);
    util_close_both(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prepared_while_asked,
                                        util_make_temp, util_remove_temp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
