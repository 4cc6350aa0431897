/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/judge_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Something in every field. */
static void fill(struct judge_memory *m)
{
    judge_memory_begin(m);
    judge_memory_compare_with(m, 41, 1234);
    m->expected = 43;
    m->seen = 1300;
    m->scale = 1.0 / 3;
    m->refused = 7;
    m->above = true;
    for (int i = 0; i < 20; i++)
        for (int k = 0; k < JUDGE_MARGINS; k++) {
            shadow_add(&m->text[k], 300.1 + i, 290.7, 120, m->scale);
            shadow_add_label(&m->labels[k], i % 3 == 0, i % 2 == 0);
        }
    m->rule = (struct guard_rule){11, 2, 1};
    m->wish.cause = GUARD_BETTER;
    m->wish.version = 41;
    snprintf(m->wish.reason, sizeof m->wish.reason, "version 44: \"worse\"");
}

static void test_round_trip(void **state)
{
    struct judge_memory m, read;
    char *text, *again;

    (void)state;
    fill(&m);
    text = judge_memory_write(&m);
    memset(&read, 0, sizeof read);
    assert_true(judge_memory_read(&read, text));
    again = judge_memory_write(&read);
    assert_string_equal(text, again);
    assert_memory_equal(m.text, read.text, sizeof m.text);
    assert_memory_equal(m.labels, read.labels, sizeof m.labels);
    assert_true(read.scale == m.scale);
    assert_int_equal(read.mark, 1234);
    assert_true(read.above);
    assert_int_equal(read.wish.cause, GUARD_BETTER);
    assert_string_equal(read.wish.reason, m.wish.reason);
    for (int k = 0; k < JUDGE_MARGINS; k++)
        assert_true(judge_memory_evidence(&m, k) ==
                    judge_memory_evidence(&read, k));
    free(text);
    free(again);
}

/* A name that was cut within a character is no text, but the wish stays. */
static void test_cut_name(void **state)
{
    struct judge_memory m, read;
    char *text;

    (void)state;
    fill(&m);
    snprintf(m.wish.reason, sizeof m.wish.reason, "domain \xc3");
    text = judge_memory_write(&m);
    assert_non_null(text);
    assert_true(judge_memory_read(&read, text));
    assert_int_equal(read.wish.cause, GUARD_BETTER);
    assert_string_equal(read.wish.reason, guard_cause_text(GUARD_BETTER));
    free(text);
}

static void test_other_text(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "{}",
                                        "{\"reference\": 1}"};
    struct judge_memory m;
    char *text, *cut;

    (void)state;
    fill(&m);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(judge_memory_read(&m, texts[i]));
    text = judge_memory_write(&m);
    cut = strstr(text, "\"rule\"");
    assert_non_null(cut);
    memcpy(cut, "\"ruin\"", 6);
    assert_false(judge_memory_read(&m, text));
    assert_int_equal(m.refused, 7);
    free(text);
}

static void test_went_back(void **state)
{
    const struct guard_sight worse = {.better = 20, .much_better = 20};
    struct judge_memory m, read;
    char *text;

    (void)state;
    fill(&m);
    judge_memory_went_back(&m);
    text = judge_memory_write(&m);
    assert_true(judge_memory_read(&read, text));
    assert_int_equal(read.reference, 0);
    assert_int_equal(read.expected, -1);
    assert_int_equal(read.refused, 0);
    assert_false(read.above);
    assert_int_equal(read.wish.cause, GUARD_NO_CAUSE);
    assert_int_equal(judge_memory_shown(&read)->records, 0);
    for (int i = 0; i < GUARD_COOL_DOWN; i++)
        assert_int_equal(guard_look(&read.rule, &worse), GUARD_NO_CAUSE);
    assert_int_equal(guard_look(&read.rule, &worse), GUARD_MUCH_BETTER);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_name),
        cmocka_unit_test(test_other_text),
        cmocka_unit_test(test_went_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
