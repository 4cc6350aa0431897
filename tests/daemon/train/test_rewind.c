/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every branch of a rollback, on a store in a temporary folder, with a source
 * that the test moves and a clock that stands still.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "daemon/train/rewind.h"
#include "learner/learner.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/rewind_util.h"
#include "tests/util/store_util.h"

/* A rollback with what the tests compare of it. */
struct attempt {
    struct rewind_request request;
    char detail[512];
    bool for_good;
    struct err err;
};

static int roll_back(struct train_util *u, struct attempt *a)
{
    a->request.learning = &u->learning;
    a->request.source = &u->source.base;
    a->request.publisher = u->publisher;
    a->request.epoch = &u->epoch;
    a->request.reason = "a test";
    a->err = (struct err)ERR_INIT;
    a->for_good = true; /* rewind_run has to clear it */
    return rewind_run(&a->request, a->detail, sizeof a->detail, &a->for_good,
                      &a->err);
}

static int rewind_to(struct train_util *u, int64_t version)
{
    struct attempt a = {.request = {.version = version}};

    return roll_back(u, &a);
}

static int skip_to(struct train_util *u, int64_t version, bool automatic,
                   bool *for_good)
{
    struct attempt a = {.request = {
                            .version = version,
                            .skip = true,
                            .automatic = automatic,
                        }};
    int rc = roll_back(u, &a);

    if (for_good)
        *for_good = a.for_good;
    return rc;
}

/* Versions 2 and 3 hold ten records each. */
static void open_three(struct train_util *u, const char *dir)
{
    rewind_util_open(u, dir, NULL, 0);
    assert_int_equal(rewind_util_version(u, 10), 2);
    assert_int_equal(rewind_util_version(u, 10), 3);
    train_util_check_pointers(u, 3, 3);
}

/* Nothing has changed since open_three. */
static void assert_as_before(struct train_util *u)
{
    train_util_check_pointers(u, 3, 3);
    assert_int_equal(u->learning.progress.records.consumed, 20);
    assert_int_equal(u->source.next[0], 20);
    assert_int_equal(rewind_util_sql(u, "SELECT count(*) FROM control_log"
                                        " WHERE kind <> 'promote'"),
                     0);
}

static void weights_of(struct train_util *u, int64_t version, char sha256[65])
{
    struct catalog_version v;

    assert_int_equal(catalog_get(u->catalog, version, &v, NULL), 0);
    memcpy(sha256, v.weights_sha256, 65);
    catalog_version_release(&v);
}

/* --- rewind ------------------------------------------------------------- */

static void test_rewind(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};
    char before[65], after[65];

    open_three(&u, *state);
    weights_of(&u, 3, before);
    assert_int_equal(roll_back(&u, &a), 0);
    assert_string_equal(a.detail, "serving and learning from version 2; "
                                  "records that are read again: 10");
    assert_false(a.for_good);
    train_util_check_pointers(&u, 2, 2);
    assert_int_equal(serving_version(u.serving), 2);
    assert_int_equal(u.source.next[0], 10);
    assert_int_equal(u.source.epoch, 1);
    assert_int_equal(u.epoch, 1);
    assert_true(rewind_util_metric(&u, "records_consumed_total") == 10);
    assert_true(rewind_util_metric(&u, "records_learned_total") == 10);
    assert_true(rewind_util_metric(&u, "records_skipped_total") == 0);
    assert_true(rewind_util_metric(&u, "rollbacks_total") == 1);
    assert_true(rewind_util_metric(&u, "automatic_rollbacks_total") == 0);
    /* The same records make the same weights. */
    assert_int_equal(rewind_util_version(&u, 10), 4);
    weights_of(&u, 4, after);
    assert_string_equal(before, after);
    rewind_util_close(&u);
}

/* Records that wait for a step belong to the position that is left. */
static void test_waiting_records_are_read_again(void **state)
{
    struct train_util u;

    open_three(&u, *state);
    rewind_util_add(&u, 0, NULL, NULL, NULL);
    assert_true(intake_tokens(u.learning.intake) > 0);
    assert_int_equal(rewind_to(&u, 2), 0);
    assert_int_equal(intake_tokens(u.learning.intake), 0);
    assert_int_equal(u.source.next[0], 10);
    rewind_util_close(&u);
}

static void test_two_in_a_row(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 3}};

    open_three(&u, *state);
    assert_int_equal(rewind_to(&u, 2), 0);
    assert_int_equal(rewind_to(&u, 1), 0);
    train_util_check_pointers(&u, 1, 1);
    assert_int_equal(u.epoch, 2);
    assert_int_equal(u.source.next[0], 0);
    /* Forward, to a version that was rolled back itself. */
    assert_int_equal(roll_back(&u, &a), 0);
    assert_string_equal(a.detail, "serving and learning from version 3, which "
                                  "had learned more records: 20");
    train_util_check_pointers(&u, 3, 3);
    assert_int_equal(u.source.next[0], 20);
    assert_int_equal(rewind_util_version(&u, 5), 4);
    assert_int_equal(u.learning.progress.records.consumed, 25);
    rewind_util_close(&u);
}

/* A partition that the version does not know begins at its first offset. */
static void test_later_partition(void **state)
{
    struct train_util u;

    open_three(&u, *state);
    u.source.next[1] = 70;
    for (int i = 0; i < 5; i++)
        rewind_util_add(&u, 1, NULL, NULL, NULL);
    rewind_util_flush(&u);
    assert_int_equal(rewind_util_publish(&u, NULL), 4);
    assert_int_equal(rewind_to(&u, 2), 0);
    assert_int_equal(u.source.next[0], 10);
    assert_int_equal(u.source.next[1], 70);
    assert_int_equal(progress_next_offset(&u.learning.progress, "text", 1), 70);
    rewind_util_close(&u);
}

static void test_keep_serving(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2, .keep_serving = true}};

    open_three(&u, *state);
    assert_int_equal(roll_back(&u, &a), 0);
    assert_string_equal(a.detail, "learning from version 2; records that are "
                                  "read again: 10");
    train_util_check_pointers(&u, 2, 3);
    assert_int_equal(serving_version(u.serving), 3);
    rewind_util_close(&u);
}

/* `keep` is an operation of the publisher: learning does not go back. */
static void test_keep(void **state)
{
    struct control_operation op;
    struct train_util u;
    int64_t id;

    open_three(&u, *state);
    assert_int_equal(control_submit(u.control, CONTROL_ROLLBACK_KEEP, 2,
                                    "a test", &id, NULL),
                     0);
    control_start(u.control, id);
    publisher_wake(u.publisher);
    assert_int_equal(control_wait(u.control, id, 600000, &op, NULL), 0);
    assert_int_equal(op.state, CONTROL_DONE);
    train_util_check_pointers(&u, 3, 2);
    assert_int_equal(serving_version(u.serving), 2);
    assert_int_equal(u.source.n_seeks, 0);
    assert_int_equal(rewind_util_version(&u, 5), 4);
    train_util_check_pointers(&u, 4, 2);
    rewind_util_close(&u);
}

/* --- refusals ----------------------------------------------------------- */

static void test_source_cannot_seek(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};

    open_three(&u, *state);
    u.source.refuse_after = 0;
    assert_int_equal(roll_back(&u, &a), ERR_STATE);
    assert_string_equal(a.err.msg, "the records are gone");
    assert_as_before(&u);
    assert_int_equal(u.epoch, 0);
    /* A skip does not need the source. */
    assert_int_equal(skip_to(&u, 2, false, NULL), 0);
    rewind_util_close(&u);
}

static void test_pruned(void **state)
{
    struct train_util u;

    open_three(&u, *state);
    rewind_util_sql(&u, "DELETE FROM versions WHERE version = 1");
    assert_int_equal(rewind_to(&u, 1), ERR_NOTFOUND);
    assert_int_equal(rewind_to(&u, 99), ERR_NOTFOUND);
    assert_as_before(&u);
    rewind_util_close(&u);
}

static void test_damaged(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};

    open_three(&u, *state);
    rewind_util_damage(u.dir, 2, "state.safetensors");
    assert_int_equal(roll_back(&u, &a), ERR_CORRUPT);
    assert_as_before(&u);
    rewind_util_sql(&u, "UPDATE versions SET state = 'damaged'"
                        " WHERE version = 2");
    assert_int_equal(roll_back(&u, &a), ERR_STATE);
    assert_string_equal(a.err.msg, "version 2 is damaged");
    assert_as_before(&u);
    rewind_util_close(&u);
}

static void test_pending(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};

    open_three(&u, *state);
    rewind_util_sql(&u, "UPDATE versions SET state = 'pending'"
                        " WHERE version = 2");
    assert_int_equal(roll_back(&u, &a), ERR_STATE);
    assert_string_equal(a.err.msg, "version 2 is pending");
    assert_as_before(&u);
    a.request.keep_serving = true;
    assert_int_equal(roll_back(&u, &a), 0);
    train_util_check_pointers(&u, 2, 3);
    rewind_util_close(&u);
}

static enum fault_vfs disk_is_full(void)
{
    return FAULT_FULL;
}

static void test_publisher_fails(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};

    open_three(&u, *state);
    rewind_util_add(&u, 0, NULL, NULL, NULL);
    fault_vfs_hook = disk_is_full;
    assert_int_equal(roll_back(&u, &a), ERR_FULL);
    fault_vfs_hook = NULL;
    assert_as_before(&u); /* the source reads the waiting record again */
    assert_int_equal(u.source.n_seeks, 2);
    assert_int_equal(u.epoch, 2);
    assert_int_equal(intake_tokens(u.learning.intake), 0);
    assert_int_equal(rewind_util_version(&u, 10), 4);
    rewind_util_close(&u);
}

/* Learning on would learn the records between the two positions twice. */
static void test_source_cannot_go_back(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};

    open_three(&u, *state);
    u.source.refuse_after = 1;
    fault_vfs_hook = disk_is_full;
    assert_int_equal(roll_back(&u, &a), ERR_DIVERGED);
    fault_vfs_hook = NULL;
    train_util_check_pointers(&u, 3, 3);
    rewind_util_close(&u);
}

static void test_fails_after_the_transaction(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2}};

    rewind_util_open(&u, *state, NULL, 0);
    rewind_util_add(&u, 0, "{\"text\": \"A ship.\", \"label\": \"ship\"}", NULL,
                    NULL);
    rewind_util_add(&u, 0, "{\"text\": \"A quay.\", \"label\": \"quay\"}", NULL,
                    NULL);
    rewind_util_flush(&u);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    assert_int_equal(rewind_util_version(&u, 10), 3);
    u.conf->model.max_labels = 1; /* the version has two */
    assert_int_equal(roll_back(&u, &a), ERR_DIVERGED);
    assert_non_null(strstr(a.err.msg, "after the rollback was written"));
    train_util_check_pointers(&u, 2, 2);
    rewind_util_close(&u);
}

/* --- skip --------------------------------------------------------------- */

static void assert_log(struct train_util *u, const char *wanted)
{
    struct catalog_skip *rows = NULL;
    struct buf got = BUF_INIT;
    size_t n = 0;

    assert_int_equal(catalog_ranges(u->catalog, &rows, &n, NULL), 0);
    for (size_t i = 0; i < n; i++)
        buf_addf(&got, "%s%s %d:%lld-%lld", i ? ", " : "", rows[i].kind,
                 (int)rows[i].partition, (long long)rows[i].range.first_offset,
                 (long long)rows[i].range.last_offset);
    assert_string_equal(got.data ? got.data : "", wanted);
    buf_release(&got);
    catalog_ranges_free(rows, n);
}

static void test_skip(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 2, .skip = true}};

    open_three(&u, *state);
    rewind_util_add(&u, 0, NULL, NULL, NULL); /* it stays */
    assert_int_equal(roll_back(&u, &a), 0);
    assert_string_equal(a.detail, "serving and learning from version 2; "
                                  "records skipped since then: 10");
    assert_false(a.for_good);
    train_util_check_pointers(&u, 2, 2);
    assert_int_equal(u.source.n_seeks, 0);
    assert_int_equal(u.epoch, 0);
    assert_log(&u, "skip 0:10-19");
    assert_true(rewind_util_metric(&u, "records_consumed_total") == 20);
    assert_true(rewind_util_metric(&u, "records_skipped_total") == 10);
    assert_true(rewind_util_metric(&u, "records_learned_total") == 10);
    assert_true(intake_tokens(u.learning.intake) > 0);
    assert_int_equal(rewind_util_version(&u, 4), 4);
    assert_int_equal(u.learning.progress.records.learned, 15);
    assert_int_equal(rewind_util_sql(&u, "SELECT sum(count) FROM ledger WHERE"
                                         " version = 4 AND kind = 's'"),
                     10);
    /* A rewind reads the range again, and passes over it. */
    assert_int_equal(rewind_to(&u, 1), 0);
    assert_int_equal(u.source.next[0], 0);
    rewind_util_learn(&u, 25);
    assert_int_equal(u.learning.progress.records.skipped, 10);
    assert_int_equal(u.learning.progress.records.learned, 15);
    rewind_util_close(&u);
}

static void test_skip_ahead(void **state)
{
    struct train_util u;
    struct attempt a = {.request = {.version = 3, .skip = true}};

    open_three(&u, *state);
    assert_int_equal(rewind_to(&u, 2), 0);
    assert_int_equal(roll_back(&u, &a), ERR_STATE);
    assert_non_null(strstr(a.err.msg, "ahead of the present"));
    train_util_check_pointers(&u, 2, 2);
    rewind_util_close(&u);
}

/* The version has counted a record of which it has learned a part. */
static void test_skip_the_rest_of_a_record(void **state)
{
    struct train_util u;
    struct learner_step_output result;
    char text[400];

    rewind_util_open(&u, *state, NULL, 0);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rewind_util_learn(&u, 3);
    rewind_util_add(&u, 0, text, NULL, NULL);
    assert_int_equal(learning_step(&u.learning, &result, NULL), 0);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    assert_true(u.learning.progress.partitions[0].tokens_done > 0);
    rewind_util_learn(&u, 6);
    assert_int_equal(rewind_util_publish(&u, NULL), 3);
    assert_int_equal(skip_to(&u, 2, false, NULL), 0);
    assert_log(&u, "skip 0:3-9");
    assert_int_equal(u.learning.progress.records.skipped, 6);
    assert_int_equal(u.learning.progress.records.learned, 4);
    assert_int_equal(rewind_util_version(&u, 1), 4);
    assert_int_equal(rewind_util_sql(&u, "SELECT sum(count) FROM ledger WHERE"
                                         " version = 4 AND kind = 's'"),
                     6);
    rewind_util_close(&u);
}

/* --- automatic ---------------------------------------------------------- */

static int release_range(struct store *s, void *arg, struct err *err)
{
    return store_release(s, *(const int64_t *)arg, "a test", err);
}

static void release(struct train_util *u, const char *range)
{
    char *sql = xasprintf("SELECT id FROM control_log WHERE kind ="
                          " 'quarantine' AND first_offset = %s",
                          range);
    int64_t id = rewind_util_sql(u, sql);

    assert_int_equal(publisher_run(u->publisher, release_range, &id, NULL), 0);
    free(sql);
}

/* Only what the control log does not skip yet is added to it. */
static void test_automatic(void **state)
{
    struct train_util u;
    bool for_good;

    open_three(&u, *state);
    assert_int_equal(skip_to(&u, 2, true, &for_good), 0);
    assert_false(for_good);
    assert_log(&u, "quarantine 0:10-19");
    assert_true(rewind_util_metric(&u, "automatic_rollbacks_total") == 1);
    assert_int_equal(rewind_util_version(&u, 5), 4);
    /* Two rollbacks in a row over the same range. */
    assert_int_equal(skip_to(&u, 2, true, &for_good), 0);
    assert_false(for_good);
    assert_log(&u, "quarantine 0:10-19, quarantine 0:20-24");
    assert_int_equal(rewind_util_version(&u, 5), 5);
    assert_int_equal(skip_to(&u, 1, true, &for_good), 0);
    assert_false(for_good);
    assert_log(&u, "quarantine 0:10-19, quarantine 0:20-24, "
                   "quarantine 0:0-9, quarantine 0:25-29");
    rewind_util_close(&u);
}

/* A range that was released has a second chance, and no third. */
static void test_second_chance(void **state)
{
    struct train_util u;
    bool for_good;

    open_three(&u, *state);
    assert_int_equal(skip_to(&u, 2, true, NULL), 0);
    release(&u, "10");
    /* It is not read again yet: it stays released. */
    assert_int_equal(skip_to(&u, 1, true, &for_good), 0);
    assert_false(for_good);
    assert_log(&u, "quarantine 0:10-19, quarantine 0:0-9");
    assert_int_equal(rewind_to(&u, 1), 0);
    rewind_util_learn(&u, 20);
    assert_int_equal(u.learning.progress.records.learned, 10);
    assert_int_equal(u.learning.progress.records.skipped, 10);
    assert_int_equal(rewind_util_publish(&u, NULL), 4);
    assert_int_equal(skip_to(&u, 1, true, &for_good), 0);
    assert_true(for_good);
    assert_log(&u, "quarantine 0:10-19, quarantine 0:0-9, "
                   "skip_for_good 0:10-19");
    rewind_util_close(&u);
}

/* --- released records --------------------------------------------------- */

static void test_released_record_again(void **state)
{
    const char *const sets[] = {"filter.repetition.enabled=true",
                                "filter.repetition.min_bytes=16"};
    struct train_util u;
    char text[200];
    int64_t row;

    rewind_util_open(&u, *state, sets, 2);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rewind_util_add(&u, 0, text, NULL, NULL);
    rewind_util_learn(&u, 4);
    assert_int_equal(u.learning.progress.records.quarantined, 1);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    row = rewind_util_sql(&u, "SELECT max(rowid) FROM quarantine");
    rewind_util_release(&u, row);
    rewind_util_learn_released(&u);
    assert_int_equal(u.learning.progress.records.learned, 5);
    assert_int_equal(rewind_util_publish(&u, NULL), 3);

    /* Its stream goes back, too; the source is asked for its own topic only
     * (the fake refuses another). */
    assert_int_equal(rewind_to(&u, 2), 0);
    assert_int_equal(u.learning.progress.records.learned, 4);
    rewind_util_learn_released(&u);
    assert_int_equal(u.learning.progress.records.learned, 5);
    assert_int_equal(rewind_util_publish(&u, NULL), 4);

    /* Before the refusal: its own offset is passed over. */
    assert_int_equal(rewind_to(&u, 1), 0);
    rewind_util_learn_released(&u);
    rewind_util_add(&u, 0, text, NULL, NULL);
    rewind_util_learn(&u, 4);
    assert_int_equal(u.learning.progress.records.learned, 5);
    assert_int_equal(u.learning.progress.records.skipped, 1);
    assert_int_equal(u.learning.progress.records.quarantined, 0);

    /* A skip leaves the released record out, like any other. */
    assert_int_equal(rewind_util_publish(&u, NULL), 5);
    assert_int_equal(skip_to(&u, 1, false, NULL), 0);
    rewind_util_learn_released(&u);
    assert_int_equal(u.learning.progress.records.learned, 0);
    rewind_util_close(&u);
}

int main(void)
{
#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        TEST(test_rewind),
        TEST(test_waiting_records_are_read_again),
        TEST(test_two_in_a_row),
        TEST(test_later_partition),
        TEST(test_keep_serving),
        TEST(test_keep),
        TEST(test_source_cannot_seek),
        TEST(test_pruned),
        TEST(test_damaged),
        TEST(test_pending),
        TEST(test_publisher_fails),
        TEST(test_source_cannot_go_back),
        TEST(test_fails_after_the_transaction),
        TEST(test_skip),
        TEST(test_skip_ahead),
        TEST(test_skip_the_rest_of_a_record),
        TEST(test_automatic),
        TEST(test_second_chance),
        TEST(test_released_record_again),
    };

    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
