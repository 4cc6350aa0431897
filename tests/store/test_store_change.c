/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a version: verdict, serving, pins, rolling back, ranges.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/timing.h"
#include "store/store.h"
#include "store/store_private.h"
#include "tests/util/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- verdict, serving, pins --------------------------------------------- */

static void test_verdict(void **state)
{
    const struct store_domain_result results[] = {
        {"logs", 2.5, 0.75, 12}, {"mail", 0.0 / 0.0, 0.0 / 0.0, 0}};
    struct store *s = util_open_store(*state);
    struct err err = ERR_INIT;

    util_publish(s, 0, 1);
    assert_int_equal(
        store_verdict(s, 9, STORE_PASSED, "{}", NULL, NULL, 0, true, "x",
                      NULL),
        ERR_NOTFOUND);
    assert_int_equal(store_verdict(s, 1, STORE_PASSED, "{\"a\":1}", NULL,
                                   results, 2, true, "first", NULL),
                     0);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 1);
    assert_int_equal(
        store_verdict(s, 1, STORE_FAILED, "{}", NULL, NULL, 0, false, "x",
                      &err),
        ERR_STATE);
    assert_non_null(strstr(err.msg, "passed"));
    util_publish(s, 1, 2);
    assert_int_equal(
        store_verdict(s, 2, STORE_FAILED, "{}", NULL, NULL, 0, false, "worse",
                      NULL),
        0);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 1);
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"), 1);
    store_close(s);
}

static void test_serve(void **state)
{
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct catalog_history *h;
    struct catalog_pointers p;
    _Atomic int64_t now = 5000;
    size_t n;

    timing_set_fake(&now);
    util_pass(s, 1, true);
    now = 6000;
    util_pass(s, 2, true);
    now = 7000;
    assert_int_equal(store_serve(s, 1, true, "by hand", NULL), 0);
    assert_int_equal(catalog_pointers(c, &p, NULL), 0);
    assert_int_equal(p.serving, 1);
    assert_int_equal(p.head, 2);
    assert_true(p.serving_pinned);
    now = 8000;
    assert_int_equal(store_serve(s, 2, false, NULL, NULL), 0);
    assert_int_equal(store_serve(s, 3, false, NULL, NULL), ERR_NOTFOUND);
    now = 9000;
    assert_int_equal(
        store_set_state(s, 2, STORE_DAMAGED, "a bit flipped", NULL), 0);
    assert_int_equal(store_serve(s, 2, true, NULL, NULL), ERR_STATE);
    assert_int_equal(store_serve_instead(s, 1, "2 is damaged", NULL), 0);
    assert_int_equal(catalog_history(c, 0, &h, &n, NULL), 0);
    assert_int_equal(n, 5);
    assert_string_equal(h[0].cause, "damaged");
    assert_int_equal(h[0].from_ms, 9000);
    assert_int_equal(h[0].until_ms, 0);
    assert_int_equal(h[0].version, 1);
    assert_int_equal(h[0].previous, 2);
    assert_string_equal(h[2].cause, "promote");
    assert_string_equal(h[2].reason, "by hand");
    assert_int_equal(h[2].from_ms, 7000);
    assert_int_equal(h[2].until_ms, 8000);
    assert_string_equal(h[4].cause, "published");
    assert_int_equal(h[4].previous, 0);
    catalog_history_free(h, n);
    assert_int_equal(catalog_history(c, 2, &h, &n, NULL), 0);
    assert_int_equal(n, 2);
    catalog_history_free(h, n);
    catalog_close(c);
    store_close(s);
}

static void test_append_only(void **state)
{
    static const char *const refused[] = {
        "DELETE FROM history",
        "UPDATE history SET reason = 'another'",
        "UPDATE history SET version = 3",
        "UPDATE history SET until_ms = 1 WHERE until_ms <> 0",
        "REPLACE INTO history VALUES (1, 0, 0, 0, 0, '', '')",
        "DELETE FROM control_log",
        "UPDATE control_log SET time_ms = 0",
    };
    struct store *s = util_open_store(*state);

    util_pass(s, 1, true);
    util_pass(s, 2, true);
    assert_int_equal(store_pin(s, 1, true, NULL), 0);
    assert_int_equal(store_pin(s, 1, false, NULL), 0);
    assert_int_equal(store_pin(s, 5, true, NULL), ERR_NOTFOUND);
    for (size_t i = 0; i < COUNT(refused); i++)
        if (sqlite3_exec(db_handle(s->db), refused[i], NULL, NULL, NULL) !=
            SQLITE_CONSTRAINT_TRIGGER)
            fail_msg("%s", refused[i]);
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"), 2);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"), 2);
    store_close(s);
}

/* --- rolling back ------------------------------------------------------- */

static int64_t noted_newest;

static int note_newest(struct sqlite3 *db, int64_t to, int64_t newest,
                       struct err *err)
{
    (void)db;
    (void)to;
    (void)err;
    noted_newest = newest;
    return 0;
}

static int refuse_rollback(struct sqlite3 *db, int64_t to, int64_t newest,
                           struct err *err)
{
    (void)db;
    (void)to;
    (void)newest;
    return err_set(err, ERR_FULL, "no room");
}

static int skip_to(struct store *s, int64_t version,
                   const struct store_ledger_run *skipped, size_t n)
{
    const struct store_rollback r = {.to = version,
                                     .mode = "skip",
                                     .reason = "bad feed",
                                     .skipped = skipped,
                                     .n_skipped = n};

    return store_rollback(s, &r, NULL);
}

static void test_rollback(void **state)
{
    const struct store_ledger_run skipped[] = {{40, 0, 200, 299, 90, 's'},
                                               {40, 1, 7, 7, 1, 's'}};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct catalog_range *ranges;
    struct util_totals t;
    struct store_rollback r = {.to = 2,
                               .mode = "sideways",
                               .reason = "bad feed",
                               .skipped = skipped,
                               .n_skipped = 2};
    size_t n;

    for (int64_t i = 1; i <= 4; i++)
        util_pass(s, i, true);
    assert_int_equal(skip_to(s, 9, NULL, 0), ERR_NOTFOUND);
    assert_int_equal(store_rollback(s, &r, NULL), ERR_INVALID);
    r.mode = "skip";
    r.in_transaction = refuse_rollback;
    assert_int_equal(store_rollback(s, &r, NULL), ERR_FULL); /* nothing of it */
    assert_int_equal(util_head(s), 4);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"), 0);

    r.in_transaction = note_newest;
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    assert_int_equal(noted_newest, 4);
    assert_int_equal(util_head(s), 2);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 2);
    util_assert_state(c, 1, STORE_PASSED);
    util_assert_state(c, 2, STORE_PASSED);
    util_assert_state(c, 3, STORE_ROLLED_BACK);
    util_assert_state(c, 4, STORE_ROLLED_BACK);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(ranges[0].first_offset, 200);
    assert_int_equal(ranges[0].last_offset, 299);
    assert_int_equal(ranges[1].partition_id, 1);
    free(ranges);

    /* A new number, a child of 2, with what was skipped in its ledger. */
    assert_int_equal(util_pass(s, 5, true), 5);
    t = util_totals(c, 5);
    assert_int_equal(t.learned, 30);
    assert_int_equal(t.skipped, 91);
    assert_int_equal(t.holdout, 6);
    assert_int_equal(t.quarantined, 3);
    t = util_totals(c, 4);
    assert_int_equal(t.learned, 40);
    assert_int_equal(t.skipped, 0);

    /* Back to what had been rolled back: it counts again. */
    assert_int_equal(util_rewind_to(s, 3), 0);
    util_assert_state(c, 3, STORE_PASSED);
    util_assert_state(c, 4, STORE_ROLLED_BACK);
    util_assert_state(c, 5, STORE_ROLLED_BACK);
    assert_int_equal(util_pass(s, 6, true), 6);
    t = util_totals(c, 6);
    assert_int_equal(t.learned, 40);
    assert_int_equal(t.skipped, 0);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 2); /* no rollback undoes a skip */
    free(ranges);
    assert_int_equal(store_set_state(s, 1, STORE_DAMAGED, "", NULL), 0);
    assert_int_equal(util_rewind_to(s, 1), ERR_STATE);
    catalog_close(c);
    store_close(s);
}

/* A head that goes back by itself takes nobody along who was not asked: a
 * refused version does not come to serve, a promoted one goes on. */
static void test_rollback_keeps_serving(void **state)
{
    const struct store_rollback r = {
        .to = 3, .mode = "rewind", .reason = "damage", .keep_serving = true};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);

    util_pass(s, 1, true);
    util_pass(s, 2, true);
    util_pass(s, 3, false);
    util_pass(s, 4, true);
    assert_int_equal(store_serve(s, 1, true, "promoted", NULL), 0);
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    assert_int_equal(util_head(s), 3);
    util_assert_state(c, 4, STORE_ROLLED_BACK);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 1);
    assert_int_equal(util_number(s, "SELECT serving_pinned FROM pointers"), 1);
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"
                                    " WHERE cause = 'rollback'"),
                     0);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"
                                    " WHERE kind = 'rollback'"),
                     1);
    catalog_close(c);
    store_close(s);
}

/* Nobody asked: the range is in quarantine, out of which it can be taken. */
static void test_ranges(void **state)
{
    const struct store_ledger_run skipped = {1, 0, 500, 539, 40, 's'};
    const struct store_ledger_run logged = {1, 0, 520, 539, 20, 's'};
    struct store_rollback r = {.to = 1,
                               .mode = "skip",
                               .reason = "worse",
                               .skipped = &skipped,
                               .n_skipped = 1,
                               .automatic = true,
                               .range_kind = "quarantine",
                               .logged = &logged,
                               .n_logged = 1};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct catalog_range *ranges;
    struct catalog_skip *rows;
    struct util_totals t;
    int64_t id;
    size_t n;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    util_pass(s, 4, true);
    t = util_totals(c, 4);
    assert_int_equal(t.skipped, 40); /* all of it, in the ledger */
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"
                                    " WHERE cause = 'auto_rollback'"),
                     1);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 1); /* the part that is new, in the control log */
    assert_int_equal(ranges[0].first_offset, 520);
    free(ranges);

    assert_int_equal(catalog_ranges(c, &rows, &n, NULL), 0);
    assert_int_equal(n, 1);
    id = rows[0].id;
    assert_string_equal(rows[0].kind, "quarantine");
    assert_string_equal(rows[0].topic, "text");
    assert_int_equal(rows[0].released_ms, 0);
    catalog_ranges_free(rows, n);
    assert_int_equal(store_release(s, id + 100, "", NULL), ERR_NOTFOUND);
    assert_int_equal(store_release(s, id, "looked at", NULL), 0);
    assert_int_equal(store_release(s, id, "again", NULL), ERR_STATE);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 0);
    free(ranges);

    r.range_kind = "skip_for_good";
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    assert_int_equal(catalog_ranges(c, &rows, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_true(rows[0].released_ms > 0);
    assert_false(rows[0].read_again);
    id = rows[1].id;
    catalog_ranges_free(rows, n);
    assert_int_equal(store_release(s, id, "", NULL), ERR_STATE);
    assert_int_equal(util_rewind_to(s, 1), 0);
    assert_int_equal(catalog_ranges(c, &rows, &n, NULL), 0);
    assert_true(rows[0].read_again);
    assert_false(rows[1].read_again);
    catalog_ranges_free(rows, n);
    catalog_close(c);
    store_close(s);
}

/* What a rollback skipped is dropped by another before the next version, and
 * only "skip" puts it into the ledger. */
static void test_rollback_twice(void **state)
{
    const struct store_ledger_run skipped = {1, 0, 500, 509, 10, 's'};
    const struct store_ledger_run unknown = {1, 8, 500, 509, 10, 's'};
    const struct store_offset later = {.partition_id = 8, .topic = "later"};
    const struct store_rollback rewind = {.to = 1,
                                          .mode = "rewind",
                                          .reason = "",
                                          .skipped = &skipped,
                                          .n_skipped = 1};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct util_totals t;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    assert_int_equal(skip_to(s, 2, &skipped, 1), 0);
    assert_int_equal(store_rollback(s, &rewind, NULL), 0);
    util_pass(s, 4, true);
    t = util_totals(c, 4);
    assert_int_equal(t.skipped, 0);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"
                                    " WHERE kind = 'skip'"),
                     2);
    /* Nor when the store is opened before that: it is read again. */
    assert_int_equal(skip_to(s, 2, &skipped, 1), 0);
    store_close(s);
    s = util_open_store(*state);
    util_pass(s, 5, true);
    t = util_totals(c, 5);
    assert_int_equal(t.skipped, 0);
    /* A partition that no version knows yet. */
    assert_int_equal(skip_to(s, 1, &unknown, 1), ERR_INVALID);
    assert_int_equal(store_add_partitions(s, &later, 1, NULL), 0);
    assert_int_equal(skip_to(s, 1, &unknown, 1), 0);
    catalog_close(c);
    store_close(s);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_verdict),
        T(test_serve),
        T(test_append_only),
        T(test_rollback),
        T(test_rollback_keeps_serving),
        T(test_rollback_twice),
        T(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
