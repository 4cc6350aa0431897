/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of events: a reader gets the events after its position, in order. An
 * event `missed` tells a reader about lost events.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/board/event_log.h"

static void watch(struct event_log *l, void *arg)
{
    (void)arg;
    while (!event_log_pause(l, 100))
        ;
    event_log_add(l, "last", json_object());
}

static void add(struct event_log *l, int64_t from, int64_t to)
{
    for (int64_t i = from; i <= to; i++)
        event_log_add(l, "step", json_pack("{s:I}", "n", (json_int_t)i));
}

/* The next event has number n, this name and this part of its JSON. */
static void expect(struct event_log *l, int64_t *at, int64_t n,
                   const char *name, const char *part)
{
    struct event e;

    assert_int_equal(event_log_next(l, at, 0, &e), EVENT_FOUND);
    assert_string_equal(e.name, name);
    if (!strstr(e.json, part) || strchr(e.json, '\n'))
        fail_msg("no %s in %s", part, e.json);
    assert_int_equal(*at, n);
    assert_int_equal(event_log_after(l, e.id), n);
    free(e.json);
}

static void test_log(void **state)
{
    struct event_log *l = event_log_create(watch, NULL);
    int64_t at = event_log_newest(l), back;
    struct event e;
    char id[48];

    (void)state;
    assert_int_equal(event_log_next(l, &at, 0, &e), EVENT_NONE_YET);
    add(l, 1, 3);
    for (int64_t i = 1; i <= 3; i++) {
        snprintf(id, sizeof id, "\"n\":%" PRId64 "}", i);
        expect(l, &at, i, "step", id);
    }
    assert_int_equal(event_log_next(l, &at, 0, &e), EVENT_NONE_YET);

    /* A client that reconnects gets the event after its last one. */
    event_log_make(l, 1, "step", json_object(), &e);
    free(e.json);
    back = event_log_after(l, e.id);
    expect(l, &back, 2, "step", "\"n\":2}");

    /* Too many events since: the number of lost ones, then the oldest. */
    add(l, 4, EVENT_LOG_KEPT + 10);
    expect(l, &at, 10, "missed", "\"missed\":7,");
    expect(l, &at, 11, "step", "\"n\":11}");

    event_log_stop(l);
    at = EVENT_LOG_KEPT + 10;
    expect(l, &at, EVENT_LOG_KEPT + 11, "last", "\"event\":\"last\"");
    assert_int_equal(event_log_next(l, &at, 100000, &e), EVENT_END);
    event_log_free(l);
}

/* Ids of another run or of the future, and texts that are no ids. */
static void test_other_ids(void **state)
{
    struct event_log *l = event_log_create(watch, NULL);
    struct event e;
    char ids[6][64] = {"1-1", "", "x", "7", "", ""};

    (void)state;
    add(l, 1, 2);
    event_log_make(l, 3, "step", json_object(), &e);
    strcpy(ids[4], e.id); /* not yet */
    free(e.json);
    event_log_make(l, 1, "step", json_object(), &e);
    snprintf(ids[5], sizeof ids[5], "%s ", e.id);
    free(e.json);
    for (int i = 0; i < 6; i++) {
        int64_t at = event_log_after(l, ids[i]);

        expect(l, &at, 0, "missed", "\"missed\":null");
        expect(l, &at, 1, "step", "\"n\":1}");
    }
    event_log_stop(l);
    event_log_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_other_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
