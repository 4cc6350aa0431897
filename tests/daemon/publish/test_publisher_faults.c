/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The publisher when the disk is full, when a write fails, when files are lost,
 * and after the process ended at a bad moment.
 */
#include "config.h"

#include "daemon/publish/publisher.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/publish_util.h"
#include "tests/util/store_util.h"

static enum fault_vfs disk_fails(void)
{
    return FAULT_IO;
}

/* No room for the version: the trainer gets its snapshot back, and what was
 * staged is in the next version. */
static void test_full_disk(void **state)
{
    struct train_util u;
    int64_t version;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_hold_out(&u, 20);
    publish_util_fill_disk(&u);
    publisher_submit(u.publisher, publish_util_make_snapshot(&u));
    publisher_wait(u.publisher);
    assert_true(publisher_busy(u.publisher));
    assert_int_equal(publish_util_collect(&u, &version), ERR_FULL);
    assert_false(publisher_busy(u.publisher));
    publish_util_check_pointers(&u, 1, 1);
    publish_util_check_metric(&u, "publishes_total", 1);
    publish_util_check_metric(&u, "publish_failures_total", 1);
    assert_int_equal(u.source.n_published, 1);
    assert_int_equal(publish_util_records_held_out(&u), 40);
    fault_vfs_hook = NULL;

    version = publish_util_publish(&u, 0, 0);
    assert_int_equal(publish_util_records_held_out(&u), 60);
    publish_util_check_pointers(&u, version, version);
    publish_util_check_metric(&u, "publishes_total", 2);
    publish_util_check_metric(&u, "publish_failures_total", 1);
    assert_int_equal(u.n_fatal, 0);
    publish_util_end(&u);
}

/* A write that fails ends the process: no later version is written. */
static void test_failed_write(void **state)
{
    struct train_util u;
    int64_t version;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    fault_vfs_hook = disk_fails;
    publisher_submit(u.publisher, publish_util_make_snapshot(&u));
    publisher_wait(u.publisher);
    assert_int_equal(publish_util_collect(&u, &version), ERR_IO);
    assert_true(u.n_fatal > 0);
    assert_int_equal(u.fatal.code, ERR_IO);
    publish_util_check_metric(&u, "publish_failures_total", 1);
    fault_vfs_hook = NULL;

    publisher_submit(u.publisher, publish_util_make_snapshot(&u));
    publisher_wait(u.publisher);
    assert_int_equal(publish_util_collect(&u, &version), ERR_IO);
    publish_util_check_pointers(&u, 1, 1);
    publish_util_check_metric(&u, "publishes_total", 1);
    publish_util_check_metric(&u, "publish_failures_total", 1);
    publish_util_end(&u);
}

/* The parent's anchor cannot be linked: the next snapshot brings its own. */
static void test_lost_anchor(void **state)
{
    struct snapshot *s;
    struct train_util u;
    int64_t version;
    char *path;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    s = publish_util_make_snapshot(&u);
    s->anchor_unchanged = true;
    path = util_file_of(u.dir, 1, "anchor.safetensors");
    assert_int_equal(unlink(path), 0);
    free(path);
    publisher_submit(u.publisher, s);
    publisher_wait(u.publisher);
    assert_int_equal(publish_util_collect(&u, &version), ERR_CORRUPT);
    assert_int_equal(u.n_fatal, 0);
    assert_int_equal(publish_util_publish(&u, 0, 0), 2);
    publish_util_end(&u);
}

/* No room for the verdict: the version stays pending, the trainer goes on, and
 * other tasks run. The verdict follows when there is room. */
static void test_full_disk_at_verdict(void **state)
{
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    u.when_durable = publish_util_fill_disk;
    publish_util_publish(&u, 0, 0);
    util_assert_state(u.catalog, 2, STORE_PENDING);
    publish_util_check_pointers(&u, 2, 1);
    publish_util_check_metric(&u, "publishes_total", 2);
    publish_util_check_metric(&u, "publish_failures_total", 1);
    publish_util_check_status(&u, "judged_version", "1");
    publish_util_pass_time(&u, 4999); /* not due */
    publish_util_check_metric(&u, "publish_failures_total", 1);
    publish_util_pass_time(&u, 1); /* due, in vain */
    publish_util_check_metric(&u, "publish_failures_total", 2);
    util_assert_state(u.catalog, 2, STORE_PENDING);
    fault_vfs_hook = NULL;
    assert_int_equal(publish_util_operate(&u, CONTROL_PIN, 1, "").state,
                     CONTROL_DONE);
    util_assert_state(u.catalog, 2, STORE_PENDING);
    publish_util_pass_time(&u, 5000);
    publish_util_check_pointers(&u, 2, 2);
    util_assert_state(u.catalog, 2, STORE_PASSED);
    publish_util_check_metric(&u, "publishes_total", 2);
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"pass\"}", 2);
    assert_int_equal(u.n_fatal, 0);
    publish_util_end(&u);
}

/* A new version is judged at once, while an older verdict waits for its retry.
 * The older version stays pending. */
static void test_verdict_overtaken(void **state)
{
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    u.when_durable = publish_util_fill_disk;
    publish_util_publish(&u, 0, 0);
    fault_vfs_hook = NULL;
    assert_int_equal(publish_util_publish(&u, 0, 0), 3);
    publish_util_check_pointers(&u, 3, 3);
    util_assert_state(u.catalog, 2, STORE_PENDING);
    publish_util_pass_time(&u, 60000);
    util_assert_state(u.catalog, 2, STORE_PENDING);
    publish_util_check_metric(&u, "publishes_total", 3);
    publish_util_end(&u);
}

/* The process ended between a version's row and its verdict. */
static void test_restart(void **state)
{
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    u.when_durable = publish_util_fill_disk;
    publish_util_publish(&u, 0, 0);
    util_assert_state(u.catalog, 2, STORE_PENDING);
    fault_vfs_hook = NULL;
    publish_util_restart(&u);
    publish_util_check_pointers(&u, 2, 2);
    util_assert_state(u.catalog, 2, STORE_PASSED);
    publish_util_check_metric(&u, "publishes_total", 0); /* by this process */
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"pass\"}", 1);
    publish_util_check_metric(&u, "freshness_seconds", 5);
    publish_util_end(&u);
}

/* The database file is gone: the next check of the store ends the process. */
static void test_store_lost(void **state)
{
    struct train_util u;
    char *path, *away;

    publish_util_begin(&u, *state);
    path = fileio_join(u.dir, "mneme.db");
    away = fileio_join(u.dir, "away");
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    assert_int_equal(rename(path, away), 0);
    publish_util_pass_time(&u, 0);
    assert_true(u.n_fatal > 0);
    assert_int_equal(rename(away, path), 0);
    free(path);
    free(away);
    publish_util_end(&u);
}

/* A damaged version never serves, and a rollback that the disk has no room for
 * changes nothing. */
static void test_failed_rollback(void **state)
{
    struct err err = ERR_INIT;
    struct guard_request request;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, NAN, 0);
    publish_util_fill_disk(&u);
    assert_int_equal(publish_util_roll_back(&u, 1, false, false, &err),
                     ERR_FULL);
    fault_vfs_hook = NULL;
    publish_util_check_pointers(&u, 2, 1);
    assert_int_equal(publish_util_roll_back(&u, 2, false, false, &err),
                     ERR_CORRUPT);
    publish_util_check_pointers(&u, 2, 1);
    assert_true(publisher_take_request(u.publisher, &request));
    publish_util_check_metric(&u, "rollbacks_total", 0);
    assert_int_equal(u.n_fatal, 0);
    publish_util_end(&u);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_full_disk),         T(test_failed_write),
        T(test_lost_anchor),       T(test_full_disk_at_verdict),
        T(test_verdict_overtaken), T(test_restart),
        T(test_store_lost),        T(test_failed_rollback),
    };

    return cmocka_run_group_tests(tests, publish_util_set_up,
                                  publish_util_tear_down);
}
