/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h: adding, copying, JSON.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/names.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_names_add(void **state)
{
    struct names t = NAMES_INIT;
    char name[16];

    (void)state;
    assert_int_equal(names_find(&t, "0"), -1);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(names_add(&t, name), i);
        assert_int_equal(names_add(&t, name), i);
    }
    assert_int_equal(t.n, 3000);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(names_find(&t, name), i);
        assert_string_equal(t.items[i], name);
    }
    assert_int_equal(names_find(&t, "3000"), -1);
    assert_int_equal(names_find(&t, ""), -1);
    assert_int_equal(names_add(&t, ""), 3000);
    assert_int_equal(names_find(&t, ""), 3000);
    names_release(&t);
    assert_int_equal(names_find(&t, "0"), -1);
}

static void test_names_copy(void **state)
{
    struct names t = NAMES_INIT, copy = NAMES_INIT;

    (void)state;
    names_add(&t, "a");
    names_add(&t, "b");
    names_add(&copy, "other");
    names_copy(&copy, &t);
    assert_int_equal(names_find(&copy, "other"), -1);
    assert_int_equal(names_find(&copy, "b"), 1);
    names_release(&t);
    assert_int_equal(names_find(&copy, "a"), 0);
    names_release(&copy);
}

static void test_names_json(void **state)
{
    static const char text[] = "[\"a\",\"q\\\"\\n\",\"\xc3\xa9\",\"\"]";
    struct names t = NAMES_INIT;
    struct buf b = BUF_INIT;

    (void)state;
    names_to_json(&t, &b);
    assert_string_equal(b.data, "[]");
    assert_int_equal(names_from_json(&t, text, strlen(text), 4, NULL), 0);
    assert_int_equal(t.n, 4);
    assert_int_equal(names_find(&t, "q\"\n"), 1);
    buf_clear(&b);
    names_to_json(&t, &b);
    assert_string_equal(b.data, text);
    assert_int_equal(names_from_json(&t, "[\"z\"]", 5, 4, NULL), 0);
    assert_int_equal(t.n, 1);
    assert_int_equal(names_find(&t, "z"), 0);
    names_release(&t);
    buf_release(&b);
}

static void test_names_json_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        "[",
        "{}",
        "\"a\"",
        "[1]",
        "[\"a\",null]",
        "[\"a\",\"b\",\"a\"]",
        "[\"a\",\"b\",\"c\",\"d\"]",
        "[\"a\"] x",
        "[\"\xff\"]",
        "[\"a\\u0000b\"]",
    };
    struct names t = NAMES_INIT;

    (void)state;
    names_add(&t, "kept");
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err e = ERR_INIT;

        assert_int_equal(names_from_json(&t, bad[i], strlen(bad[i]), 3, &e),
                         ERR_CORRUPT);
        assert_true(strlen(e.msg) > 0);
        assert_int_equal(t.n, 1);
        assert_int_equal(names_find(&t, "kept"), 0);
    }
    names_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_add),
        cmocka_unit_test(test_names_copy),
        cmocka_unit_test(test_names_json),
        cmocka_unit_test(test_names_json_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
