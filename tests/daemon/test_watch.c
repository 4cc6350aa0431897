/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h and pulse.h: what a service manager is told, and when. The test is
 * the manager: it reads the socket that $NOTIFY_SOCKET names.
 */
#include "config.h"

#include "daemon/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/timing.h"
#include "daemon/board/pulse.h"

static struct status_board board;
static struct watch *w;
static _Atomic int64_t now;
static int manager;

static int setup(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char name[64];
    socklen_t n;

    (void)state;
    n = (socklen_t)snprintf(name, sizeof name, "@mneme-watch-%d", getpid());
    memcpy(a.sun_path, name, n);
    a.sun_path[0] = '\0';
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(
        bind(manager, (struct sockaddr *)&a,
             (socklen_t)offsetof(struct sockaddr_un, sun_path) + n),
        0);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "9000000", 1); /* fed every 3 s */
    unsetenv("WATCHDOG_PID");
    now = 1700000000000;
    timing_set_fake(&now);
    status_board_init(&board);
    for (int i = 0; i < PULSE_N; i++)
        pulse_rest((enum pulse)i);
    w = watch_create(&board);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    watch_stop(w);
    status_board_release(&board);
    timing_set_fake(NULL);
    close(manager);
    return 0;
}

/* All messages since the last call, each ended by '|'. */
static const char *told(void)
{
    static char all[4096];
    size_t n = 0;
    ssize_t got;

    while ((got = recv(manager, all + n, sizeof all - n - 2, 0)) > 0) {
        n += (size_t)got;
        all[n++] = '|';
    }
    all[n] = '\0';
    return all;
}

static void serve(int64_t version)
{
    status_lock(&board)->serving_version = version;
    status_unlock(&board);
}

static void test_life(void **state)
{
    (void)state;
    watch_turn(w);
    assert_string_equal(told(), "STATUS=Starting; no version serves yet.|"
                                "WATCHDOG=1|EXTEND_TIMEOUT_USEC=60000000|");
    now += 1000;
    watch_turn(w);
    assert_string_equal(told(), ""); /* nothing is new */
    now += 14000;
    watch_turn(w);
    assert_string_equal(told(), "WATCHDOG=1|EXTEND_TIMEOUT_USEC=60000000|");
    status_set_state(&board, STATUS_LEARNING, NULL);
    status_lock(&board)->prequential_bits_per_byte = 2.104;
    status_unlock(&board);
    serve(42);
    now += 100;
    watch_turn(w);
    assert_string_equal(told(), "READY=1|STATUS=Learning, 2.10 bits per byte; "
                                "version 42 serves.|");
    now += 20000;
    watch_turn(w);
    assert_string_equal(told(), "WATCHDOG=1|"); /* no more extensions */
    watch_reloading(w);
    watch_reloaded(w);
    assert_string_equal(told(), "RELOADING=1\nMONOTONIC_USEC=1700000035100000|"
                                "READY=1|");
    status_set_state(&board, STATUS_STOPPING, NULL);
    watch_stopping(w);
    watch_turn(w);
    assert_string_equal(told(), "STOPPING=1|STATUS=Stopping; version 42 "
                                "serves.|EXTEND_TIMEOUT_USEC=60000000|");
}

/* Before a version serves the manager waits for READY=1: a reload must not send
 * it. */
static void test_reload_before_ready(void **state)
{
    (void)state;
    watch_reloading(w);
    watch_reloaded(w);
    assert_string_equal(told(), "");
}

/* A line of a reason must not become a line of the protocol. */
static void test_reason_is_one_line(void **state)
{
    (void)state;
    status_set_state(&board, STATUS_PAUSED, "disk\nREADY=1");
    watch_turn(w);
    assert_non_null(
        strstr(told(), "STATUS=Paused: disk READY=1; no version serves yet.|"));
}

/* Each thread alone stops the feeding, and its next beat starts it again. */
static void test_stalled(void **state)
{
    static const char *const names[] = {"source", "trainer", "publisher",
                                        "http"};

    (void)state;
    log_configure(LOG_ERROR, LOG_TEXT);
    serve(1);
    watch_turn(w);
    for (int i = 0; i < PULSE_N; i++) {
        const char *first;

        for (int k = 0; k < PULSE_N; k++)
            pulse_beat((enum pulse)k, 1000000);
        pulse_beat((enum pulse)i, 10000);
        now += 10000;
        told();
        watch_turn(w);
        assert_string_equal(told(), "WATCHDOG=1|"); /* just in time */
        assert_int_equal(pulse_stalled(&first), 0);
        assert_null(first);
        now += 5000;
        watch_turn(w);
        assert_string_equal(told(), "");
        assert_int_equal(pulse_stalled(&first), 1);
        assert_string_equal(first, names[i]);
        now += 50000;
        watch_turn(w);
        assert_string_equal(told(), "");
        pulse_beat((enum pulse)i, 10000);
        watch_turn(w);
        assert_string_equal(told(), "WATCHDOG=1|");
    }
    pulse_beat(PULSE_SOURCE, 1000);
    for (int i = 0; i < PULSE_N; i++)
        pulse_rest((enum pulse)i); /* idle is no stall */
    now += 90000;
    told();
    watch_turn(w);
    assert_string_equal(told(), "WATCHDOG=1|");
}

/* A start that hangs is not extended for ever. */
static void test_stalled_start(void **state)
{
    (void)state;
    log_configure(LOG_ERROR, LOG_TEXT);
    watch_turn(w);
    told();
    pulse_beat(PULSE_TRAINER, 1000);
    now += 30000;
    watch_turn(w);
    assert_string_equal(told(), "");
}

static void test_other_watchdog(void **state)
{
    (void)state;
    watch_stop(w);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    w = watch_create(&board);
    serve(1);
    watch_turn(w);
    assert_string_equal(told(), "READY=1|STATUS=Starting; version 1 serves.|");
}

static size_t three_partitions(struct source *s, struct source_partition **rows)
{
    static const struct source_partition all[] = {
        {"a", 0, -1, 900, 1000}, {"a", 1, -1, 80, 100}, {"b", 0, -1, 5, 5}};

    (void)s;
    *rows = malloc(sizeof all);
    memcpy(*rows, all, sizeof all);
    return 3;
}

static void no_health(struct source *s, struct source_health *health)
{
    (void)s;
    memset(health, 0, sizeof *health);
}

static void test_sentence(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    board.source = (struct source *)&board; /* only its two functions matter */
    board.source_get_partitions = three_partitions;
    board.source_get_health = no_health;
    status_set_state(&board, STATUS_LEARNING, NULL);
    serve(7);
    status_to_sentence(&board, &out);
    assert_string_equal(out.data, "Learning from 3 partitions; version 7 "
                                  "serves; 120 records behind.");
    buf_release(&out);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_life),
        T(test_reload_before_ready),
        T(test_reason_is_one_line),
        T(test_stalled),
        T(test_stalled_start),
        T(test_other_watchdog),
        T(test_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
