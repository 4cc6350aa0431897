/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tags: which names are usable, how they move, and that retention, a restart
 * and a backup keep them.
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

#include "base/xalloc.h"
#include "store/backup.h"
#include "store/store_private.h"
#include "store/tags.h"
#include "tests/util/store_util.h"

static void test_names(void **state)
{
    static const char *const good[] = {"a",   "release", "v1.2-rc_3", "0x7",
                                       "1.0", "latest2", "Latest"};
    static const char *const bad[] = {
        "",       ".",        "..",  "-a",  "_a",  "7",        "0042",
        "latest", "previous", "a b", "a/b", "a@b", "\xc3\xa4", "a\n"};
    char name[TAGS_NAME_BYTES + 2];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!tags_is_name(good[i]))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tags_is_name(bad[i]))
            fail_msg("%s", bad[i]);
    memset(name, 'a', sizeof name);
    name[TAGS_NAME_BYTES + 1] = '\0';
    assert_false(tags_is_name(name));
    name[TAGS_NAME_BYTES] = '\0';
    assert_true(tags_is_name(name));
}

/* "name:version ..." of all tags, to be freed. */
static char *listed(struct catalog *c)
{
    struct tags_tag *tags;
    struct buf text = BUF_INIT;
    size_t n;

    assert_int_equal(tags_list(c, &tags, &n, NULL), 0);
    buf_adds(&text, "");
    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%s%s:%lld", i ? " " : "", tags[i].name,
                 (long long)tags[i].version);
    tags_free(tags, n);
    return buf_detach(&text);
}

static void check_listed(struct catalog *c, const char *expected)
{
    char *text = listed(c);

    assert_string_equal(text ? text : "", expected);
    free(text);
}

static void test_moves(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tags_move *moves;
    struct catalog_version v;
    int64_t version = -1;
    size_t n;

    util_pass(b.s, 1, true);
    util_pass(b.s, 2, true);
    check_listed(b.c, "");
    assert_int_equal(tags_put(b.s, "b", 9, &version, NULL), ERR_NOTFOUND);
    assert_int_equal(tags_put(b.s, "7", 1, &version, NULL), ERR_INVALID);
    assert_int_equal(tags_remove(b.s, "b", &version, NULL), ERR_NOTFOUND);
    assert_int_equal(tags_put(b.s, "b", 1, &version, NULL), 0);
    assert_int_equal(version, 0);
    assert_int_equal(tags_put(b.s, "a", 1, &version, NULL), 0);
    check_listed(b.c, "a:1 b:1");
    assert_int_equal(catalog_get(b.c, 1, &v, NULL), 0);
    assert_string_equal(v.tags, "a b");
    catalog_version_release(&v);
    assert_int_equal(tags_put(b.s, "b", 2, &version, NULL), 0);
    assert_int_equal(version, 1);
    /* To put it where it is changes nothing, and is not logged. */
    assert_int_equal(tags_put(b.s, "b", 2, &version, NULL), 0);
    assert_int_equal(version, 2);
    assert_int_equal(tags_find(b.c, "b", &version, NULL), 0);
    assert_int_equal(version, 2);
    assert_int_equal(tags_remove(b.s, "a", &version, NULL), 0);
    assert_int_equal(version, 1);
    assert_int_equal(tags_find(b.c, "a", &version, NULL), ERR_NOTFOUND);
    check_listed(b.c, "b:2");
    assert_int_equal(tags_moves(b.c, 0, &moves, &n, NULL), 0);
    assert_int_equal(n, 4);
    assert_string_equal(moves[0].name, "a");
    assert_int_equal(moves[0].version, 0);
    assert_string_equal(moves[1].name, "b");
    assert_int_equal(moves[1].version, 2);
    assert_int_equal(moves[3].version, 1);
    tags_moves_free(moves, n);
    assert_int_equal(tags_moves(b.c, 1, &moves, &n, NULL), 0);
    assert_int_equal(n, 1);
    tags_moves_free(moves, n);
    util_close_both(&b);
    /* A restart keeps them. */
    b = util_open_both(*state);
    check_listed(b.c, "b:2");
    assert_int_equal(catalog_check(b.c, NULL), 0);
    util_close_both(&b);
}

static void check_resolved(struct catalog *c, const char *name, int code,
                           int64_t expected, bool expected_moves)
{
    int64_t version = -1;
    bool moves;

    assert_int_equal(tags_resolve(c, name, &version, &moves, NULL), code);
    if (code)
        return;
    assert_int_equal(version, expected);
    assert_int_equal(moves, expected_moves);
}

static void test_resolve(void **state)
{
    struct util_both b = util_open_both(*state);
    int64_t version;

    check_resolved(b.c, "latest", ERR_STATE, 0, true);
    check_resolved(b.c, "serving", ERR_STATE, 0, true);
    util_pass(b.s, 1, true);
    util_pass(b.s, 2, true);
    util_pass(b.s, 3, false);
    check_resolved(b.c, NULL, 0, 2, true);
    check_resolved(b.c, "", 0, 2, true);
    check_resolved(b.c, "serving", 0, 2, true);
    check_resolved(b.c, "latest", 0, 3, true);
    check_resolved(b.c, "previous", 0, 1, true);
    check_resolved(b.c, "7", 0, 7, false);
    check_resolved(b.c, "0", ERR_NOTFOUND, 0, false);
    check_resolved(b.c, "99999999999999999999", ERR_INVALID, 0, false);
    check_resolved(b.c, "a b", ERR_INVALID, 0, false);
    check_resolved(b.c, "a", ERR_NOTFOUND, 0, false);
    assert_int_equal(tags_put(b.s, "a", 1, &version, NULL), 0);
    assert_int_equal(tags_put(b.s, "serving", 3, &version, NULL), 0);
    check_resolved(b.c, "a", 0, 1, true);
    check_resolved(b.c, "serving", 0, 3, true);
    util_close_both(&b);
}

static void test_retention(void **state)
{
    const struct store_keep keep = {0, 0, 0, 0};
    struct util_both b = util_open_both(*state);
    int64_t version;
    int removed;

    for (int64_t i = 1; i <= 4; i++)
        util_pass(b.s, i, true);
    assert_int_equal(tags_put(b.s, "old", 2, &version, NULL), 0);
    assert_int_equal(store_prune(b.s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    assert_int_equal(removed, 2); /* 1 and 3 */
    check_listed(b.c, "old:2");
    assert_int_equal(store_verify(b.c, 2, NULL), 0);
    assert_int_equal(tags_remove(b.s, "old", &version, NULL), 0);
    assert_int_equal(store_prune(b.s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    assert_int_equal(removed, 1);
    util_close_both(&b);
}

static void test_backup(void **state)
{
    const char *data = *state;
    char *backup = xasprintf("%s-backup", data);
    char *again = xasprintf("%s-again", data);
    char *clean = xasprintf("rm -rf '%s' '%s'", backup, again);
    struct util_both b = util_open_both(data);
    struct backup_report report;
    int64_t version;

    util_pass(b.s, 1, true);
    util_pass(b.s, 2, true);
    assert_int_equal(tags_put(b.s, "stable", 1, &version, NULL), 0);
    util_close_both(&b);
    assert_int_equal(backup_make(data, backup, NULL, NULL, &report, NULL), 0);
    backup_report_release(&report);
    assert_int_equal(backup_restore(backup, again, NULL, NULL, &report, NULL),
                     0);
    backup_report_release(&report);
    b = util_open_both(again);
    check_listed(b.c, "stable:1");
    util_close_both(&b);
    assert_int_equal(system(clean), 0);
    free(clean);
    free(backup);
    free(again);
}

/* A name that this program would refuse is damage, not a name. */
static void test_foreign_name(void **state)
{
    struct util_both b = util_open_both(*state);
    struct tags_tag *tags;
    size_t n;

    util_pass(b.s, 1, true);
    assert_int_equal(sqlite3_exec(db_handle(b.s->db),
                                  "INSERT INTO tags VALUES ('a/../b', 1)", NULL,
                                  NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(tags_list(b.c, &tags, &n, NULL), ERR_CORRUPT);
    util_close_both(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_moves, util_make_temp,
                                        util_remove_temp),
        cmocka_unit_test_setup_teardown(test_resolve, util_make_temp,
                                        util_remove_temp),
        cmocka_unit_test_setup_teardown(test_retention, util_make_temp,
                                        util_remove_temp),
        cmocka_unit_test_setup_teardown(test_backup, util_make_temp,
                                        util_remove_temp),
        cmocka_unit_test_setup_teardown(test_foreign_name, util_make_temp,
                                        util_remove_temp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
