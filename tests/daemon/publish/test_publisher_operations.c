/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the publisher does for an operator and for the trainer: rollbacks, the
 * operations, and the order of its tasks.
 */
#include "config.h"

#include "daemon/publish/publisher.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/tags.h"
#include "tests/util/publish_util.h"
#include "tests/util/store_util.h"

static void test_rollback(void **state)
{
    struct err err = ERR_INIT;
    struct guard_request request;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, 0, 20);
    publish_util_publish(&u, NAN, 0);
    publish_util_check_pointers(&u, 3, 2);
    assert_int_equal(publish_util_roll_back(&u, 7, false, false, &err),
                     ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "7"));
    publish_util_check_pointers(&u, 3, 2);
    publish_util_check_metric(&u, "rollbacks_total", 0);

    assert_int_equal(publish_util_roll_back(&u, 1, true, true, &err), 0);
    publish_util_check_pointers(&u, 1, 2);
    util_assert_state(u.catalog, 3, STORE_ROLLED_BACK);
    assert_false(publisher_take_request(u.publisher, &request)); /* dropped */
    publish_util_check_metric(&u, "rollbacks_total", 1);
    publish_util_check_metric(&u, "automatic_rollbacks_total", 1);
    publish_util_check_status(&u, "last_rollback", "worse");
    publish_util_check_status(&u, "judged_version", "1");
    publish_util_check_metric(&u, "gate_refused_in_a_row", 0);

    assert_int_equal(publish_util_roll_back(&u, 1, false, false, &err), 0);
    publish_util_check_pointers(&u, 1, 1);
    publish_util_check_metric(&u, "rollbacks_total", 2);
    publish_util_check_metric(&u, "automatic_rollbacks_total", 1);
    assert_int_equal(publish_util_publish(&u, 0, 0),
                     4); /* no number is used twice */
    publish_util_check_pointers(&u, 4, 4);
    publish_util_end(&u);
}

/* --- operations --------------------------------------------------------- */

static void check_pinned(struct train_util *u, int64_t version, bool pinned)
{
    struct catalog_version v;

    assert_int_equal(catalog_get(u->catalog, version, &v, NULL), 0);
    assert_int_equal(v.pinned, pinned);
    catalog_version_release(&v);
}

static void test_pin(void **state)
{
    struct control_operation op;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    op = publish_util_operate(&u, CONTROL_PIN, 1, "");
    assert_string_equal(op.detail, "version 1 pinned");
    check_pinned(&u, 1, true);
    op = publish_util_operate(&u, CONTROL_UNPIN, 1, "");
    assert_string_equal(op.detail, "version 1 unpinned");
    check_pinned(&u, 1, false);
    op = publish_util_operate(&u, CONTROL_PIN, 9, "");
    assert_int_equal(op.state, CONTROL_FAILED);
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    assert_int_equal(publisher_choices(u.publisher), 0);
    publish_util_end(&u);
}

static void test_tags(void **state)
{
    struct control_operation op;
    struct train_util u;
    int64_t version;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, 0, 0);
    op = publish_util_operate(&u, CONTROL_TAG, 1, "stable");
    assert_string_equal(op.detail, "version 1 has the tag stable");
    assert_int_equal(tags_find(u.catalog, "stable", &version, NULL), 0);
    assert_int_equal(version, 1);
    op = publish_util_operate(&u, CONTROL_TAG, 2, "stable");
    assert_string_equal(op.detail,
                        "tag stable moved from version 1 to version 2");
    op = publish_util_operate(&u, CONTROL_UNTAG, 0, "stable");
    assert_string_equal(op.detail, "tag stable removed from version 2");
    op = publish_util_operate(&u, CONTROL_UNTAG, 0, "stable");
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    op = publish_util_operate(&u, CONTROL_TAG, 9, "stable");
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    op = publish_util_operate(&u, CONTROL_TAG, 1, "17");
    assert_int_equal(op.err.code, ERR_INVALID);
    publish_util_end(&u);
}

/* Until `promote latest`, the chosen version serves, whatever passes. */
static void test_promote(void **state)
{
    struct control_operation op;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    op = publish_util_operate(&u, CONTROL_PROMOTE_LATEST, 0, "");
    assert_int_equal(op.err.code, ERR_STATE);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, 0, 0);
    op = publish_util_operate(&u, CONTROL_PROMOTE, 1, "I like it");
    assert_string_equal(op.detail, "serving version 1 until `promote latest`");
    publish_util_check_pointers(&u, 2, 1);
    publish_util_check_serving_pinned(&u, true);
    assert_int_equal(publisher_choices(u.publisher), 1);
    publish_util_publish(&u, 0, 0);
    publish_util_check_pointers(&u, 3, 1);
    util_assert_state(u.catalog, 3, STORE_PASSED);
    op = publish_util_operate(&u, CONTROL_ROLLBACK_KEEP, 2, "");
    assert_int_equal(op.state, CONTROL_DONE);
    publish_util_check_pointers(&u, 3, 2);
    op = publish_util_operate(&u, CONTROL_PROMOTE, 9, "");
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    publish_util_check_pointers(&u, 3, 2);
    op = publish_util_operate(&u, CONTROL_PROMOTE_LATEST, 0, "");
    assert_string_equal(op.detail, "serving version 3, then each that passes");
    publish_util_check_pointers(&u, 3, 3);
    publish_util_check_serving_pinned(&u, false);
    assert_int_equal(publisher_choices(u.publisher), 3);
    publish_util_publish(&u, 0, 0);
    publish_util_check_pointers(&u, 4, 4);
    publish_util_end(&u);
}

/* A version that an operator chose serves before its operation is carried out,
 * also after a verdict in between; when the operation fails, what the store
 * says serves again. */
static void test_choice(void **state)
{
    struct control_operation op;
    struct train_util u;
    int64_t id;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, 0, 0);
    assert_int_equal(
        control_submit(u.control, CONTROL_ROLLBACK_REWIND, 1, "", &id, NULL),
        0);
    assert_int_equal(serving_choose(u.serving, 1, NULL), 0);
    control_start(u.control, id);
    publish_util_publish(&u, 0, 0);
    assert_int_equal(serving_version(u.serving), 1);
    publish_util_check_metric(&u, "serving_version", 1);
    assert_true(control_take(u.control, true, &op)); /* by the trainer */
    publisher_serve_as_stored(u.publisher, id);
    control_finish(u.control, id, &(struct err){ERR_STATE, "no"}, "");
    publish_util_check_pointers(&u, 3, 3);
    publish_util_end(&u);
}

/* A skipped range is released once it exists. */
static void test_release_range(void **state)
{
    struct store_ledger_run run = {
        .step = 1, .last_offset = 9, .count = 10, .kind = 's'};
    struct store_rollback rows = {
        .to = 1, .mode = "skip", .reason = "", .skipped = &run, .n_skipped = 1};
    struct control_operation op;
    struct store_offset *known;
    struct train_util u;
    size_t n;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    op = publish_util_operate(&u, CONTROL_RELEASE_RANGE, 1, "");
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    known = progress_offsets(&u.learning.progress, &n);
    assert_int_equal(publisher_rollback(u.publisher, &rows, known, n, NULL), 0);
    free(known);
    op = publish_util_operate(
        &u, CONTROL_RELEASE_RANGE,
        util_number(u.store, "SELECT max(id) FROM control_log"), "");
    assert_int_equal(op.state, CONTROL_DONE);
    assert_non_null(strstr(op.detail, "is learned when it is read again"));
    assert_false(publisher_released(u.publisher));
    publish_util_end(&u);
}

/* A record that was refused by mistake is released, and another one cannot
 * be. */
static void test_release(void **state)
{
    const struct store_quarantine_row good = {.offset = 40,
                                              .reason = "surprise",
                                              .bytes = "{\"text\":\"fine\"}",
                                              .n_bytes = 15,
                                              .domain = "a"};
    const struct store_quarantine_row empty = {.offset = 41,
                                               .reason = "empty",
                                               .bytes = "{\"text\":\"\"}",
                                               .n_bytes = 11};
    struct control_operation op;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    progress_quarantine(&u.learning.progress, &good, 100);
    progress_quarantine(&u.learning.progress, &empty, 100);
    publish_util_publish(&u, 0, 40);
    op = publish_util_operate(&u, CONTROL_RELEASE, 2, "");
    assert_int_equal(op.err.code, ERR_STATE);
    assert_false(publisher_released(u.publisher));
    op = publish_util_operate(&u, CONTROL_RELEASE, 1, "");
    assert_int_equal(op.state, CONTROL_DONE);
    assert_int_equal(util_number(u.store, "SELECT count(*) FROM releases"), 1);
    assert_true(publisher_released(u.publisher));
    assert_false(publisher_released(u.publisher));
    publish_util_end(&u);
}

/* --- the queue ---------------------------------------------------------- */

/* States that the publisher's thread reads for the test. */
static struct order {
    struct train_util *u;
    int64_t first, second; /* operations */
    enum control_state first_then, second_then;
} order;

static enum control_state state_of(struct train_util *u, int64_t id)
{
    struct control_operation op = {.state = CONTROL_FAILED};

    control_get(u->control, id, &op, NULL);
    return op.state;
}

/* Runs on the publisher's thread, so the tasks that it queues have to wait. */
static int queue_tasks(struct store *s, void *arg, struct err *err)
{
    (void)s;
    (void)arg;
    control_submit(order.u->control, CONTROL_PIN, 1, "", &order.first, NULL);
    control_start(order.u->control, order.first);
    publisher_submit(order.u->publisher, publish_util_make_snapshot(order.u));
    return err_set(err, ERR_STATE, "an errand's error");
}

/* The version is durable, and its verdict is not queued yet. The verdict comes
 * before this operation, which promotes the newest version that passed. */
static void queue_promote(struct train_util *u)
{
    order.first_then = state_of(u, order.first);
    control_submit(u->control, CONTROL_PROMOTE_LATEST, 0, "", &order.second,
                   NULL);
    control_start(u->control, order.second);
}

static int read_second(struct store *s, void *arg, struct err *err)
{
    (void)s;
    (void)arg;
    (void)err;
    order.second_then = state_of(order.u, order.second);
    return 0;
}

static void test_order(void **state)
{
    struct control_operation op;
    struct err err = ERR_INIT;
    struct train_util u;
    int64_t version;

    publish_util_begin(&u, *state);
    order = (struct order){.u = &u};
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_operate(&u, CONTROL_PROMOTE, 1, "");
    publish_util_set_weights(0);
    u.when_published = queue_promote;
    assert_int_equal(publisher_run(u.publisher, queue_tasks, NULL, &err),
                     ERR_STATE);
    assert_string_equal(err.msg, "an errand's error");
    publisher_wait(u.publisher);
    publisher_run(u.publisher, read_second, NULL, NULL);
    assert_int_equal(order.first_then, CONTROL_DONE);
    assert_int_equal(order.second_then, CONTROL_DONE);
    assert_int_equal(publish_util_collect(&u, &version), 0);
    assert_int_equal(version, 2);
    assert_int_equal(control_get(u.control, order.second, &op, NULL), 0);
    assert_string_equal(op.detail, "serving version 2, then each that passes");
    publish_util_check_pointers(&u, 2, 2);
    publish_util_end(&u);
}

/* A stop carries out the tasks that are queued. */
static void test_stop(void **state)
{
    struct train_util u;
    int64_t version, id;

    publish_util_begin(&u, *state);
    publish_util_set_weights(0);
    publisher_submit(u.publisher, publish_util_make_snapshot(&u));
    control_submit(u.control, CONTROL_PIN, 1, "", &id, NULL);
    control_start(u.control, id);
    publisher_start(u.publisher);
    publisher_stop(u.publisher);
    assert_int_equal(publish_util_collect(&u, &version), 0);
    util_assert_state(u.catalog, 1, STORE_PASSED);
    assert_int_equal(state_of(&u, id), CONTROL_DONE);
    publish_util_end(&u);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_rollback), T(test_pin),           T(test_tags),
        T(test_promote),  T(test_choice),        T(test_release_range),
        T(test_release),  T(test_order),         T(test_stop),
    };

    return cmocka_run_group_tests(tests, publish_util_set_up,
                                  publish_util_tear_down);
}
