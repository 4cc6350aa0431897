/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap gives its items in order, however they got into it.
 */
#include "config.h"

#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

#define N 200

static bool is_less(const uint64_t *a, const uint64_t *b)
{
    return *a < *b;
}

HEAP_DEFINE(heap, uint64_t, is_less)

static void test_order(void **state)
{
    (void)state;
    for (size_t size = 1; size <= N; size++) {
        uint64_t pushed[N], sunk[N], last = 0;
        size_t n_pushed = 0, n_sunk = size;

        for (size_t i = 0; i < size; i++) {
            sunk[i] = rng_below(50, 1, RNG_INIT, size, i);
            heap_push(pushed, &n_pushed, sunk[i]);
        }
        for (size_t i = size / 2; i-- > 0;)
            heap_sink(sunk, size, i);
        while (n_sunk) {
            uint64_t next = heap_pop(sunk, &n_sunk);

            assert_true(next >= last);
            assert_true(heap_pop(pushed, &n_pushed) == next);
            last = next;
        }
        assert_int_equal(n_pushed, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
