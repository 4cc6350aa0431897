/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which versions retention leaves, and what a failed pruning leaves.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/fileio.h"
#include "store/retention.h"
#include "store/store.h"
#include "tests/util/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define HOUR ((int64_t)3600000)

static void test_retention_rules(void **state)
{
    struct retention_version v[40];
    struct store_keep keep = {3, 4, 2, 0};
    int64_t now = 1000 * 24 * HOUR + 12 * HOUR;

    (void)state;
    /* One every half hour, the newest now. */
    for (int i = 0; i < 40; i++)
        v[i] = (struct retention_version){.version = 100 - i,
                                          .created_ms = now - i * HOUR / 2};
    assert_int_equal(retention_choose(&keep, now, v, 40), 34);
    /* newest: 0, 1, 2; hours: 0, 1 (half past), 3, 5; days: 0, 25 */
    for (int i = 0; i < 40; i++)
        assert_int_equal(v[i].kept, i <= 3 || i == 5 || i == 25);
    /* Undone ones do not stand for their hour; protected ones stay. */
    v[3].undone = v[25].undone = true;
    v[39].protect = true;
    retention_choose(&keep, now, v, 40);
    assert_false(v[3].kept);
    assert_true(v[4].kept);
    assert_false(v[25].kept);
    assert_true(v[26].kept);
    assert_true(v[39].kept);
    keep = (struct store_keep){0, 0, 0, 0};
    assert_int_equal(retention_choose(&keep, now, v, 40), 39);
    assert_int_equal(retention_choose(&keep, now, v, 0), 0);
    keep.also = 90;
    assert_int_equal(retention_choose(&keep, now, v, 40), 38);
    assert_true(v[10].kept);
}

struct swept {
    int64_t kept[16];
    size_t n;
    int calls;
};

static int note_kept(struct sqlite3 *db, const int64_t *kept, size_t n,
                     void *arg, struct err *err)
{
    struct swept *swept = arg;

    (void)db;
    (void)err;
    assert_in_range(n, 0, COUNT(swept->kept));
    memcpy(swept->kept, kept, n * sizeof *kept);
    swept->n = n;
    swept->calls++;
    return 0;
}

static void test_prune(void **state)
{
    const struct store_keep keep = {1, 0, 0, 0};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct swept swept = {0};
    struct util_totals t;
    struct catalog_version v;
    struct util_version linked;
    int64_t version;
    int removed = -1;

    for (int64_t i = 1; i <= 6; i++)
        util_pass(s, i, i <= 3); /* 3 serves */
    util_version_init(&linked, 6, 7);
    linked.p.anchor = NULL; /* from 6, which goes */
    assert_int_equal(store_publish(s, &linked.p, &version, NULL), 0);
    assert_int_equal(store_pin(s, 5, true, NULL), 0);
    assert_int_equal(
        store_prune(s, &keep, 0, note_kept, &swept, &removed, NULL), 0);
    assert_int_equal(removed, 4); /* 1, 2, 4, 6; 7 is head and pending */
    assert_int_equal(swept.n, 3);
    assert_int_equal(swept.kept[0], 3);
    assert_int_equal(swept.kept[1], 5);
    assert_int_equal(swept.kept[2], 7);
    assert_int_equal(util_count_dirs(*state), 3);
    assert_int_equal(catalog_get(c, 6, &v, NULL), ERR_NOTFOUND);
    assert_int_equal(catalog_get(c, 7, &v, NULL), 0);
    assert_int_equal(v.parent, 6); /* the number stays */
    catalog_version_release(&v);
    assert_int_equal(store_verify(c, 7, NULL), 0);
    /* The totals of every branch are what they were. */
    for (int64_t i = 3; i <= 7; i += 2) {
        t = util_totals(c, i);
        assert_int_equal(t.learned, 10 * i);
        assert_int_equal(t.holdout, 2 * i);
        assert_int_equal(t.quarantined, i);
    }
    assert_int_equal(util_number(s, "SELECT count(*) FROM ledger_merged"
                                    " WHERE version = 3 AND kind = 'l' AND"
                                    " first_offset = 100 AND last_offset = 209"
                                    " AND count = 20"),
                     1);
    /* Nothing more to remove; the sweep runs all the same. */
    assert_int_equal(
        store_prune(s, &keep, 0, note_kept, &swept, &removed, NULL), 0);
    assert_int_equal(removed, 0);
    assert_int_equal(swept.calls, 2);
    assert_int_equal(catalog_check(c, NULL), 0);
    assert_int_equal(util_pass(s, 8, true), 8); /* numbers are not reused */
    util_version_release(&linked);
    catalog_close(c);
    store_close(s);
}

/* A branch point goes: both branches keep its share. */
static void test_prune_branch(void **state)
{
    const struct store_keep keep = {0, 0, 0, 0};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct util_totals t;
    int removed;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    store_pin(s, 3, true, NULL);
    assert_int_equal(util_rewind_to(s, 2), 0);
    util_pass(s, 4, true); /* 1 - 2 - 3, 2 - 4 */
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    assert_int_equal(removed, 2);
    t = util_totals(c, 3);
    assert_int_equal(t.learned, 30);
    t = util_totals(c, 4);
    assert_int_equal(t.learned, 30);
    /* A branch can still be left for the other. */
    assert_int_equal(util_rewind_to(s, 3), 0);
    util_assert_state(c, 3, STORE_PASSED);
    util_assert_state(c, 4, STORE_ROLLED_BACK);
    assert_int_equal(util_pass(s, 5, true), 5);
    store_pin(s, 3, false, NULL);
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    assert_int_equal(removed, 2);
    t = util_totals(c, 5);
    assert_int_equal(t.learned, 40);
    catalog_close(c);
    store_close(s);
}

static int refuse_prune(struct sqlite3 *db, const int64_t *kept, size_t n,
                        void *arg, struct err *err)
{
    (void)db;
    (void)kept;
    (void)n;
    (void)arg;
    return err_set(err, ERR_FULL, "no room");
}

static int fail_once(const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    fileio_fault = NULL;
    return EIO;
}

static void test_prune_fails(void **state)
{
    const struct store_keep keep = {1, 0, 0, 0};
    struct store *s = util_open_store(*state);
    int64_t head, n_versions;
    int removed = -1;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    assert_int_equal(
        store_prune(s, &keep, 0, refuse_prune, NULL, &removed, NULL), ERR_FULL);
    assert_int_equal(removed, 0);
    assert_int_equal(util_count_dirs(*state), 3);
    /* Rows gone, directories not: the next start removes them. */
    fileio_fault = fail_once;
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL),
                     ERR_IO);
    assert_int_equal(util_count_dirs(*state), 3);
    store_close(s);
    util_check_whole(*state, &head, &n_versions);
    assert_int_equal(head, 3);
    assert_int_equal(n_versions, 1);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retention_rules),
        T(test_prune),
        T(test_prune_branch),
        T(test_prune_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
