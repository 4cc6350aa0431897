/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h: what counts in a loss.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/model_shape.h"
#include "base/segment.h"

static void test_segment_counted(void **state)
{
    struct segment s = {.n_tokens = 7, .n_masked = 3};

    (void)state;
    assert_int_equal(segment_counted(&s), 4);
    /* Token ids are kept in 16 bits. */
    assert_true(MODEL_MAX_VOCAB - 1 <= UINT16_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
