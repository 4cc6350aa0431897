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
    assert_true(MODEL_MAX_VOCAB - 1 <= (token_id)-1);
}

static void test_segment_fits(void **state)
{
    static const token_id tokens[] = {256, 5, 256}, beyond[] = {256, 300, 256};
    static const float logits[] = {0.5f, 1.0f}, broken[] = {0.5f, 1.0f / 0.0f};
    const struct segment_limits l = {
        .domains = 3, .labels = 2, .vocab_size = 257, .context = 8};
    const struct segment_limits linear = {.domains = 3, .labels = 2};
    const struct segment good = {
        .tokens = tokens, .n_tokens = 2, .domain = 2, .label = 1,
        .old_logits = logits, .n_old_logits = 2};
    struct segment s;

    (void)state;
    assert_true(segment_fits(&good, &l));
#define CHECK_CHANGED(change)                                                  \
    do {                                                                       \
        s = good;                                                              \
        change;                                                                \
        assert_false(segment_fits(&s, &l));                                    \
    } while (0)
    CHECK_CHANGED(s.domain = 3);
    CHECK_CHANGED(s.domain = -1);
    CHECK_CHANGED(s.label = 2);
    CHECK_CHANGED(s.label = -2);
    CHECK_CHANGED(s.tokens = NULL);
    CHECK_CHANGED(s.tokens = beyond);
    CHECK_CHANGED(s.n_tokens = 0);
    CHECK_CHANGED(s.n_tokens = 9);
    CHECK_CHANGED(s.n_masked = 3);
    CHECK_CHANGED(s.text = "x");
    CHECK_CHANGED(s.n_old_logits = 3);
    CHECK_CHANGED(s.old_logits = broken);
    assert_false(segment_fits(&good, &linear));
    s = (struct segment){.text = "x", .text_bytes = 1, .label = -1};
    assert_true(segment_fits(&s, &linear));
    assert_false(segment_fits(&s, &l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_counted),
        cmocka_unit_test(test_segment_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
