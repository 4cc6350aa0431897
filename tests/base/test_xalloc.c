/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xalloc.h: sizes that overflow, nothing, alignment, growth.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "tests/util/base_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define LARGE_PAGE ((size_t)2 << 20)

static void allocate_too_much(void)
{
    free(xreallocarray(NULL, SIZE_MAX / 2, 4));
}

static void calloc_too_much(void)
{
    free(xcalloc(SIZE_MAX / 2, 4));
}

static void float_too_much(void)
{
    free(xfloats(SIZE_MAX / 2));
}

static void large_too_much(void)
{
    free(xalloc_large(SIZE_MAX));
}

static void test_xalloc_overflow_aborts(void **state)
{
    (void)state;
    assert_true(base_aborts(allocate_too_much));
    assert_true(base_aborts(calloc_too_much));
    assert_true(base_aborts(float_too_much));
    assert_true(base_aborts(large_too_much));
    assert_null(xalloc_aligned(SIZE_MAX));
    assert_null(xalloc_aligned(SIZE_MAX - 63));
}

static void test_xalloc_of_nothing(void **state)
{
    void *blocks[] = {xmalloc(0),       xcalloc(0, 8),     xcalloc(8, 0),
                      xmemdup("", 0),   xalloc_aligned(0), xalloc_large(0),
                      xrealloc(NULL, 0)};

    (void)state;
    for (size_t i = 0; i < COUNT(blocks); i++) {
        assert_non_null(blocks[i]);
        free(blocks[i]);
    }
}

static void test_xalloc_aligned_is_zeroed(void **state)
{
    (void)state;
    for (size_t n = 1; n < 300; n += 37) {
        float *f = xfloats(n);

        assert_int_equal((uintptr_t)f % 64, 0);
        for (size_t i = 0; i < n; i++)
            assert_true(f[i] == 0.0F);
        free(f);
    }
    for (size_t n = LARGE_PAGE - 1; n < 2 * LARGE_PAGE; n += LARGE_PAGE / 2) {
        unsigned char *p = xalloc_large(n);

        assert_int_equal((uintptr_t)p % (n < LARGE_PAGE ? 64 : LARGE_PAGE), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        free(p);
    }
}

static void test_xalloc_strings(void **state)
{
    char *a = xstrdup("abc"), *b = xstrndup("abcdef", 2);
    char *c = xasprintf("%d-%s", 5, "x"), *d = xmemdup("ab\0c", 4);

    (void)state;
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "5-x");
    assert_memory_equal(d, "ab\0c", 4);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void test_xgrow(void **state)
{
    size_t n = 0, cap = 0;
    int *numbers = NULL;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        XGROW(numbers, n, cap);
        assert_true(n < cap);
        numbers[n++] = i;
    }
    assert_int_equal(cap, 1024);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(numbers[i], i);
    free(numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xalloc_overflow_aborts),
        cmocka_unit_test(test_xalloc_of_nothing),
        cmocka_unit_test(test_xalloc_aligned_is_zeroed),
        cmocka_unit_test(test_xalloc_strings),
        cmocka_unit_test(test_xgrow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
