/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations: their states, the thread that gets each kind, the order, and the
 * limits on their number.
 */
#include "config.h"

#include "daemon/board/control.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/timing.h"

static int trainer_woken, publisher_woken;

static void wake_trainer(void *arg)
{
    (void)arg;
    trainer_woken++;
}

static void wake_publisher(void *arg)
{
    (void)arg;
    publisher_woken++;
}

static int setup(void **state)
{
    trainer_woken = publisher_woken = 0;
    *state = control_create(wake_trainer, wake_publisher, NULL);
    return 0;
}

static int teardown(void **state)
{
    control_free(*state);
    return 0;
}

static int64_t submit(struct control *c, enum control_kind kind,
                      int64_t version)
{
    struct err err = ERR_INIT;
    int64_t id = 0;

    if (control_submit(c, kind, version, "why", &id, &err) != 0)
        fail_msg("%s", err.msg);
    control_start(c, id);
    return id;
}

/* Each thread gets its own kinds, the oldest operation first, each once. */
static void test_take(void **state)
{
    struct control *c = *state;
    struct control_operation op;
    int64_t pin = submit(c, CONTROL_PIN, 1);
    int64_t rewind = submit(c, CONTROL_ROLLBACK_REWIND, 2);
    int64_t keep = submit(c, CONTROL_ROLLBACK_KEEP, 3);
    int64_t skip = submit(c, CONTROL_ROLLBACK_SKIP, 4);

    assert_int_equal(trainer_woken, 2);
    assert_int_equal(publisher_woken, 2);
    assert_true(control_take(c, true, &op));
    assert_int_equal(op.id, rewind);
    assert_int_equal(op.version, 2);
    assert_int_equal(op.state, CONTROL_RUNNING);
    assert_string_equal(op.reason, "why");
    assert_true(control_take(c, true, &op));
    assert_int_equal(op.id, skip);
    assert_false(control_take(c, true, &op));
    assert_true(control_take(c, false, &op));
    assert_int_equal(op.id, pin);
    assert_true(control_take(c, false, &op));
    assert_int_equal(op.id, keep);
    assert_false(control_take(c, false, &op));
}

/* The choice is that of the newest operation that has not ended. */
static void test_choice(void **state)
{
    struct control *c = *state;
    struct control_operation op;
    struct err failed = {ERR_STATE, "it is damaged"};
    int64_t skip, keep;

    assert_int_equal(control_choice(c, 0), 0);
    submit(c, CONTROL_PIN, 1);
    submit(c, CONTROL_PROMOTE_LATEST, 0);
    assert_int_equal(control_choice(c, 0), 0);
    skip = submit(c, CONTROL_ROLLBACK_SKIP, 4);
    keep = submit(c, CONTROL_ROLLBACK_KEEP, 3);
    submit(c, CONTROL_UNPIN, 1);
    assert_int_equal(control_choice(c, 0), 3);
    assert_int_equal(control_choice(c, keep), 4);
    while (control_take(c, false, &op) && op.id != keep)
        control_finish(c, op.id, NULL, "");
    control_finish(c, keep, &failed, "");
    assert_int_equal(control_choice(c, 0), 4);
    assert_true(control_take(c, true, &op));
    assert_int_equal(control_choice(c, 0), 4);
    assert_int_equal(control_choice(c, skip), 0);
    control_finish(c, skip, NULL, "");
    assert_int_equal(control_choice(c, 0), 0);
    /* A submitted operation counts, but no thread takes it. */
    assert_int_equal(
        control_submit(c, CONTROL_ROLLBACK_REWIND, 7, "why", &skip, NULL), 0);
    assert_int_equal(control_choice(c, 0), 7);
    assert_false(control_take(c, true, &op));
    assert_int_equal(control_get(c, skip, &op, NULL), 0);
    assert_int_equal(op.state, CONTROL_SUBMITTED);
    control_start(c, skip);
    assert_true(control_take(c, true, &op));
    assert_int_equal(op.version, 7);
}

static void test_finish(void **state)
{
    struct control *c = *state;
    struct control_operation op;
    struct err failed = {ERR_STATE, "it is pinned"};
    int64_t good = submit(c, CONTROL_PIN, 1);
    int64_t bad = submit(c, CONTROL_UNPIN, 1);

    while (control_take(c, false, &op))
        control_finish(c, op.id, op.id == bad ? &failed : NULL, "done so");
    assert_int_equal(control_get(c, good, &op, NULL), 0);
    assert_int_equal(op.state, CONTROL_DONE);
    assert_string_equal(op.detail, "done so");
    assert_true(op.finished_ms >= op.asked_ms);
    assert_int_equal(control_get(c, bad, &op, NULL), 0);
    assert_int_equal(op.state, CONTROL_FAILED);
    assert_int_equal(op.err.code, ERR_STATE);
    assert_string_equal(op.err.msg, "it is pinned");
    assert_int_equal(control_get(c, 0, &op, NULL), ERR_NOTFOUND);
    assert_int_equal(control_get(c, -1, &op, NULL), ERR_NOTFOUND);
    assert_int_equal(control_get(c, bad + 1, &op, NULL), ERR_NOTFOUND);
}

static bool pass_one(struct control *c, int64_t *id)
{
    struct control_operation op;

    if (control_submit(c, CONTROL_PIN, 1, NULL, id, NULL) != 0)
        return false;
    control_start(c, *id);
    assert_true(control_take(c, false, &op));
    control_finish(c, op.id, NULL, "");
    return true;
}

/* The number of operations that have not ended is limited. */
static void test_line(void **state)
{
    struct control *c = *state;
    struct control_operation op;
    struct err err = ERR_INIT;
    int64_t id;
    int n = 0;

    while (control_submit(c, CONTROL_ROLLBACK_SKIP, 1, NULL, &id, &err) == 0) {
        control_start(c, id);
        assert_true(++n < 256);
    }
    assert_int_equal(err.code, ERR_STATE);
    assert_true(control_take(c, true, &op));
    assert_int_equal(control_submit(c, CONTROL_PIN, 1, NULL, &id, &err),
                     ERR_STATE);
    control_finish(c, op.id, NULL, "");
    submit(c, CONTROL_PIN, 1);
}

/* An ended operation loses its slot in the end. A queued operation keeps its
 * slot, and a new operation that needs the slot is refused. */
static void test_memory(void **state)
{
    struct control *c = *state;
    struct control_operation op;
    int64_t id, waits = submit(c, CONTROL_ROLLBACK_SKIP, 1);
    int n = 0;

    while (pass_one(c, &id))
        assert_true(++n < 300);
    assert_int_equal(control_get(c, waits, &op, NULL), 0);
    assert_true(control_take(c, true, &op));
    assert_int_equal(op.id, waits);
    control_finish(c, waits, NULL, "");
    assert_true(pass_one(c, &id));
    assert_int_equal(control_get(c, waits, &op, NULL), ERR_NOTFOUND);
    assert_int_equal(control_get(c, id, &op, NULL), 0);
}

/* A long reason is cut. */
static void test_reason(void **state)
{
    struct control_operation op;
    char reason[2000];
    int64_t id;

    memset(reason, 'x', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    assert_int_equal(control_submit(*state, CONTROL_PIN, 1, reason, &id,
                                    NULL), 0);
    assert_int_equal(control_get(*state, id, &op, NULL), 0);
    assert_int_equal(strlen(op.reason), sizeof op.reason - 1);
}

static void *finish_later(void *arg)
{
    struct control_operation op;

    timing_sleep_ms(30);
    while (control_take(arg, false, &op))
        control_finish(arg, op.id, NULL, "late");
    return NULL;
}

static void test_wait(void **state)
{
    struct control *c = *state;
    struct control_operation op;
    int64_t id = submit(c, CONTROL_PIN, 1);
    pthread_t thread;

    assert_int_equal(control_wait(c, id, 10, &op, NULL), 0);
    assert_int_equal(op.state, CONTROL_QUEUED);
    assert_int_equal(pthread_create(&thread, NULL, finish_later, c), 0);
    assert_int_equal(control_wait(c, id, 10000, &op, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(op.state, CONTROL_DONE);
    assert_string_equal(op.detail, "late");
    assert_int_equal(control_wait(c, 99, 10, &op, NULL), ERR_NOTFOUND);
}

static void test_json(void **state)
{
    struct control_operation op;
    int64_t id = submit(*state, CONTROL_ROLLBACK_SKIP, 7);
    json_t *j;

    assert_int_equal(control_get(*state, id, &op, NULL), 0);
    j = control_to_json(&op);
    assert_int_equal(json_integer_value(json_object_get(j, "version")), 7);
    assert_string_equal(json_string_value(json_object_get(j, "kind")),
                        "rollback_skip");
    assert_string_equal(json_string_value(json_object_get(j, "state")),
                        "queued");
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_take, setup, teardown),
        cmocka_unit_test_setup_teardown(test_choice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_finish, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
