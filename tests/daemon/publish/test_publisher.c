/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The publisher's verdicts, with a real store, a fake clock and a fake source,
 * and its retention. The test plays the trainer: the weights of its snapshots
 * decide the verdict.
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
#include <unistd.h>

#include <cmocka.h>

#include "tests/util/publish_util.h"
#include "tests/util/store_util.h"

/* --- the verdict -------------------------------------------------------- */

static void take_time(struct train_util *u)
{
    (void)u;
    u->now_ms += 1500;
}

/* The first version passes. Checks every metric of versions. */
static void test_first(void **state)
{
    struct snapshot *s;
    struct train_util u;
    int64_t version = 0;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publisher_wait(u.publisher);
    publish_util_check_pointers(&u, 0, 0);
    publish_util_check_metric(&u, "publishes_total", 0);
    assert_false(
        publisher_collect(u.publisher, &s, &version, &(struct err)ERR_INIT));

    publish_util_set_weights(0);
    publish_util_hold_out(&u, 40);
    s = publish_util_make_snapshot(&u);
    s->cpu_ns = 3000000000000; /* of the trainer: far more than this test */
    u.when_durable = take_time;
    publisher_submit(u.publisher, s);
    assert_true(publisher_busy(u.publisher));
    publisher_wait(u.publisher);
    assert_true(publisher_busy(u.publisher)); /* its outcome waits */
    assert_int_equal(publish_util_collect(&u, &version), 0);
    assert_int_equal(version, 1);
    assert_false(publisher_busy(u.publisher));
    assert_int_equal(u.source.n_published, 1);
    assert_int_equal(u.source.published, 40);
    assert_int_equal(u.n_wakes, 1);
    assert_int_equal(publish_util_records_held_out(&u), 40);

    publish_util_check_pointers(&u, 1, 1);
    util_assert_state(u.catalog, 1, STORE_PASSED);
    publish_util_check_metric(&u, "publishes_total", 1);
    publish_util_check_metric(&u, "publish_failures_total", 0);
    publish_util_check_metric(&u, "publish_seconds", 1.5);
    assert_true(train_util_metric(&u, "publish_cpu_seconds") >= 3000);
    assert_true(train_util_metric(&u, "publish_cpu_seconds") < 6000);
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"pass\"}", 1);
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"fail\"}", 0);
    publish_util_check_metric(&u, "gate_refused_in_a_row", 0);
    publish_util_check_metric(&u, "shadow_records", 0);
    publish_util_check_metric(&u, "rollbacks_total", 0);
    publish_util_check_metric(&u, "automatic_rollbacks_total", 0);
    publish_util_check_metric(&u, "erasure_pending", 0);
    publish_util_check_metric(&u, "freshness_seconds", 6.5);
    publish_util_check_status(&u, "last_verdict", "\"passed\"");
    publish_util_check_status(&u, "last_reason", "the first version");
    publish_util_check_status(&u, "judged_version", "1");
    publish_util_check_status(&u, "shadow", "null");
    publish_util_check_status(&u, "last_rollback", "null");
    publish_util_end(&u);
}

/* Both verdicts. Only a version that passed serves. */
static void test_verdicts(void **state)
{
    struct train_util u;
    double best;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    /* All bytes are equally likely: 8 bits. */
    best = train_util_metric(&u, "domain_holdout_best_loss_bpb{domain=\"a\"}");
    train_util_check_metric(
        &u, "domain_holdout_best_loss_bpb{domain=\"a\"}", 8.0174, 1e-3);
    publish_util_check_metric(&u, "domain_holdout_loss_bpb{domain=\"a\"}",
                              best);

    publish_util_publish(&u, 0, 0); /* the same weights */
    publish_util_check_pointers(&u, 2, 2);
    util_assert_state(u.catalog, 2, STORE_PASSED);
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"pass\"}", 2);

    publish_util_publish(&u, TOO_MUCH, 20);
    util_assert_state(u.catalog, 3, STORE_FAILED);
    publish_util_check_pointers(&u, 3, 2);
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"fail\"}", 1);
    publish_util_check_metric(&u, "gate_refused_in_a_row", 1);
    publish_util_check_status(&u, "last_verdict", "\"failed\"");
    publish_util_check_status(&u, "shadow", "\"against\":2");
    publish_util_check_metric(&u, "shadow_records", 20);
    train_util_check_metric(&u, "shadow_difference_ratio", 0.0378, 1e-3);
    train_util_check_metric(&u, "shadow_evidence", 0.0057, 1e-3);

    publish_util_publish(&u, BAD, 20);
    util_assert_state(u.catalog, 4, STORE_FAILED);
    publish_util_check_pointers(&u, 4, 2);
    publish_util_check_metric(&u, "gate_verdicts_total{verdict=\"fail\"}", 2);
    publish_util_check_metric(&u, "gate_refused_in_a_row", 2);
    publish_util_check_metric(&u, "shadow_records", 40);
    publish_util_check_status(&u, "last_verdict", "\"failed\"");
    publish_util_check_status(&u, "judged_version", "4");
    train_util_check_metric(&u, "domain_holdout_loss_bpb{domain=\"a\"}",
                            10.0182, 1e-2);
    publish_util_check_metric(
        &u, "domain_holdout_best_loss_bpb{domain=\"a\"}", best);
    publish_util_check_metric(&u, "publishes_total", 4);
    publish_util_end(&u);
}

static int pause_learning(struct store *s, void *arg, struct err *err)
{
    (void)arg;
    return store_pause(s, "three times in an hour", err);
}

/* Weights that are not finite: the version fails, and the guard requests a
 * rollback. The request is found after a restart, too, until learning is
 * paused instead. */
static void test_not_finite(void **state)
{
    struct guard_request request;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    assert_false(publisher_take_request(u.publisher, &request));
    publish_util_publish(&u, NAN, 0);
    util_assert_state(u.catalog, 2, STORE_FAILED);
    publish_util_check_pointers(&u, 2, 1);
    publish_util_check_status(&u, "last_reason", "not finite");
    assert_int_equal(u.n_wakes, 3); /* two outcomes, one request */
    publish_util_restart(&u);
    assert_true(publisher_take_request(u.publisher, &request));
    assert_int_equal(request.cause, GUARD_NOT_FINITE);
    assert_int_equal(request.version, 1);
    assert_non_null(strstr(request.reason, "version 2: "));
    assert_false(publisher_take_request(u.publisher, &request));

    assert_int_equal(publisher_run(u.publisher, pause_learning, NULL, NULL), 0);
    publish_util_restart(&u);
    assert_false(publisher_take_request(u.publisher, &request));
    publish_util_check_status(&u, "last_verdict", "\"failed\"");
    publish_util_end(&u);
}

static void test_no_auto_rollback(void **state)
{
    struct guard_request request;
    struct train_util u;

    publish_util_begin(&u, *state);
    u.conf->publish.auto_rollback = false;
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, NAN, 0);
    util_assert_state(u.catalog, 2, STORE_FAILED);
    assert_false(publisher_take_request(u.publisher, &request));
    publish_util_end(&u);
}

static void damage_head(struct train_util *u)
{
    struct catalog_pointers pointers;
    char *path;

    assert_int_equal(catalog_pointers(u->catalog, &pointers, NULL), 0);
    path = util_file_of(u->dir, pointers.head, "model.safetensors");
    assert_int_equal(truncate(path, 100), 0);
    free(path);
}

/* A version whose files are damaged fails. The guard requests no rollback,
 * since the live weights are not damaged. */
static void test_damaged_files(void **state)
{
    struct guard_request request;
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    u.when_durable = damage_head;
    publish_util_publish(&u, 0, 0);
    util_assert_state(u.catalog, 2, STORE_FAILED);
    publish_util_check_pointers(&u, 2, 1);
    publish_util_check_status(&u, "last_reason", "cannot be read back");
    assert_false(publisher_take_request(u.publisher, &request));
    assert_int_equal(u.n_fatal, 0);
    publish_util_end(&u);
}

/* A version without a step of its own has the verdict of its parent. */
static void test_same_as_parent(void **state)
{
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, BAD, 20);
    util_assert_state(u.catalog, 2, STORE_FAILED);
    u.step--;
    publish_util_publish(&u, BAD, 20);
    util_assert_state(u.catalog, 3, STORE_FAILED);
    publish_util_check_pointers(&u, 3, 1);
    publish_util_check_metric(&u, "gate_refused_in_a_row",
                              1); /* nothing counts twice */
    publish_util_end(&u);
}

/* --- retention and erased bytes ----------------------------------------- */

/* Old versions are removed, and the holdout rows that only they had; the
 * reference version stays. */
static void test_retention(void **state)
{
    struct catalog_version v;
    struct train_util u;

    publish_util_begin(&u, *state);
    u.conf->publish.keep.newest = 2;
    u.conf->publish.keep.hourly = u.conf->publish.keep.daily = 0;
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publish_util_publish(&u, WORSE, 10);
    for (int i = 3; i <= 6; i++)
        publish_util_publish(&u, TOO_MUCH, 10);
    publish_util_check_pointers(&u, 6, 2);
    assert_int_equal(catalog_get(u.catalog, 1, &v, NULL), 0);
    catalog_version_release(&v);
    assert_int_equal(catalog_get(u.catalog, 3, &v, NULL), ERR_NOTFOUND);
    assert_int_equal(catalog_get(u.catalog, 5, &v, NULL), 0);
    catalog_version_release(&v);
    publish_util_end(&u);
}

static int forget_bytes(struct store *s, void *arg, struct err *err)
{
    (void)arg;
    return store_setting_put(s, "scrub", "1", err);
}

/* While erased bytes may be in the database file, the publisher tries every
 * minute to write it anew. */
static void test_scrub(void **state)
{
    struct train_util u;

    publish_util_begin(&u, *state);
    publisher_start(u.publisher);
    publish_util_publish(&u, 0, 40);
    publisher_run(u.publisher, forget_bytes, NULL, NULL);
    publish_util_pass_time(&u, 59999);
    publish_util_check_metric(&u, "erasure_pending", 1);
    publish_util_pass_time(&u, 1);
    publish_util_check_metric(&u, "erasure_pending", 0);
    assert_int_equal(util_number(u.store, "SELECT count(*) FROM settings "
                                          "WHERE key = 'scrub'"),
                     0);
    publish_util_end(&u);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_first),         T(test_verdicts),
        T(test_not_finite),    T(test_no_auto_rollback),
        T(test_damaged_files), T(test_same_as_parent),
        T(test_retention),     T(test_scrub),
    };

    return cmocka_run_group_tests(tests, publish_util_set_up,
                                  publish_util_tear_down);
}
