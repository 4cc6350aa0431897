/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The share of the processors that answers may take, with a fake clock.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timing.h"
#include "daemon/http/wire/http_cancel.h"
#include "daemon/http/wire/http_share.h"

#define MS ((int64_t)1000000)
#define CORES 4
#define BURST_MS (HTTP_SHARE_BURST_MS * CORES / 4) /* of a quarter */

static _Atomic int64_t now = 1000000;
static struct status_board board;

static int set_up(void **state)
{
    (void)state;
    timing_set_fake(&now);
    status_board_init(&board);
    status_set_state(&board, STATUS_LEARNING, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    timing_set_fake(NULL);
    status_board_release(&board);
    return 0;
}

/* A quarter of four processors: one millisecond for each. */
static void test_bound(void **state)
{
    struct http_share *s = http_share_create(0.25, CORES, &board);

    (void)state;
    http_share_spend(s, BURST_MS * MS);
    assert_int_equal(http_share_wait_ms(s), 0);
    http_share_spend(s, 50 * MS);
    assert_int_equal(http_share_wait_ms(s), 51);
    now += 49;
    assert_int_equal(http_share_wait_ms(s), 2);
    now += 1;
    assert_int_equal(http_share_wait_ms(s), 0);
    http_share_free(s);
}

/* Over a long time, answers that always want more get their share. */
static void test_share(void **state)
{
    struct http_share *s = http_share_create(0.25, CORES, &board);
    int64_t began = now, used_ms = 0;

    (void)state;
    while (now < began + 10000) {
        int64_t wait_ms = http_share_wait_ms(s);

        now += wait_ms;
        if (wait_ms)
            continue;
        http_share_spend(s, 12 * MS); /* three processors for 4 ms */
        used_ms += 12;
        now += 4;
    }
    assert_in_range(used_ms, 9900, 10000 + BURST_MS + 24);
    http_share_free(s);
}

/* The account is bounded on both sides: a pause saves at most a burst, and a
 * debt is at most a burst. */
static void test_burst(void **state)
{
    struct http_share *s = http_share_create(0.25, CORES, &board);

    (void)state;
    now += 3600000;
    http_share_spend(s, (BURST_MS + 10) * MS);
    assert_int_equal(http_share_wait_ms(s), 11);
    http_share_spend(s, 3600000 * MS);
    assert_int_equal(http_share_wait_ms(s), BURST_MS + 1);
    http_share_free(s);
}

/* Nothing waits while nothing is learned, and with the share 1. */
static void test_no_limit(void **state)
{
    struct http_share *s = http_share_create(0.25, CORES, &board);

    (void)state;
    http_share_spend(s, 3600000 * MS);
    assert_true(http_share_wait_ms(s) > 0);
    status_set_state(&board, STATUS_WAITING, NULL);
    assert_int_equal(http_share_wait_ms(s), 0);
    atomic_store(&board.publishes, true);
    assert_true(http_share_wait_ms(s) > 0);
    atomic_store(&board.publishes, false);
    assert_int_equal(http_share_wait_ms(s), 0);
    status_set_state(&board, STATUS_LEARNING, NULL);
    assert_true(http_share_wait_ms(s) > 0);
    http_share_free(s);
    s = http_share_create(1, CORES, &board);
    http_share_spend(s, 3600000 * MS);
    assert_int_equal(http_share_wait_ms(s), 0);
    http_share_free(s);
    assert_int_equal(http_share_wait_ms(NULL), 0);
}

/* A request that waits for the share ends when it is cancelled. */
static void test_cancelled(void **state)
{
    struct http_share *s = http_share_create(0.25, CORES, &board);
    struct http_cancel_rules rules = {.share = s, .most_seconds = 120};
    struct http_cancel c;

    (void)state;
    http_cancel_begin(&c, &rules, "/v1/score", -1);
    http_share_spend(s, 3600000 * MS);
    assert_int_equal(http_cancel_check(&c, NULL), 0); /* has no slot yet */
    c.computes = true;
    atomic_store(&rules.stop_ms, now);
    assert_int_equal(http_cancel_check(&c, NULL), ERR_AGAIN);
    assert_int_equal(c.cause, HTTP_GRACE_OVER);
    http_share_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_burst, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancelled, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
