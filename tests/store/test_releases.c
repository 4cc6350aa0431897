/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes back from quarantine: whole rows, once each; what the control log
 * adds up to; and a directory of the schema before there was any of it.
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

#include "base/fileio.h"
#include "store/db.h"
#include "store/ranges.h"
#include "store/releases.h"
#include "store/schema.h"
#include "store/store.h"
#include "store/store_private.h"
#include "tests/util/store_util.h"

static void run_sql(struct store *s, const char *sql)
{
    assert_int_equal(sqlite3_exec(db_handle(s->db), sql, NULL, NULL, NULL),
                     SQLITE_OK);
}

/* --- ranges ------------------------------------------------------------- */

static void test_ranges(void **state)
{
    struct ranges r = {NULL, 0, 0};

    (void)state;
    ranges_add(&r, 1, 10, 19);
    ranges_add(&r, 0, 5, 5);
    ranges_add(&r, 1, 20, 29);
    ranges_add(&r, 1, 0, 3);
    ranges_add(&r, 1, 12, 15);
    r.n = ranges_normalize(r.items, r.n);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.items[2].first_offset, 10);
    assert_int_equal(r.items[2].last_offset, 29);
    assert_true(ranges_have(r.items, r.n, 1, 29));
    assert_false(ranges_have(r.items, r.n, 1, 30));
    assert_false(ranges_have(r.items, r.n, 1, 4));
    assert_true(ranges_have(r.items, r.n, 0, 5));
    assert_false(ranges_have(r.items, r.n, 2, 5));
    assert_true(ranges_meet(r.items, r.n, 1, 4, 10));
    assert_false(ranges_meet(r.items, r.n, 1, 4, 9));
    assert_int_equal(ranges_normalize(NULL, 0), 0);
    ranges_release(&r);
}

/* --- releases ----------------------------------------------------------- */

static void test_release(void **state)
{
    const struct catalog_quarantine_filter all = {0};
    struct util_both b = util_open_both(*state);
    struct catalog_quarantine *q;
    struct catalog_range *skipped;
    struct releases_row *rows;
    struct err err = ERR_INIT;
    int64_t ids[2] = {1, 2}, bad[2] = {2, 4711};
    size_t n;

    util_publish(b.s, 0, 1);
    util_publish(b.s, 1, 2);
    assert_int_equal(releases_write(b.s, bad, 2, &err), ERR_NOTFOUND);
    assert_int_equal(releases_read(b.c, 0, 0, &rows, &n, NULL), 0);
    assert_int_equal(n, 0); /* all or none */
    releases_free(rows, n);

    assert_int_equal(releases_write(b.s, ids, 2, &err), 0);
    assert_int_equal(releases_write(b.s, ids, 1, &err), ERR_STATE);
    assert_int_equal(releases_read(b.c, 0, 0, &rows, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].id, 1);
    assert_string_equal(rows[0].topic, "text");
    assert_int_equal(rows[0].partition, 1);
    assert_int_equal(rows[0].offset, 100);
    assert_string_equal(rows[0].reason, "not_utf8");
    assert_int_equal(rows[0].n_bytes, 3);
    assert_memory_equal(rows[0].bytes, "\xff\0x", 4);
    releases_free(rows, n);
    assert_int_equal(releases_read(b.c, 2, 5, &rows, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].offset, 200);
    releases_free(rows, n);

    /* Wherever they are read again they are passed over. */
    assert_int_equal(catalog_skipped(b.c, &skipped, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_true(ranges_have(skipped, n, 1, 100));
    assert_false(ranges_have(skipped, n, 1, 101));
    free(skipped);
    assert_int_equal(catalog_quarantine_find(b.c, &all, &q, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(q[0].released, 2);
    assert_int_equal(q[1].released, 1);
    catalog_quarantine_free(q, n);
    util_close_both(&b);
}

/* A record that is set aside again keeps what is known of its release. */
static void test_released_and_met_again(void **state)
{
    struct util_both b = util_open_both(*state);
    struct util_version v;
    int64_t version, row = 1;

    util_publish(b.s, 0, 1);
    assert_int_equal(releases_write(b.s, &row, 1, NULL), 0);
    util_version_init(&v, 1, 1);
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    util_version_release(&v);
    assert_int_equal(releases_write(b.s, &row, 1, NULL), ERR_STATE);
    assert_int_equal(util_number(b.s, "SELECT release_id FROM quarantine"), 1);
    util_close_both(&b);
}

static void test_cut(void **state)
{
    struct util_both b = util_open_both(*state);
    struct catalog_quarantine_filter filter = {.releasable = true};
    struct catalog_quarantine *q;
    struct util_version v;
    struct err err = ERR_INIT;
    int64_t version, row = 1;
    size_t n;

    util_version_init(&v, 0, 1);
    v.quarantine[0].cut = true;
    v.quarantine[0].domain = "news";
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    util_version_release(&v);
    assert_int_equal(releases_write(b.s, &row, 1, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "cut"));
    assert_int_equal(catalog_quarantine_find(b.c, &filter, &q, &n, NULL), 0);
    assert_int_equal(n, 0);
    catalog_quarantine_free(q, n);
    filter = (struct catalog_quarantine_filter){.row = 1, .most_bytes = 2};
    assert_int_equal(catalog_quarantine_find(b.c, &filter, &q, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_false(q->whole);
    assert_int_equal(q->size, 3);
    assert_int_equal(q->n_bytes, 2);
    assert_string_equal(q->domain, "news");
    assert_string_equal(q->id, "record");
    catalog_quarantine_free(q, n);
    filter = (struct catalog_quarantine_filter){.reason = "empty"};
    assert_int_equal(catalog_quarantine_find(b.c, &filter, &q, &n, NULL), 0);
    assert_int_equal(n, 0);
    catalog_quarantine_free(q, n);
    util_close_both(&b);
}

/* --- the schema before -------------------------------------------------- */

static void test_migration(void **state)
{
    const struct catalog_quarantine_filter all = {0};
    static const char rows[] =
        "INSERT INTO partitions VALUES (0, 'text', 0);"
        "INSERT INTO quarantine (version, partition_id, record_offset,"
        " time_ms, reason, bytes, record_id) VALUES"
        " (1, 0, 1, 7, 'empty', x'2020', 'a'),"
        " (1, 0, 2, 7, 'step_skipped', zeroblob(4096), NULL),"
        " (1, 0, 3, 7, 'too_long', x'20', NULL);"
        "INSERT INTO control_log (time_ms, kind, partition_id, first_offset,"
        " last_offset) VALUES (1, 'skip', 0, 10, 19);"
        "PRAGMA application_id=1835951469; PRAGMA user_version=1";
    char *path = fileio_join(*state, "mneme.db");
    struct catalog_quarantine *q;
    struct catalog_range *r;
    struct util_both b;
    int64_t row = 1;
    sqlite3 *db;
    size_t n;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, schema_migrations[0], NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
    b = util_open_both(*state);
    assert_int_equal(catalog_quarantine_find(b.c, &all, &q, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_false(q[0].whole); /* the newest comes first */
    assert_false(q[1].whole);
    assert_true(q[2].whole);
    assert_null(q[2].domain);
    assert_int_equal(q[2].released, 0);
    catalog_quarantine_free(q, n);
    assert_int_equal(catalog_skipped(b.c, &r, &n, NULL), 0);
    assert_int_equal(n, 1);
    free(r);
    assert_int_equal(releases_write(b.s, &row, 1, NULL), 0);
    run_sql(b.s, "PRAGMA foreign_key_check");
    assert_int_equal(catalog_check(b.c, NULL), 0);
    util_close_both(&b);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        T(test_release),
        T(test_released_and_met_again),
        T(test_cut),
        T(test_migration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
