/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json_value.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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

/* Only what does not fit is rewritten, and not in strings; what is no JSON
 * stays none. */
static void test_numbers_fit(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"[1e400,-1e400]", "[1e308,-1e308]"},
        {"{\"a\":1.25E+999}", "{\"a\":1e308    }"},
        {"[9223372036854775807,-9223372036854775808]", NULL},
        {"[9223372036854775808]", "[92233720368547758e2]"},
        {"[-123456789012345678901]", "[-1234567890123456789e2]"},
        {"[1e308,1e-400,0.5,true,false,null,12345678]", NULL},
        {"{\"1e400\":\"\\\"1e400\\\\\",\"b\":\"9e999\"}", NULL},
        {"[01e400]", NULL},
        {"[1e400-5]", NULL},
        {"[1.e400]", NULL},
        {"[1e40000", "[1e308  "},
        {"\"1e400", NULL},
        {"\"1e400\\", NULL},
        {"-----", NULL},
        {"1e400", "1e308"},
        {"", NULL},
    };
    char digits[500], text[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strcpy(text, cases[i].text);
        json_value_fit_numbers(text, strlen(text));
        assert_string_equal(text,
                            cases[i].wanted ? cases[i].wanted : cases[i].text);
    }
    memset(digits, '7', sizeof digits);
    snprintf(text, sizeof text, "%.499s", digits);
    json_value_fit_numbers(text, strlen(text));
    assert_int_equal(strlen(text), 499);
    assert_memory_equal(text, "1e308 ", 6);
}

static void test_names_fit(void **state)
{
    static const char *const cases[][2] = {
        {"{\"a\\u0000\":\"b\\u0000\"}", "{\"a\\ufffd\":\"b\\u0000\"}"},
        {"{\"\\u0000\\u0000\" \n: 1,\"\\\\u0000\":2}",
         "{\"\\ufffd\\ufffd\" \n: 1,\"\\\\u0000\":2}"},
        {"{\"\\\\\\u0000\\\"\":[\"\\u0000\",{\"\\u0000\":0}]}",
         "{\"\\\\\\ufffd\\\"\":[\"\\u0000\",{\"\\ufffd\":0}]}"},
        {"\"\\u0000", "\"\\u0000"},
        {"\"\\u00\":", "\"\\u00\":"},
        {"\"\\", "\"\\"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];

        strcpy(text, cases[i][0]);
        json_value_fit_names(text, strlen(text));
        assert_string_equal(text, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_a_nul_is_a_character),
        cmocka_unit_test(test_numbers_fit),
        cmocka_unit_test(test_names_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
