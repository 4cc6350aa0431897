/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/verdict_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A value in every field. */
static void fill(struct verdict_memory *m)
{
    verdict_memory_init(m);
    verdict_memory_set_reference(m, 41, 1234);
    m->expected = 43;
    m->compared_rows = 1300;
    m->scale = 1.0 / 3;
    m->refused = 7;
    for (int i = 0; i < 20; i++) {
        shadow_add(&m->text, 300.1 + i, 290.7, 120, m->scale);
        shadow_add_label(&m->labels, i % 3 == 0, i % 2 == 0);
    }
    m->worse_in_a_row = 2;
    m->request.cause = GUARD_WORSE;
    m->request.version = 41;
    snprintf(m->request.reason, sizeof m->request.reason,
             "version 44: \"worse\"");
}

static void test_round_trip(void **state)
{
    struct verdict_memory m, read;
    char *text, *again;

    (void)state;
    fill(&m);
    text = verdict_memory_write(&m);
    memset(&read, 0, sizeof read);
    assert_true(verdict_memory_read(&read, text));
    again = verdict_memory_write(&read);
    assert_string_equal(text, again);
    assert_memory_equal(&m.text, &read.text, sizeof m.text);
    assert_memory_equal(&m.labels, &read.labels, sizeof m.labels);
    assert_int_equal(read.worse_in_a_row, 2);
    assert_true(read.scale == m.scale);
    assert_int_equal(read.reference_rows, 1234);
    assert_int_equal(read.request.cause, GUARD_WORSE);
    assert_string_equal(read.request.reason, m.request.reason);
    assert_true(verdict_memory_log_wealth(&m) ==
                verdict_memory_log_wealth(&read));
    free(text);
    free(again);
}

/* A reason that was cut within a character is no text; the request stays. */
static void test_cut_name(void **state)
{
    struct verdict_memory m, read;
    char *text;

    (void)state;
    fill(&m);
    snprintf(m.request.reason, sizeof m.request.reason, "domain \xc3");
    text = verdict_memory_write(&m);
    assert_non_null(text);
    assert_true(verdict_memory_read(&read, text));
    assert_int_equal(read.request.cause, GUARD_WORSE);
    assert_string_equal(read.request.reason, guard_cause_text(GUARD_WORSE));
    free(text);
}

static void test_other_text(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "{}",
                                        "{\"reference\": 1}"};
    struct verdict_memory m;
    char *text, *cut;

    (void)state;
    fill(&m);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(verdict_memory_read(&m, texts[i]));
    text = verdict_memory_write(&m);
    cut = strstr(text, "\"rule\"");
    assert_non_null(cut);
    memcpy(cut, "\"ruin\"", 6);
    assert_false(verdict_memory_read(&m, text));
    assert_int_equal(m.refused, 7);
    free(text);
}

/* After a rollback everything starts again. */
static void test_reset(void **state)
{
    struct verdict_memory m, read;
    char *text;

    (void)state;
    fill(&m);
    verdict_memory_reset(&m);
    text = verdict_memory_write(&m);
    assert_true(verdict_memory_read(&read, text));
    assert_int_equal(read.reference, 0);
    assert_int_equal(read.expected, -1);
    assert_int_equal(read.refused, 0);
    assert_int_equal(read.worse_in_a_row, 0);
    assert_int_equal(read.request.cause, GUARD_NO_CAUSE);
    assert_int_equal(verdict_memory_shadow(&read)->records, 0);
    free(text);
}

/* What older programs wrote: two margins, more counters, more causes. */
static void test_old_text(void **state)
{
#define SHADOW(margin, records)                                                \
    "{\"margin\":" margin ",\"records\":" records                              \
    ",\"sums\":[0.1,0.2,0.3,0.4,0.5],\"live\":12.5,\"older\":10.0,"          \
    "\"bytes\":40.0}"
    static const char text[] =
        "{\"reference\":4,\"expected\":5,\"mark\":100,\"seen\":120,"
        "\"refused\":3,\"scale\":2.5,"
        "\"text\":[" SHADOW("0.0", "9") "," SHADOW("0.03", "8") "],"
        "\"labels\":[" SHADOW("0.0", "7") "," SHADOW("0.03", "6") "],"
        "\"rule\":{\"versions\":8,\"bad\":1,\"bad_protected\":2},"
        "\"wish\":{\"cause\":4,\"version\":4,\"reason\":\"protected\"}}";
    struct verdict_memory m = {0};

    (void)state;
    assert_true(verdict_memory_read(&m, text));
    assert_int_equal(m.reference, 4);
    assert_int_equal(m.expected, 5);
    assert_int_equal(m.reference_rows, 100);
    assert_int_equal(m.compared_rows, 120);
    assert_int_equal(m.refused, 3);
    assert_int_equal(m.text.records, 8);
    assert_int_equal(m.labels.records, 6);
    assert_float_equal(shadow_difference(&m.text), 0.25, 1e-12);
    assert_int_equal(m.worse_in_a_row, 1);
    assert_int_equal(m.request.cause, GUARD_ABOVE);
    assert_string_equal(m.request.reason, "protected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_name),
        cmocka_unit_test(test_other_text),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_old_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
