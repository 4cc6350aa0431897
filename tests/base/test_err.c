/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h: messages, codes, exit status, and what a broken invariant does.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/util/base_util.h"

static void test_err_set(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set(&e, ERR_CORRUPT, "%s: %d", "x", 7), ERR_CORRUPT);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "x: 7");
    assert_int_equal(err_set(NULL, ERR_STATE, "nobody asks"), ERR_STATE);
}

static void test_err_set_cuts_long_messages(void **state)
{
    struct err e = ERR_INIT;
    char text[2 * ERR_MSG_MAX];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    err_set_errno(&e, ERR_IO, EIO, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    assert_int_equal(err_prefix(&e, "%s", text), ERR_IO);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
}

static void test_err_set_errno(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set_errno(&e, ERR_IO, EACCES, "%s", "f"), ERR_IO);
    assert_string_equal(e.msg, "f: Permission denied");
    assert_int_equal(err_set_errno(&e, ERR_IO, ENOSPC, "f"), ERR_FULL);
    assert_int_equal(e.code, ERR_FULL);
    assert_string_equal(e.msg, "f: No space left on device");
    assert_int_equal(err_set_errno(&e, ERR_CORRUPT, EDQUOT, "f"), ERR_FULL);
    assert_int_equal(err_set_errno(&e, ERR_IO, EMFILE, "f"), ERR_FULL);
    assert_int_equal(err_set_errno(&e, ERR_IO, ENFILE, "f"), ERR_FULL);
    assert_int_equal(err_set_errno(NULL, ERR_IO, ENOSPC, "f"), ERR_FULL);
}

static void test_err_prefix(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    err_set(&e, ERR_LIMIT, "too long");
    assert_int_equal(err_prefix(&e, "line %d", 3), ERR_LIMIT);
    assert_string_equal(e.msg, "line 3: too long");
    assert_true(err_prefix(NULL, "x") < 0);
}

static void test_err_exit_status(void **state)
{
    (void)state;
    assert_int_equal(err_exit_status(ERR_OK), 0);
    assert_int_equal(err_exit_status(ERR_IO), 1);
    assert_int_equal(err_exit_status(ERR_CORRUPT), 1);
    assert_int_equal(err_exit_status(ERR_FULL), 1);
    assert_int_equal(err_exit_status(ERR_INVALID), 2);
    assert_int_equal(err_exit_status(ERR_NOTFOUND), 3);
    assert_int_equal(err_exit_status(ERR_STATE), 3);
}

static void break_invariant(void)
{
    BUG_ON(1 + 1 == 2);
}

static void keep_invariant(void)
{
    BUG_ON(1 + 1 == 3);
}

static void test_bug_aborts(void **state)
{
    (void)state;
    assert_true(base_aborts(break_invariant));
    assert_false(base_aborts(keep_invariant));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_set),
        cmocka_unit_test(test_err_set_cuts_long_messages),
        cmocka_unit_test(test_err_set_errno),
        cmocka_unit_test(test_err_prefix),
        cmocka_unit_test(test_err_exit_status),
        cmocka_unit_test(test_bug_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
