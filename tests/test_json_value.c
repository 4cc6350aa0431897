/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json_value.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(json_t *got, const char *text)
{
    json_t *wanted = json_string(text);

    assert_true(json_equal(got, wanted));
    json_decref(got);
    json_decref(wanted);
}

static void test_real(void **state)
{
    json_t *half = json_value_real(0.5);

    (void)state;
    assert_true(json_is_real(half) && json_real_value(half) == 0.5);
    assert_true(json_is_null(json_value_real(NAN)));
    assert_true(json_is_null(json_value_real(INFINITY)));
    assert_true(json_is_null(json_value_real(-INFINITY)));
    json_decref(half);
}

static void test_text(void **state)
{
    (void)state;
    expect(json_value_text(""), "");
    expect(json_value_text("na\xc3\xafve"), "na\xc3\xafve");
    expect(json_value_text("cut \xe2\x82"), "cut \xef\xbf\xbd\xef\xbf\xbd");
    expect(json_value_text("a\xff" "b"), "a\xef\xbf\xbd" "b");
    expect(json_value_bytes("whole", 3), "who");
    expect(json_value_bytes(NULL, 0), "");
}

static void test_a_nul_is_a_character(void **state)
{
    json_t *got = json_value_bytes("a\0b", 3);

    (void)state;
    assert_int_equal(json_string_length(got), 3);
    json_decref(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_a_nul_is_a_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
