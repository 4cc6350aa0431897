/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h: what is UTF-8, where it may be cut, how it is mended.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/utf8.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* By hand, from RFC 3629. */
static const char *const good_utf8[] = {
    "",
    "plain",
    "\x7f",
    "\xc2\x80",         /* U+0080, the first of two bytes */
    "\xdf\xbf",         /* U+07FF, the last of two */
    "\xe0\xa0\x80",     /* U+0800, the first of three */
    "\xed\x9f\xbf",     /* U+D7FF, just below the surrogates */
    "\xee\x80\x80",     /* U+E000, just above them */
    "\xef\xbf\xbf",     /* U+FFFF, the last of three */
    "\xf0\x90\x80\x80", /* U+10000, the first of four */
    "\xf4\x8f\xbf\xbf", /* U+10FFFF, the last of all */
    "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x8c\xb1!",
};

static const char *const bad_utf8[] = {
    "\x80",             /* a continuation alone */
    "a\xbf",            /* another */
    "\xc0\x80",         /* NUL, overlong */
    "\xc1\xbf",         /* DEL, overlong */
    "\xe0\x80\x80",     /* overlong in three */
    "\xe0\x9f\xbf",     /* U+07FF, overlong in three */
    "\xf0\x80\x80\x80", /* overlong in four */
    "\xf0\x8f\xbf\xbf", /* U+FFFF, overlong in four */
    "\xed\xa0\x80",     /* U+D800, the first surrogate */
    "\xed\xbf\xbf",     /* U+DFFF, the last */
    "\xf4\x90\x80\x80", /* U+110000 */
    "\xf5\x80\x80\x80",
    "\xf8\x88\x80\x80\x80",
    "\xfe",
    "\xff",
    "\xc3",          /* cut */
    "\xe2\x82",      /* cut */
    "\xf0\x9f\x8c",  /* cut */
    "\xc3(",         /* the second byte is none */
    "\xe2\x82(",     /* the third */
    "\xf0\x9f\x8c(", /* the fourth */
    "\xc3\xc3\xa9",  /* a first byte after a first byte */
};

static void test_utf8_valid(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_utf8); i++)
        assert_true(utf8_valid(good_utf8[i], strlen(good_utf8[i])));
    for (size_t i = 0; i < COUNT(bad_utf8); i++)
        assert_false(utf8_valid(bad_utf8[i], strlen(bad_utf8[i])));
    assert_true(utf8_valid("a\0b", 3));
}

/* Each code point as it should be, and no other three bytes. */
static void test_utf8_valid_three_bytes(void **state)
{
    char s[3];
    int n_valid = 0;

    (void)state;
    for (int a = 0xe0; a < 0xf0; a++)
        for (int b = 0; b < 256; b++)
            for (int c = 0; c < 256; c++) {
                s[0] = (char)a;
                s[1] = (char)b;
                s[2] = (char)c;
                n_valid += utf8_valid(s, 3);
            }
    assert_int_equal(n_valid, 0x10000 - 0x800 - 0x800);
}

static void test_utf8_whole(void **state)
{
    static const struct {
        const char *s;
        size_t n_cut;
    } known[] = {
        {"", 0},
        {"abc", 0},
        {"ab\xc3", 1},
        {"ab\xc3\xa9", 0},
        {"ab\xe2", 1},
        {"ab\xe2\x82", 2},
        {"ab\xe2\x82\xac", 0},
        {"\xf0", 1},
        {"\xf0\x9f", 2},
        {"\xf0\x9f\x8c", 3},
        {"\xf0\x9f\x8c\xb1", 0},
        {"\xed\xa0", 0}, /* a surrogate: never a character */
        {"\xe0\x9f", 0}, /* overlong: never */
        {"\xf4\x90", 0}, /* above U+10FFFF: never */
        {"\xc0", 0},     /* never */
        {"\xff", 0},     /* never */
        {"\x80", 0},     /* nothing that it could belong to */
        {"\x80\x80", 0},
        {"\xf0\x9f\x8c\xb1\x80", 0}, /* more than a character holds */
        {"\xff\xe2\x82", 2},         /* what is before does not matter */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        size_t n = strlen(known[i].s);

        assert_int_equal(utf8_whole(known[i].s, n), n - known[i].n_cut);
    }
}

#define FFFD "\xef\xbf\xbd"

static void test_utf8_character(void **state)
{
    (void)state;
    assert_int_equal(utf8_character("", 0), 0);
    assert_int_equal(utf8_character("ab", 2), 1);
    assert_int_equal(utf8_character("\xc3\xa4x", 3), 2);
    assert_int_equal(utf8_character("\xe2\x82\xac", 3), 3);
    assert_int_equal(utf8_character("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(utf8_character("\xe2\x82\xac", 2), 0); /* cut */
    assert_int_equal(utf8_character("\xa4", 1), 0);
    assert_int_equal(utf8_character("\xed\xa0\x80", 3), 0); /* a surrogate */
}

static void test_utf8_repair(void **state)
{
    static const struct {
        const char *in, *out;
    } known[] = {
        {"", ""},
        {"ok \xe2\x82\xac", "ok \xe2\x82\xac"},
        {"\xff", FFFD},
        {"a\x80z", "a" FFFD "z"},
        {"\xe2\x82", FFFD FFFD},
        {"\xed\xa0\x80", FFFD FFFD FFFD},
        {"\xc3(", FFFD "("},
        {"\xe2\x82\xe2\x82\xac", FFFD FFFD "\xe2\x82\xac"},
    };
    struct buf b = BUF_INIT;

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        buf_clear(&b);
        buf_adds(&b, "+");
        utf8_repair(known[i].in, strlen(known[i].in), &b);
        assert_string_equal(b.data + 1, known[i].out);
        assert_true(utf8_valid(b.data, b.len));
    }
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_valid),
        cmocka_unit_test(test_utf8_valid_three_bytes),
        cmocka_unit_test(test_utf8_whole),
        cmocka_unit_test(test_utf8_character),
        cmocka_unit_test(test_utf8_repair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
