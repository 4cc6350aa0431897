/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of an id or a domain are erased: from replay, holdout and quarantine,
 * from memory, and from what comes again.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/train/forget.h"
#include "store/releases.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/rewind_util.h"
#include "tests/util/store_util.h"

/* A forget with what the tests compare of it. */
struct attempt {
    char detail[512];
    json_t *result;
    struct err err;
};

/* As the trainer does: a version of all that is decided comes first. */
static int forget(struct train_util *u, enum tombstones_kind kind,
                  const char *name, struct attempt *a)
{
    const struct forget_request request = {
        .learning = &u->learning,
        .source = &u->source.base,
        .publisher = u->publisher,
        .kind = kind,
        .name = name,
        .next_release =
            progress_next_offset(&u->learning.progress, RELEASES_TOPIC, 0),
    };

    memset(a, 0, sizeof *a);
    rewind_util_publish(u, NULL);
    return forget_run(&request, a->detail, sizeof a->detail, &a->result,
                      &a->err);
}

static int64_t count(const struct attempt *a, const char *name)
{
    return json_integer_value(json_object_get(a->result, name));
}

/* The numbers of an array in the result: "2 3". */
static void assert_list(const struct attempt *a, const char *name,
                        const char *wanted)
{
    char got[200] = "";
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(a->result, name), i, item)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%lld",
                 i ? " " : "", (long long)json_integer_value(item));
    assert_string_equal(got, wanted);
}

static void add(struct train_util *u, int n, const char *id,
                const char *domain)
{
    for (int i = 0; i < n; i++)
        rewind_util_add(u, 0, NULL, id, domain);
    rewind_util_flush(u);
}

/* Live rows in the tables, which the indexes have to name. */
static void assert_rows(struct train_util *u, int64_t replay, int64_t holdout)
{
    assert_int_equal(replay_live(u->learning.replay), replay);
    assert_int_equal(replay_live(u->learning.holdout), holdout);
    assert_int_equal(rewind_util_sql(u, "SELECT count(*) FROM replay_rows"
                                        " WHERE died IS NULL"),
                     replay);
    assert_int_equal(rewind_util_sql(u, "SELECT count(*) FROM holdout_rows"
                                        " WHERE died IS NULL"),
                     holdout);
}

/* --- by id -------------------------------------------------------------- */

static void test_id(void **state)
{
    const char *const sets[] = {"learner.holdout.fraction=0.3"};
    struct train_util u;
    struct attempt a;
    int64_t holdout, held_out;

    rewind_util_open(&u, *state, sets, 1);
    add(&u, 20, "alice", NULL);
    held_out = u.learning.progress.records.holdout;
    assert_true(held_out > 0);
    rewind_util_add(&u, 0, "{\"text\": \"\", \"id\": \"alice\"}", NULL, NULL);
    assert_int_equal(u.learning.progress.records.quarantined, 1);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    add(&u, 20, "bob", NULL);
    add(&u, 1, "alice", NULL);
    holdout = u.learning.progress.records.holdout;

    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    assert_int_equal(count(&a, "replay") + count(&a, "holdout"), 21);
    assert_true(count(&a, "holdout") >= held_out);
    assert_int_equal(count(&a, "quarantine"), 1);
    assert_int_equal(count(&a, "released"), 0);
    assert_int_equal(count(&a, "records"), 22);
    assert_list(&a, "versions", "2 3");
    assert_list(&a, "not_retrainable", "2 3");
    assert_true(json_is_false(json_object_get(a.result, "erasure_pending")));
    assert_non_null(strstr(a.detail, "1 of quarantine; versions that learned "
                                     "from them can no longer be retrained: "
                                     "2-3"));
    assert_true(rewind_util_metric(&u, "erasure_pending") == 0);
    assert_rows(&u, 41 - holdout - count(&a, "replay"),
                holdout - count(&a, "holdout"));
    assert_int_equal(rewind_util_sql(&u, "SELECT count(*) FROM quarantine"), 0);
    json_decref(a.result);

    /* A record that arrives later is a new one. */
    add(&u, 10, "alice", NULL);
    assert_int_equal(u.learning.progress.records.skipped, 0);
    assert_int_equal(rewind_util_publish(&u, NULL), 4);

    /* Read again, the forgotten records are passed over. */
    rewind_util_roll_back(&u, 1, false);
    add(&u, 20, "alice", NULL);
    rewind_util_add(&u, 0, "{\"text\": \"\", \"id\": \"alice\"}", NULL, NULL);
    add(&u, 20, "bob", NULL);
    add(&u, 11, "alice", NULL);
    assert_true(rewind_util_metric(&u, "records_skipped_total") == 22);
    assert_true(rewind_util_metric(&u, "records_quarantined_total") == 0);
    rewind_util_close(&u);
}

/* The ids of these records were never parsed: their texts are searched. */
static void test_id_in_text(void **state)
{
    const char *const sets[] = {"source.format=text"};
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, sets, 1);
    /* Longer than a segment: the text is joined from several rows. */
    rewind_util_add(&u, 0,
                    "{\"text\": \"A ship lies at the quay for a long time, and "
                    "nobody knows why.\", \"id\": \"alice\"}",
                    NULL, NULL);
    rewind_util_add(&u, 0, "{\"text\": \"A quay.\", \"id\": \"alice-2\"}", NULL,
                    NULL);
    rewind_util_add(&u, 0, "He said {\"id\": \"alice\"} and went on.", NULL,
                    NULL);
    rewind_util_flush(&u);
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    assert_int_equal(count(&a, "records"), 1);
    assert_true(count(&a, "replay") > 1);
    assert_int_equal(rewind_util_sql(&u,
                                     "SELECT count(DISTINCT record_offset) FROM"
                                     " replay_rows"),
                     2);
    json_decref(a.result);
    rewind_util_close(&u);
}

static void test_id_not_found(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 10, "bob", NULL);
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    assert_string_equal(a.detail, "rows erased: 0 of replay, 0 of holdout, "
                                  "0 of quarantine; no kept version is known to "
                                  "have learned from them");
    assert_int_equal(count(&a, "records"), 0);
    assert_list(&a, "versions", "");
    json_decref(a.result);
    assert_rows(&u, 10, 0);
    rewind_util_close(&u);
}

/* Records that wait for a step are decided again. */
static void test_waiting_records(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 10, "bob", NULL);
    rewind_util_add(&u, 0, NULL, "alice", NULL);
    assert_true(intake_tokens(u.learning.intake) > 0);
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    assert_int_equal(count(&a, "records"), 0);
    json_decref(a.result);
    assert_int_equal(intake_tokens(u.learning.intake), 0);
    assert_int_equal(u.learning.progress.records.skipped, 1);
    assert_int_equal(u.learning.progress.records.learned, 10);
    rewind_util_close(&u);
}

/* Records that the source knows of, but has not read, belong to the stream. */
static void test_up_to_the_known_end(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 10, "alice", NULL);
    u.source.end = 15;
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    json_decref(a.result);
    add(&u, 8, "alice", NULL);
    assert_int_equal(u.learning.progress.records.skipped, 5);
    assert_int_equal(u.learning.progress.records.learned, 13);
    rewind_util_close(&u);
}

static void test_released(void **state)
{
    const char *const sets[] = {"filter.repetition.enabled=true",
                                "filter.repetition.min_bytes=16"};
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, sets, 2);
    rewind_util_add(&u, 0,
                    "{\"text\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", \"id\": \"alice\"}",
                    NULL, NULL);
    add(&u, 5, "bob", NULL);
    assert_int_equal(u.learning.progress.records.quarantined, 1);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    rewind_util_release(&u, rewind_util_sql(&u, "SELECT max(rowid) FROM"
                                                " quarantine"));
    rewind_util_learn_released(&u);
    assert_int_equal(u.learning.progress.records.learned, 6);
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    assert_int_equal(count(&a, "quarantine"), 1);
    assert_int_equal(count(&a, "released"), 1);
    assert_true(count(&a, "replay") > 0);
    assert_non_null(strstr(a.detail, " 2 of quarantine"));
    json_decref(a.result);
    assert_int_equal(rewind_util_sql(&u, "SELECT count(*) FROM releases"), 0);
    rewind_util_roll_back(&u, 1, false);
    rewind_util_learn_released(&u);
    assert_int_equal(u.learning.progress.records.learned, 0);
    rewind_util_close(&u);
}

/* --- by domain ---------------------------------------------------------- */

static void test_domain(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 4, NULL, "harbour");
    add(&u, 6, NULL, "orchard");
    assert_int_equal(forget(&u, TOMBSTONES_DOMAIN, "nowhere", &a),
                     ERR_NOTFOUND);
    assert_non_null(strstr(a.err.msg, "nowhere"));
    assert_int_equal(forget(&u, TOMBSTONES_DOMAIN, "orchard", &a), 0);
    assert_int_equal(count(&a, "replay"), 6);
    json_decref(a.result);
    assert_rows(&u, 4, 0);
    rewind_util_roll_back(&u, 1, false);
    add(&u, 4, NULL, "harbour");
    add(&u, 7, NULL, "orchard");
    assert_int_equal(u.learning.progress.records.skipped, 6);
    assert_int_equal(u.learning.progress.records.learned, 5);
    rewind_util_close(&u);
}

/* On each branch the domain has another number. */
static void test_domain_on_two_branches(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 4, NULL, "harbour"); /* number 0 */
    add(&u, 6, NULL, "orchard"); /* number 1 */
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    rewind_util_roll_back(&u, 1, false);
    u.source.next[0] = 20;
    add(&u, 3, NULL, "orchard"); /* number 0 */
    add(&u, 5, NULL, "harbour"); /* number 1 */
    assert_int_equal(forget(&u, TOMBSTONES_DOMAIN, "orchard", &a), 0);
    assert_int_equal(count(&a, "replay"), 9); /* dead rows of version 2, too */
    assert_list(&a, "versions", "2 3");
    json_decref(a.result);
    assert_rows(&u, 5, 0);
    assert_int_equal(rewind_util_sql(&u, "SELECT count(*) FROM replay_rows"),
                     9);
    rewind_util_close(&u);
}

/* No version knows the domain: it has quarantined records only. */
static void test_domain_in_quarantine(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    rewind_util_add(&u, 0, "{\"text\": \"\", \"domain\": \"orchard\"}", NULL,
                    NULL);
    assert_int_equal(u.learning.progress.records.quarantined, 1);
    assert_int_equal(forget(&u, TOMBSTONES_DOMAIN, "orchard", &a), 0);
    assert_int_equal(count(&a, "quarantine"), 1);
    assert_list(&a, "versions", "");
    json_decref(a.result);
    rewind_util_close(&u);
}

/* --- a full disk, and restarts ------------------------------------------ */

static enum fault_vfs disk_is_full(void)
{
    return FAULT_FULL;
}

static bool in_log;

static void note_file(enum fault_vfs_op op, const char *path, const void *bytes,
                      int n_bytes, int64_t at)
{
    (void)op;
    (void)bytes;
    (void)n_bytes;
    (void)at;
    in_log = path && strstr(path, "-wal");
}

/* The transaction is written to the log; the scrub writes to other files. */
static enum fault_vfs only_the_log_has_room(void)
{
    return in_log ? FAULT_NONE : FAULT_FULL;
}

static void test_no_room(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 6, "alice", NULL);
    add(&u, 4, "bob", NULL);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    fault_vfs_hook = disk_is_full;
    {
        const struct forget_request request = {
            .learning = &u.learning,
            .source = &u.source.base,
            .publisher = u.publisher,
            .kind = TOMBSTONES_ID,
            .name = "alice",
        };

        memset(&a, 0, sizeof a);
        assert_int_equal(
            forget_run(&request, a.detail, sizeof a.detail, &a.result, &a.err),
            ERR_FULL);
    }
    fault_vfs_hook = NULL;
    assert_null(a.result);
    assert_rows(&u, 10, 0);
    /* With room again. */
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    json_decref(a.result);
    assert_rows(&u, 4, 0);
    rewind_util_close(&u);
}

/* The rows are erased, but the file cannot be written anew: a start does it. */
static void test_no_room_to_scrub(void **state)
{
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 6, "alice", NULL);
    add(&u, 4, "bob", NULL);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    fault_vfs_watch = note_file;
    fault_vfs_hook = only_the_log_has_room;
    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    assert_true(json_is_true(json_object_get(a.result, "erasure_pending")));
    assert_non_null(strstr(a.detail, "tried every minute"));
    assert_list(&a, "versions", "2 3");
    json_decref(a.result);
    publisher_wake(u.publisher); /* it shows what waits */
    rewind_util_sql(&u, "SELECT 1");
    assert_true(rewind_util_metric(&u, "erasure_pending") == 1);
    fault_vfs_hook = NULL;
    fault_vfs_watch = NULL;
    assert_rows(&u, 4, 0);
    /* The head's index still names the rows. */
    rewind_util_close(&u);
    rewind_util_open(&u, *state, NULL, 0);
    assert_rows(&u, 4, 0);
    assert_true(rewind_util_metric(&u, "erasure_pending") == 0);
    assert_int_equal(rewind_util_sql(&u, "SELECT count(*) FROM settings WHERE"
                                         " key = 'scrub'"),
                     0);
    add(&u, 3, "alice", NULL);
    assert_int_equal(rewind_util_publish(&u, NULL), 4);
    assert_rows(&u, 7, 0);
    rewind_util_close(&u);
}

static int write_only(struct store *s, void *arg, struct err *err)
{
    const struct tombstones_forget f = {
        .kind = TOMBSTONES_ID,
        .name = "alice",
        .partitions = arg,
        .n_partitions = 1,
    };
    struct tombstones_report report;
    int rc = tombstones_write(s, &f, &report, err);

    tombstones_report_release(&report);
    return rc;
}

/* The process ends before the transaction, or before the scrub. */
static void test_restarts(void **state)
{
    struct store_offset partition = {
        .partition_id = 0, .topic = "text", .next_offset = 10};
    struct train_util u;
    struct attempt a;

    rewind_util_open(&u, *state, NULL, 0);
    add(&u, 10, "alice", NULL);
    assert_int_equal(rewind_util_publish(&u, NULL), 2);
    rewind_util_close(&u);
    rewind_util_open(&u, *state, NULL, 0);
    assert_rows(&u, 10, 0); /* nothing was forgotten */

    assert_int_equal(publisher_run(u.publisher, write_only, &partition, NULL),
                     0);
    rewind_util_close(&u);
    rewind_util_open(&u, *state, NULL, 0);
    assert_int_equal(rewind_util_sql(&u, "SELECT count(*) FROM settings WHERE"
                                         " key = 'scrub'"),
                     0);
    rewind_util_roll_back(&u, 1, false);
    add(&u, 12, "alice", NULL); /* the tombstones hold */
    assert_int_equal(u.learning.progress.records.skipped, 10);

    assert_int_equal(forget(&u, TOMBSTONES_ID, "alice", &a), 0);
    json_decref(a.result);
    rewind_util_close(&u);
    rewind_util_open(&u, *state, NULL, 0);
    assert_rows(&u, 0, 0);
    rewind_util_close(&u);
}

int main(void)
{
#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        TEST(test_id),
        TEST(test_id_in_text),
        TEST(test_id_not_found),
        TEST(test_waiting_records),
        TEST(test_up_to_the_known_end),
        TEST(test_released),
        TEST(test_domain),
        TEST(test_domain_on_two_branches),
        TEST(test_domain_in_quarantine),
        TEST(test_no_room),
        TEST(test_no_room_to_scrub),
        TEST(test_restarts),
    };

    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
