/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The causes that cancel a request, with a fake clock and a pair of sockets.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timing.h"
#include "daemon/http/wire/http_cancel.h"
#include "daemon/http/wire/http_stream.h"

static _Atomic int64_t now = 1000000;
static struct http_cancel_rules rules;
static struct http_cancel cancel;
static int server, client;

static int set_up(void **state)
{
    int fds[2];

    (void)state;
    timing_set_fake(&now);
    memset(&rules, 0, sizeof rules);
    rules.most_seconds = 120;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    server = fds[0];
    client = fds[1];
    http_cancel_begin(&cancel, &rules, "/v1/score", server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    timing_set_fake(NULL);
    close(server);
    if (client >= 0)
        close(client);
    return 0;
}

static void expect(enum http_cancel_cause cause, const char *message)
{
    struct cancel callback = http_cancel_callback(&cancel);
    struct err err = ERR_INIT;

    for (int i = 0; i < 2; i++) { /* the cause stays, and is counted once */
        assert_int_equal(cancel_check(&callback, &err), ERR_AGAIN);
        assert_int_equal(cancel.cause, cause);
        assert_non_null(strstr(err.msg, message));
        assert_int_equal(atomic_load(&rules.cancelled[cause]), 1);
    }
}

/* Bytes of a next request do not cancel this one. */
static void test_wanted(void **state)
{
    (void)state;
    assert_int_equal(write(client, "GET /", 5), 5);
    for (int i = 0; i < 100; i++, now += 1000)
        assert_int_equal(http_cancel_check(&cancel, NULL), 0);
}

/* A client that has left is seen within 0.25 s, with unread bytes, too. */
static void test_left(void **state)
{
    (void)state;
    assert_int_equal(write(client, "GET /", 5), 5);
    close(client);
    client = -1;
    assert_int_equal(http_cancel_check(&cancel, NULL), 0);
    now += 250;
    expect(HTTP_CLIENT_LEFT, "left");
}

static void test_half_closed(void **state)
{
    (void)state;
    shutdown(client, SHUT_WR);
    now += 250;
    expect(HTTP_CLIENT_LEFT, "left");
}

static void wait_for_close(struct http_stream *s, void *arg)
{
    (void)arg;
    while (!http_stream_closed(s))
        timing_sleep_ms(10);
}

/* A stream without events ends soon after its client has left, not only when
 * the next bytes cannot be sent. */
static void test_stream(void **state)
{
    struct http_stream *s = http_stream_create(wait_for_close, NULL, NULL);
    char bytes[64];

    (void)state;
    timing_set_fake(NULL);
    assert_true(http_stream_start(s, NULL, 0));
    shutdown(client, SHUT_WR);
    assert_int_equal(http_stream_read(s, server, bytes, sizeof bytes), 0);
    assert_true(http_stream_closed(s));
    http_stream_free(s);
}

static void test_time_limit(void **state)
{
    (void)state;
    now += 119999;
    assert_int_equal(http_cancel_check(&cancel, NULL), 0);
    now += 1;
    expect(HTTP_TIME_LIMIT, "http.max_request_seconds, 120");
}

static void test_grace(void **state)
{
    (void)state;
    atomic_store(&rules.stop_ms, now + 5000);
    now += 4999;
    assert_int_equal(http_cancel_check(&cancel, NULL), 0);
    now += 1;
    expect(HTTP_GRACE_OVER, "stopping");
}

static void test_metrics(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    rules.cancelled[HTTP_CLIENT_LEFT] = 3;
    rules.cancelled[HTTP_GRACE_OVER] = 5;
    http_cancel_metrics(&rules, &out);
    assert_non_null(strstr(out.data, "_total{cause=\"client_left\"} 3\n"));
    assert_non_null(strstr(out.data, "_total{cause=\"time_limit\"} 0\n"));
    assert_non_null(strstr(out.data, "_total{cause=\"stopping\"} 5\n"));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metrics, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
