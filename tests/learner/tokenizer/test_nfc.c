/* SPDX-License-Identifier: Apache-2.0 */
/* Unicode's normalization form C. */
#include "config.h"

#include "learner/tokenizer/nfc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/xalloc.h"

static void check(const char *text, const char *wanted)
{
    struct buf out = BUF_INIT;

    nfc_add(text, strlen(text), &out);
    assert_string_equal(out.data ? out.data : "", wanted);
    if (nfc_is_normal(text, strlen(text)))
        assert_string_equal(text, wanted);
    buf_release(&out);
}

/* The examples of UAX #15, and a few more. */
static void test_examples(void **state)
{
    (void)state;
    check("", "");
    check("plain", "plain");
    check("\u212b", "\u00c5");             /* Angstrom sign */
    check("A\u030a", "\u00c5");            /* A and a ring */
    check("\u2126", "\u03a9");             /* Ohm sign */
    check("\u1e9b\u0323", "\u1e9b\u0323"); /* a dot below stays */
    check("\u1e0b\u0323", "\u1e0d\u0307"); /* the lower dot comes first */
    check("q\u0307\u0323", "q\u0323\u0307");
    check("e\u0323\u0301", "\u1eb9\u0301");
    check("\u0958", "\u0915\u093c"); /* excluded from composition */
    check("\u1112\u1161\u11ab", "\ud55c");
    check("\ud558\u11ab", "\ud55c");
    check("\ud55c\u11ab", "\ud55c\u11ab"); /* it has a tail already */
    check("\u0301\u0301", "\u0301\u0301");
    check("a\u0334\u0301\u0301", "\u00e1\u0334\u0301");
}

static void test_bytes_that_are_no_characters(void **state)
{
    (void)state;
    check("e\xff\u0301", "e\xff\u0301");
    check("\xcc", "\xcc");
    check("e\u0301\xe2\x84", "\u00e9\xe2\x84");
    check("\xed\xa0\x80\u212b", "\xed\xa0\x80\u00c5");
}

static void test_quick_check(void **state)
{
    static const char *const normal[] = {
        "plain",
        "caf\u00e9 \u6f6e\u6c34 \U0001f642",
        "\u0e2a\u0e27\u0e31",
        "\u05e9\u05b8\u05c1",
        "\xff\xfe",
        "",
    };

    (void)state;
    for (size_t i = 0; i < sizeof normal / sizeof *normal; i++)
        assert_true(nfc_is_normal(normal[i], strlen(normal[i])));
    assert_false(nfc_is_normal("e\u0301", 3));
    assert_false(nfc_is_normal("\u0e48\u0e38", 6)); /* classes 107, 103 */
}

static size_t put(char *at, uint32_t c)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = n; i-- > 1; c >>= 6)
        at[i] = (char)(0x80 | (c & 0x3f));
    at[0] = (char)(lead[n] | c);
    return n;
}

/* Each character with marks, vowels and tails after it; nfc_digest.py has the
 * digest from Python's unicodedata. The form of a form is the form itself. */
static void test_every_character(void **state)
{
    static const char *const after[] = {"\u0301\u0323\u0307", "\u1161\u11a8",
                                        "\u09be\u0334"};
    struct checksum_stream *sum = checksum_stream_create();
    struct buf out = BUF_INIT, again = BUF_INIT;
    char hex[SHA256_HEX], text[32];

    (void)state;
    for (uint32_t c = 1; c < 0x110000; c++) {
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
            size_t n = put(text, c);

            memcpy(text + n, after[i], strlen(after[i]) + 1);
            buf_clear(&out);
            buf_clear(&again);
            nfc_add(text, strlen(text), &out);
            nfc_add(out.data, out.len, &again);
            assert_int_equal(out.len, again.len);
            assert_memory_equal(out.data, again.data, out.len);
            checksum_stream_add(sum, out.data, out.len);
        }
    }
    checksum_stream_finish(sum, hex);
    assert_string_equal(
        hex,
        "2131d6418dc1d64ac9e6f4a970bd3a8f724a179591da36213450aa039e2b92ef");
    buf_release(&out);
    buf_release(&again);
}

/* Many marks after one letter must not take quadratic time. */
static void test_many_marks(void **state)
{
    size_t n = 200000;
    char *text = xmalloc(2 * n + 1);
    struct buf out = BUF_INIT;

    (void)state;
    text[0] = 'q';
    for (size_t i = 0; i < n; i++)
        memcpy(text + 1 + 2 * i, i % 2 ? "\u0323" : "\u0307", 2);
    nfc_add(text, 2 * n + 1, &out);
    assert_int_equal(out.len, 2 * n + 1);
    assert_memory_equal(out.data, "q\u0323\u0323", 5);
    assert_memory_equal(out.data + out.len - 4, "\u0307\u0307", 4);
    buf_release(&out);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_bytes_that_are_no_characters),
        cmocka_unit_test(test_quick_check),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_many_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
