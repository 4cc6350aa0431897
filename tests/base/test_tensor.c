/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.h: sizes, lists and what a reader expects of them.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/tensor.h"
#include "tests/util/base_util.h"

static void test_tensor_sizes(void **state)
{
    struct tensor scalar = {.type = TENSOR_F64};
    struct tensor none = {.type = TENSOR_F32, .n_dims = 3, .shape = {2, 0, 5}};
    struct tensor some = {
        .type = TENSOR_U16, .n_dims = 4, .shape = {2, 3, 4, 5}};

    (void)state;
    assert_int_equal(tensor_type_size(TENSOR_F32), 4);
    assert_int_equal(tensor_type_size(TENSOR_F64), 8);
    assert_int_equal(tensor_type_size(TENSOR_I64), 8);
    assert_int_equal(tensor_type_size(TENSOR_U16), 2);
    assert_int_equal(tensor_type_size(TENSOR_U8), 1);
    assert_int_equal(tensor_count(&scalar), 1);
    assert_int_equal(tensor_bytes(&scalar), 8);
    assert_int_equal(tensor_count(&none), 0);
    assert_int_equal(tensor_bytes(&none), 0);
    assert_int_equal(tensor_count(&some), 120);
    assert_int_equal(tensor_bytes(&some), 240);
}

static void count_overflow(void)
{
    struct tensor t = {
        .name = (char[]){"t"}, .n_dims = 2, .shape = {SIZE_MAX / 2, 3}};

    (void)tensor_count(&t);
}

static void bytes_overflow(void)
{
    struct tensor t = {
        .name = (char[]){"t"}, .n_dims = 1, .shape = {SIZE_MAX / 2}};

    (void)tensor_bytes(&t);
}

static void five_dims(void)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    size_t shape[5] = {1, 1, 1, 1, 1};

    tensor_add_borrowed(&l, "x", TENSOR_U8, 5, shape, NULL);
}

static void test_tensor_overflow_aborts(void **state)
{
    (void)state;
    assert_true(base_aborts(count_overflow));
    assert_true(base_aborts(bytes_overflow));
    assert_true(base_aborts(five_dims));
}

static void test_tensor_list(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    float borrowed[6] = {1, 2, 3, 4, 5, 6};
    int64_t whole[2] = {INT64_MIN, 7};
    double real[1] = {0.5};
    char name[] = "weights";
    const struct tensor *t;
    float *copy, *zeros;

    (void)state;
    tensor_add_borrowed(&l, name, TENSOR_F32, 2, (size_t[]){2, 3}, borrowed);
    name[0] = 'x'; /* the list has its own */
    copy = tensor_add_copy(&l, "copy", TENSOR_F32, 1, (size_t[]){6}, borrowed);
    zeros = tensor_add_copy(&l, "zeros", TENSOR_F32, 1, (size_t[]){9}, NULL);
    tensor_add_i64(&l, "whole", whole, 2);
    tensor_add_f64(&l, "real", real, 1);
    tensor_add_i64(&l, "none", NULL, 0);

    t = tensor_find(&l, "weights");
    assert_ptr_equal(t->data, borrowed);
    assert_false(t->owned);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[1], 3);
    assert_memory_equal(copy, borrowed, sizeof borrowed);
    assert_ptr_equal(tensor_find(&l, "copy")->data, copy);
    assert_int_equal((uintptr_t)copy % 64, 0);
    for (int i = 0; i < 9; i++)
        assert_true(zeros[i] == 0.0F);
    t = tensor_find(&l, "whole");
    assert_int_equal(t->type, TENSOR_I64);
    assert_memory_equal(t->data, whole, sizeof whole);
    t = tensor_find(&l, "real");
    assert_int_equal(t->type, TENSOR_F64);
    assert_memory_equal(t->data, real, sizeof real);
    assert_int_equal(tensor_bytes(tensor_find(&l, "none")), 0);
    assert_null(tensor_find(&l, "xeights"));
    tensor_list_release(&l);
    assert_null(l.items);
    tensor_list_release(&l);
}

/* Growth moves the items, never the blocks. */
static void test_tensor_blocks_stay(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    int64_t *first;
    char name[16];

    (void)state;
    first = tensor_add_copy(&l, "0", TENSOR_I64, 0, NULL, &(int64_t){42});
    for (int i = 1; i < 100; i++) {
        snprintf(name, sizeof name, "%d", i);
        tensor_add_i64(&l, name, &(int64_t){i}, 1);
    }
    assert_int_equal(l.n, 100);
    assert_int_equal(*first, 42);
    assert_ptr_equal(tensor_find(&l, "0")->data, first);
    assert_int_equal(*(int64_t *)tensor_find(&l, "99")->data, 99);
    tensor_list_release(&l);
}

static void test_tensor_expect(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    const struct tensor *t = NULL;
    struct err e = ERR_INIT;
    int64_t v[3] = {1, 2, 3};

    (void)state;
    tensor_add_i64(&l, "v", v, 3);
    assert_int_equal(tensor_expect(&l, "w", TENSOR_I64, 3, &t, &e),
                     ERR_CORRUPT);
    assert_string_equal(e.msg, "tensor w is missing");
    assert_int_equal(tensor_expect(&l, "v", TENSOR_F32, 3, &t, &e),
                     ERR_CORRUPT);
    assert_string_equal(e.msg, "tensor v is I64, expected F32");
    assert_int_equal(tensor_expect(&l, "v", TENSOR_I64, 4, &t, &e),
                     ERR_CORRUPT);
    assert_string_equal(e.msg, "tensor v has 3 elements, expected 4");
    assert_null(t);
    e = (struct err)ERR_INIT;
    assert_int_equal(tensor_expect(&l, "v", TENSOR_I64, 3, &t, &e), 0);
    assert_ptr_equal(t, &l.items[0]);
    assert_int_equal(tensor_expect(&l, "v", TENSOR_I64, SIZE_MAX, &t, &e), 0);
    assert_int_equal(e.code, ERR_OK);
    tensor_list_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor_sizes),
        cmocka_unit_test(test_tensor_overflow_aborts),
        cmocka_unit_test(test_tensor_list),
        cmocka_unit_test(test_tensor_blocks_stay),
        cmocka_unit_test(test_tensor_expect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
