/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board's figures of versions come from the store alone: after a verdict, a
 * rollback, an operator's choice and a restart. Uses publisher_private.h, to
 * write verdicts that no gate gives, such as those of old stores.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "tests/util/store_util.h"

#define LONG_NAME                                                              \
    "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"          \
    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"         \
    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"         \
    "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

/* Publishes a version with a verdict, and returns its number.
 *   gate     the gate's JSON without `best`
 *   serving  the serving version after the verdict
 */
static int64_t publish(struct util_both *b, int64_t parent, double loss,
                       enum store_state verdict, const char *gate,
                       int64_t refused, int64_t serving)
{
    const struct store_domain_result result = {
        .domain = "a" LONG_NAME, .bits_per_byte = loss, .accuracy = NAN,
        .chunks = 50};
    char *name = xstrdup(result.domain);
    struct verdict j = {
        .gate = json_loads(gate, 0, NULL),
        .results = xmemdup(&result, sizeof result),
        .n_results = 1,
        .names = xmemdup(&name, sizeof name),
    };
    int64_t version = util_publish(b->s, parent, 1 + util_number(
        b->s, "SELECT newest FROM pointers"));
    struct verdict_memory memory;
    char *text, *guard;

    verdict_memory_init(&memory);
    memory.expected = serving;
    memory.refused = refused;
    publisher_note_best(b->c, version, &j);
    text = json_dumps(j.gate, JSON_REAL_PRECISION(17));
    guard = verdict_memory_write(&memory);
    assert_int_equal(store_verdict(b->s, version, verdict, text, guard,
                                   &result, 1, verdict == STORE_PASSED, "",
                                   NULL),
                     0);
    free(text);
    free(guard);
    verdict_release(&j);
    return version;
}

/* Writes a rollback as the publisher does. */
static void roll_back(struct util_both *b, int64_t version)
{
    struct verdict_memory memory;
    struct store_rollback r = {
        .to = version, .mode = "rewind", .reason = ""};
    char *guard;

    verdict_memory_reset(&memory);
    r.guard = guard = verdict_memory_write(&memory);
    assert_int_equal(store_rollback(b->s, &r, NULL), 0);
    free(guard);
}

/* A copy of the board after a change, to be freed. A process that starts now
 * must show the same. */
static struct status *show(struct util_both *b, struct status_board *board)
{
    struct catalog_pointers pointers;
    struct status_board fresh;
    struct status *s;
    json_t *ours, *theirs;

    assert_int_equal(catalog_pointers(b->c, &pointers, NULL), 0);
    publisher_show_versions(b->c, pointers.serving, NULL, board);
    status_board_init(&fresh);
    s = status_lock(&fresh);
    s->domains[s->n_domains++].name = status_name(&fresh, "a" LONG_NAME);
    status_unlock(&fresh);
    publisher_show_versions(b->c, pointers.serving, NULL, &fresh);
    ours = status_to_json(board);
    theirs = status_to_json(&fresh);
    json_object_del(ours, "uptime_seconds");
    json_object_del(theirs, "uptime_seconds");
    assert_true(json_equal(ours, theirs));
    json_decref(ours);
    json_decref(theirs);
    status_board_release(&fresh);
    return status_copy(board);
}

static void check_loss(struct status_board *board, double loss, double best)
{
    json_t *root = status_domains_json(board);
    json_t *d = json_array_get(json_object_get(root, "domains"), 0);

    assert_float_equal(
        json_number_value(json_object_get(d, "holdout_bits_per_byte")), loss,
        1e-12);
    assert_float_equal(
        json_number_value(json_object_get(d, "holdout_best_bits_per_byte")),
        best, 1e-12);
    assert_float_equal(
        json_number_value(json_object_get(d, "forgetting_bits_per_byte")),
        loss - best, 1e-12);
    json_decref(root);
}

#define REFUSED                                                                \
    "{\"reason\":\"worse\",\"waits_for\":\"a better one\",\"refused\":1,"      \
    "\"against\":1,\"shadow\":{\"records\":40,\"difference\":0.05,"            \
    "\"evidence_at_once\":3}}"

static void begin(struct status_board *board)
{
    struct status *s;

    status_board_init(board);
    s = status_lock(board);
    s->domains[s->n_domains++].name = status_name(board, "a" LONG_NAME);
    status_unlock(board);
}

/* A worse version is refused, then rolled back: the board shows the version
 * before it, and no figure of the worse one. */
static void test_rollback(void **state)
{
    struct util_both b = util_open_both(*state);
    struct status_board board;
    struct status *s;

    begin(&board);
    assert_int_equal(
        publish(&b, 0, 3.25, STORE_PASSED, "{\"reason\":\"the first\"}", 0, 1),
        1);
    assert_int_equal(publish(&b, 1, 4, STORE_FAILED, REFUSED, 1, 1), 2);
    s = show(&b, &board);
    assert_int_equal(s->head_version, 2);
    assert_int_equal(s->serving_version, 1);
    assert_int_equal(s->publish.judged_version, 2);
    assert_string_equal(s->publish.last_verdict, "failed");
    assert_string_equal(s->publish.last_reason, "worse");
    assert_int_equal(s->publish.refused_in_a_row, 1);
    assert_int_equal(s->publish.reference_version, 1);
    assert_int_equal(s->publish.shadow_records, 40);
    assert_float_equal(s->publish.shadow_difference, 0.05, 1e-12);
    assert_float_equal(s->publish.shadow_evidence, 3, 1e-12);
    check_loss(&board, 4, 3.25);
    free(s);

    roll_back(&b, 1);
    s = show(&b, &board);
    assert_int_equal(s->head_version, 1);
    assert_int_equal(s->publish.newest_version, 2);
    assert_int_equal(s->publish.judged_version, 1);
    assert_string_equal(s->publish.last_verdict, "passed");
    assert_string_equal(s->publish.last_reason, "the first");
    assert_int_equal(s->publish.refused_in_a_row, 0);
    assert_int_equal(s->publish.reference_version, 0);
    assert_int_equal(s->publish.shadow_records, 0);
    assert_true(isnan(s->publish.shadow_difference));
    check_loss(&board, 3.25, 3.25);
    free(s);
    status_board_release(&board);
    util_close_both(&b);
}

/* The lowest losses of a branch that was rolled back do not count. After a
 * rollback to a refused version the board shows its verdict, but no refusal in
 * a row. */
static void test_branches(void **state)
{
    struct util_both b = util_open_both(*state);
    struct status_board board;
    struct status *s;

    begin(&board);
    publish(&b, 0, 3, STORE_PASSED, "{\"reason\":\"the first\"}", 0, 1);
    publish(&b, 1, 2, STORE_PASSED, "{\"reason\":\"good\"}", 0, 2);
    free(show(&b, &board));
    check_loss(&board, 2, 2);
    roll_back(&b, 1);
    assert_int_equal(publish(&b, 1, 3.5, STORE_FAILED, REFUSED, 1, 1), 3);
    free(show(&b, &board));
    check_loss(&board, 3.5, 3);
    roll_back(&b, 2);
    free(show(&b, &board));
    check_loss(&board, 2, 2);
    roll_back(&b, 3);
    s = show(&b, &board);
    check_loss(&board, 3.5, 3);
    assert_string_equal(s->publish.last_verdict, "failed");
    assert_int_equal(s->publish.refused_in_a_row, 0);
    free(s);
    status_board_release(&board);
    util_close_both(&b);
}

/* While the head version has no verdict, the figures are those of the version
 * before it. */
static void test_pending(void **state)
{
    struct util_both b = util_open_both(*state);
    struct status_board board;
    struct status *s;

    begin(&board);
    free(show(&b, &board)); /* an empty store */
    assert_int_equal(util_publish(b.s, 0, 1), 1);
    s = show(&b, &board);
    assert_int_equal(s->head_version, 1);
    assert_int_equal(s->publish.judged_version, 0);
    assert_string_equal(s->publish.last_verdict, "");
    free(s);
    publish(&b, 1, 3, STORE_FAILED, REFUSED, 1, 1);
    assert_int_equal(util_publish(b.s, 2, 3), 3);
    s = show(&b, &board);
    assert_int_equal(s->head_version, 3);
    assert_int_equal(s->publish.judged_version, 2);
    assert_string_equal(s->publish.last_reason, "worse");
    check_loss(&board, 3, 3);
    free(s);
    status_board_release(&board);
    util_close_both(&b);
}

/* A promoted version becomes the reference version, so the comparison with the
 * last one is over. The number of refusals in a row stays. */
static void test_promote(void **state)
{
    struct util_both b = util_open_both(*state);
    struct status_board board;
    struct status *s;

    begin(&board);
    publish(&b, 0, 3, STORE_PASSED, "{\"reason\":\"the first\"}", 0, 1);
    publish(&b, 1, 4, STORE_FAILED, REFUSED, 1, 1);
    assert_int_equal(store_serve(b.s, 2, true, "", NULL), 0);
    s = show(&b, &board);
    assert_int_equal(s->serving_version, 2);
    assert_true(s->serving_pinned);
    assert_string_equal(s->publish.last_verdict, "failed");
    assert_int_equal(s->publish.refused_in_a_row, 1);
    assert_int_equal(s->publish.reference_version, 0);
    assert_int_equal(s->publish.shadow_records, 0);
    free(s);
    status_board_release(&board);
    util_close_both(&b);
}

/* Old versions have no `best` in their gate's JSON, and no guard's state. */
static void test_before(void **state)
{
    const struct store_domain_result results[] = {
        {.domain = "a" LONG_NAME, .bits_per_byte = 2, .accuracy = NAN},
        {.domain = "a" LONG_NAME, .bits_per_byte = 3, .accuracy = NAN}};
    struct util_both b = util_open_both(*state);
    struct status_board board;
    struct status *s;

    begin(&board);
    for (int i = 0; i < 2; i++) {
        int64_t version = util_publish(b.s, i, 1 + i);

        assert_int_equal(store_verdict(b.s, version, STORE_FAILED,
                                       "{\"refused\":7}", NULL, &results[i], 1,
                                       false, "", NULL),
                         0);
    }
    s = show(&b, &board);
    assert_int_equal(s->publish.refused_in_a_row, 7);
    check_loss(&board, 3, 2);
    free(s);
    publish(&b, 2, 2.5, STORE_FAILED, REFUSED, 8, 1);
    free(show(&b, &board));
    check_loss(&board, 2.5, 2);
    status_board_release(&board);
    util_close_both(&b);
}

/* A verdict and its count change under one lock: a reader that sees the count
 * sees that verdict. */
static void test_count(void **state)
{
    struct util_both b = util_open_both(*state);
    const struct verdict j = {.state = STORE_FAILED};
    struct status_board board;
    struct status *s;

    begin(&board);
    publish(&b, 0, 3, STORE_FAILED, REFUSED, 1, 1);
    publisher_show_versions(b.c, 0, &j, &board);
    s = status_copy(&board);
    assert_int_equal(s->publish.refused, 1);
    assert_int_equal(s->publish.passed, 0);
    free(s);
    status_board_release(&board);
    util_close_both(&b);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_rollback), T(test_branches), T(test_pending),
        T(test_promote),  T(test_before),   T(test_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
