/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is forgotten: rows go, tombstones and marks come, all or nothing; and a
 * scrub that was interrupted is made up for.
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
#include "base/buf.h"
#include "store/ranges.h"
#include "store/releases.h"
#include "store/store.h"
#include "store/tombstones.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/store_util.h"

static const struct store_offset partitions[] = {
    {.partition_id = 0, .topic = "text", .partition = 0, .next_offset = 500},
    {.partition_id = 1, .topic = "text", .partition = 1, .next_offset = 300},
};

/* A row of another part's table, of a record at this offset. */
static int one_row(struct sqlite3 *db, struct tombstones_found *found,
                   void *arg, struct err *err)
{
    const struct catalog_range *at = arg;

    (void)db;
    if (at->first_offset < 0)
        return err_set(err, ERR_IO, "the disk is on fire");
    tombstones_add(found, at->partition_id, at->first_offset);
    tombstones_add(found, at->partition_id, at->first_offset);
    return 0;
}

/* Bytes that end in the id. */
static bool ends_in_id(const void *bytes, size_t n_bytes, const char *id)
{
    size_t n = strlen(id);

    return n_bytes >= n &&
           memcmp((const char *)bytes + n_bytes - n, id, n) == 0;
}

static int forget(struct util_both *b, enum tombstones_kind kind,
                  const char *name, struct catalog_range at,
                  struct tombstones_report *report)
{
    const struct tombstones_forget f = {
        .kind = kind,
        .name = name,
        .partitions = partitions,
        .n_partitions = 2,
        .has_id = ends_in_id,
        .in_transaction = one_row,
        .arg = &at,
    };

    return tombstones_write(b->s, &f, report, NULL);
}

static bool is_marked(struct util_both *b, int64_t version)
{
    struct catalog_version v;
    bool marked;

    assert_int_equal(catalog_get(b->c, version, &v, NULL), 0);
    marked = v.forgotten;
    catalog_version_release(&v);
    return marked;
}

/* Versions 1 and 2 in a line, 3 beside 2: offset 205 was learned in 2. */
static void test_versions(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tombstones_report r;
    struct catalog_range at = {0, 205, 205};

    util_publish(b.s, 0, 1);
    util_publish(b.s, 1, 2);
    util_publish(b.s, 1, 3);
    util_publish(b.s, 2, 4);
    assert_int_equal(forget(&b, TOMBSTONES_ID, "somebody", at, &r), 0);
    assert_int_equal(r.records, 1);
    assert_int_equal(r.n_learned, 2);
    assert_int_equal(r.learned[0], 2);
    assert_int_equal(r.learned[1], 4);
    assert_int_equal(r.n_marked, 2);
    tombstones_report_release(&r);
    assert_false(is_marked(&b, 1));
    assert_true(is_marked(&b, 2));
    assert_false(is_marked(&b, 3));
    assert_true(is_marked(&b, 4));
    assert_int_equal(util_publish(b.s, 4, 5), 5);
    assert_false(is_marked(&b, 5));

    /* 310 was held out in 3, 100 of partition 1 was set aside. */
    at = (struct catalog_range){0, 310, 310};
    assert_int_equal(forget(&b, TOMBSTONES_ID, "somebody", at, &r), 0);
    assert_int_equal(r.n_learned, 0);
    assert_int_equal(r.n_marked, 1);
    tombstones_report_release(&r);
    assert_true(is_marked(&b, 3));
    at = (struct catalog_range){1, 100, 100};
    assert_int_equal(forget(&b, TOMBSTONES_ID, "somebody", at, &r), 0);
    assert_int_equal(r.n_marked, 0);
    tombstones_report_release(&r);
    util_close_both(&b);
}

/* A record of the quarantine by its id, by an id that was never read, by its
 * domain; released ones where they were and where they came back. */
static void test_quarantine(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tombstones_report r;
    struct catalog_range at = {0, 205, 205}, *skipped;
    struct util_version v;
    int64_t version, row = 1;
    size_t n;

    util_publish(b.s, 0, 1);
    assert_int_equal(releases_write(b.s, &row, 1, NULL), 0);
    util_version_init(&v, 1, 2);
    v.quarantine[0].id = NULL;
    v.quarantine[0].domain = "news";
    v.quarantine[0].bytes = "not \"record\", not read: record";
    v.quarantine[0].n_bytes = 30;
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    v.quarantine[0].bytes = "\"record\" of another one";
    v.quarantine[0].n_bytes = 23;
    v.quarantine[0].offset = 201;
    v.p.parent = version;
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    util_version_release(&v);
    assert_int_equal(forget(&b, TOMBSTONES_ID, "record", at, &r), 0);
    assert_int_equal(r.quarantine, 2);
    assert_int_equal(r.releases, 1);
    tombstones_report_release(&r);
    assert_int_equal(catalog_skipped(b.c, &skipped, &n, NULL), 0);
    assert_true(ranges_have(skipped, n, 0, 205));
    assert_true(ranges_have(skipped, n, 1, 100));
    assert_true(ranges_have(skipped, n, 1, 200));
    assert_false(ranges_have(skipped, n, 1, 201));
    free(skipped);
    assert_int_equal(forget(&b, TOMBSTONES_DOMAIN, "news", at, &r), 0);
    assert_int_equal(r.quarantine, 1);
    tombstones_report_release(&r);
    assert_int_equal(catalog_check(b.c, NULL), 0);
    util_close_both(&b);
}

static void test_hashes(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tombstones_report r;
    struct catalog_range at = {0, 205, 205};
    struct tombstone *t;
    uint64_t id = tombstones_hash(TOMBSTONES_ID, "a");
    size_t n;

    util_publish(b.s, 0, 1);
    assert_int_equal(forget(&b, TOMBSTONES_ID, "a", at, &r), 0);
    tombstones_report_release(&r);
    assert_int_equal(forget(&b, TOMBSTONES_ID, "a", at, &r), 0);
    tombstones_report_release(&r);
    assert_int_equal(forget(&b, TOMBSTONES_DOMAIN, "b", at, &r), 0);
    tombstones_report_release(&r);
    assert_int_equal(tombstones_read(b.c, &t, &n, NULL), 0);
    assert_int_equal(n, 4);
    assert_true(tombstones_have(t, n, id, 0, 0));
    assert_true(tombstones_have(t, n, id, 0, 499));
    assert_false(tombstones_have(t, n, id, 0, 500));
    assert_true(tombstones_have(t, n, id, 1, 299));
    assert_false(tombstones_have(t, n, id, 1, 300));
    assert_false(tombstones_have(t, n, id, 2, 0));
    assert_true(tombstones_have(t, n, tombstones_hash(TOMBSTONES_DOMAIN, "b"),
                                1, 7));
    assert_false(tombstones_have(t, n, tombstones_hash(TOMBSTONES_ID, "b"), 1,
                                 7));
    assert_false(tombstones_have(t, n, tombstones_hash(TOMBSTONES_DOMAIN, "a"),
                                 0, 7));
    free(t);
    util_close_both(&b);
}

static void test_nothing_by_halves(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tombstones_report r;
    struct catalog_range on_fire = {0, -1, -1};

    util_publish(b.s, 0, 1);
    assert_int_equal(forget(&b, TOMBSTONES_ID, "record", on_fire, &r), ERR_IO);
    assert_int_equal(util_number(b.s, "SELECT count(*) FROM quarantine"), 1);
    assert_int_equal(util_number(b.s, "SELECT count(*) FROM control_log"), 0);
    assert_int_equal(util_number(b.s, "SELECT count(*) FROM settings"
                                      " WHERE key = 'scrub'"),
                     0);
    util_close_both(&b);
}

static bool file_has(const char *dir, const char *name, const char *text)
{
    char *path = fileio_join(dir, name);
    struct buf bytes = BUF_INIT;
    bool has;

    assert_int_equal(fileio_read(path, 1 << 28, &bytes, NULL), 0);
    has = bytes.len && memmem(bytes.data, bytes.len, text, strlen(text));
    buf_release(&bytes);
    free(path);
    return has;
}

/* The process ends between the transaction and the scrub. */
static void test_scrub(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tombstones_report r;
    struct catalog_range at = {0, 205, 205};
    struct util_version v;
    int64_t version;

    util_version_init(&v, 0, 1);
    v.quarantine[0].bytes = "a very particular text";
    v.quarantine[0].n_bytes = 22;
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    util_version_release(&v);
    assert_true(file_has(*state, "mneme.db-wal", "particular"));
    assert_int_equal(forget(&b, TOMBSTONES_ID, "record", at, &r), 0);
    tombstones_report_release(&r);
    assert_true(file_has(*state, "mneme.db-wal", "particular"));
    util_close_both(&b);
    b = util_open_both(*state);
    assert_int_equal(util_number(b.s, "SELECT count(*) FROM settings"
                                      " WHERE key = 'scrub'"),
                     0);
    assert_false(file_has(*state, "mneme.db-wal", "particular"));
    assert_false(file_has(*state, "mneme.db", "particular"));
    assert_int_equal(tombstones_scrub(b.s, NULL), 0); /* nothing to do */
    util_close_both(&b);
}

static bool is_log_write;
static int n_refused;

static void note_write(enum fault_vfs_op op, const char *path,
                       const void *bytes, int n_bytes, int64_t at)
{
    (void)bytes;
    (void)n_bytes;
    (void)at;
    is_log_write = op == FAULT_VFS_WRITE && path && strstr(path, "-wal");
}

static enum fault_vfs refuse_log_write(void)
{
    n_refused += is_log_write;
    return is_log_write ? FAULT_FULL : FAULT_NONE;
}

static bool waits(struct store *s)
{
    bool it_does = false;

    assert_int_equal(tombstones_scrub_is_due(s, &it_does, NULL), 0);
    return it_does;
}

/* The disk is full at the start after a forget: the store opens, publishing
 * does not work yet, reading does; once there is room the bytes go. */
static void test_scrub_without_room(void **state)
{
    struct util_both b;
    struct tombstones_report r;
    struct catalog_range at = {0, 205, 205};
    struct err err = ERR_INIT;

    fault_vfs_install();
    b = util_open_both(*state);
    util_publish(b.s, 0, 1);
    assert_false(waits(b.s));
    assert_int_equal(forget(&b, TOMBSTONES_ID, "record", at, &r), 0);
    tombstones_report_release(&r);
    assert_true(waits(b.s));
    util_close_both(&b);

    fault_vfs_watch = note_write;
    fault_vfs_hook = refuse_log_write;
    b = util_open_both(*state);
    assert_true(n_refused > 0);
    assert_true(waits(b.s));
    assert_int_equal(util_head(b.s), 1);
    assert_int_equal(store_verify(b.c, 1, NULL), 0);
    assert_int_equal(tombstones_scrub(b.s, &err), ERR_FULL);
    assert_non_null(strstr(err.msg, "mneme.db"));
    assert_int_equal(store_check(b.s, NULL), 0);
    fault_vfs_hook = NULL;
    fault_vfs_watch = NULL;

    assert_int_equal(util_publish(b.s, 1, 2), 2);
    assert_true(waits(b.s));
    assert_int_equal(tombstones_scrub(b.s, NULL), 0);
    assert_false(waits(b.s));
    util_close_both(&b);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_versions),
        T(test_quarantine),
        T(test_hashes),
        T(test_nothing_by_halves),
        T(test_scrub),
        T(test_scrub_without_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
