/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h: growing, adding, handing over.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/util/base_util.h"

static void test_buf_grows(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        buf_addc(&b, (char)('a' + i % 26));
        assert_int_equal(b.len, i + 1);
        assert_true(b.len < b.cap);
        assert_int_equal(b.data[b.len], '\0');
    }
    for (int i = 0; i < 5000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buf_release(&b);
    assert_null(b.data);
    assert_int_equal(b.len + b.cap, 0);
}

static void test_buf_add(void **state)
{
    struct buf b = BUF_INIT;
    size_t cap;

    (void)state;
    buf_clear(&b); /* never used: still nothing */
    assert_null(b.data);
    buf_add(&b, NULL, 0);
    assert_string_equal(b.data, "");
    buf_add(&b, "a\0b", 3);
    buf_adds(&b, "cd");
    buf_addf(&b, "%03d%s", 7, "");
    assert_int_equal(b.len, 8);
    assert_memory_equal(b.data, "a\0bcd007", 9);
    cap = b.cap;
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    assert_string_equal(b.data, "");
    buf_addf(&b, "%300d", 1); /* longer than what is there */
    assert_int_equal(b.len, 300);
    assert_int_equal(b.data[299], '1');
    buf_release(&b);
}

static void test_buf_detach(void **state)
{
    struct buf b = BUF_INIT;
    char *s;

    (void)state;
    s = buf_detach(&b);
    assert_string_equal(s, "");
    free(s);
    buf_adds(&b, "kept");
    s = buf_detach(&b);
    assert_string_equal(s, "kept");
    assert_null(b.data);
    assert_int_equal(b.len + b.cap, 0);
    free(s);
}

static void reserve_too_much(void)
{
    struct buf b = BUF_INIT;

    buf_addc(&b, 'x');
    buf_reserve(&b, SIZE_MAX - 1);
}

static void test_buf_overflow_aborts(void **state)
{
    (void)state;
    assert_true(base_aborts(reserve_too_much));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_grows),
        cmocka_unit_test(test_buf_add),
        cmocka_unit_test(test_buf_detach),
        cmocka_unit_test(test_buf_overflow_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
