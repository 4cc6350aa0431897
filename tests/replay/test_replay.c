/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replay buffer with its database. Staged, taken and stored rows give the
 * same samples. Changes that are taken are stored, or come back. Rows that die
 * meanwhile are neither lost nor left over. Restart and rollback continue.
 */
#include "config.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "replay/replay.h"

static struct sqlite3 *open_tables(void)
{
    struct sqlite3 *db;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    for (size_t i = 0; i < replay_schema_n; i++)
        assert_int_equal(sqlite3_exec(db, replay_schema[i], NULL, NULL, NULL),
                         SQLITE_OK);
    return db;
}

/* Memory for stored rows; samples must not depend on it. */
static int64_t cache_bytes;

static int keep_none(void **state)
{
    (void)state;
    cache_bytes = 0;
    return 0;
}

static int keep_some(void **state)
{
    (void)state;
    cache_bytes = 3000;
    return 0;
}

static int keep_all(void **state)
{
    (void)state;
    cache_bytes = 1 << 20;
    return 0;
}

static struct replay *make(enum replay_kind kind, int64_t capacity,
                           struct sqlite3 *db)
{
    struct replay_options o;

    replay_options_default(&o, kind);
    o.capacity = capacity;
    o.cache_bytes = cache_bytes;
    return replay_create(&o, db);
}

/* Offers segment i, whose tokens, domain, length and id identify it. */
static void offer(struct replay *r, int i)
{
    token_id tokens[8];
    struct segment s = {.tokens = tokens,
                        .n_tokens = 1 + (uint32_t)i % 7,
                        .n_bytes = (uint32_t)i,
                        .domain = i % 3,
                        .label = -1};
    struct segment_origin o = {.offset = i, .id = i % 2 ? "odd" : NULL};

    for (int t = 0; t < 8; t++)
        tokens[t] = (token_id)(i + t);
    replay_offer(r, &s, &o, i);
}

static void offer_many(struct replay *r, int first, int last)
{
    for (int i = first; i <= last; i++)
        offer(r, i);
}

static void assert_is_whole(const struct segment *s)
{
    int i = (int)s->n_bytes;

    assert_int_equal(s->n_tokens, 1 + i % 7);
    assert_int_equal(s->domain, i % 3);
    for (uint32_t t = 0; t <= s->n_tokens; t++)
        assert_int_equal(s->tokens[t], (token_id)((uint32_t)i + t));
}

static void assert_same_draws(struct replay *a, struct replay *b,
                              uint64_t first_step)
{
    for (uint64_t step = first_step; step < first_step + 40; step++) {
        struct replay_sampled *x, *y;
        size_t n, m;

        assert_int_equal(replay_sample(a, step, 30, false, &x, &n, NULL), 0);
        assert_int_equal(replay_sample(b, step, 30, false, &y, &m, NULL), 0);
        assert_int_equal(n, m);
        assert_true(n >= 30 / 7);
        for (size_t i = 0; i < n; i++) {
            assert_is_whole(&x[i].segment);
            assert_int_equal(x[i].segment.n_bytes, y[i].segment.n_bytes);
            replay_replayed(a, &x[i], step, 2.0);
            replay_replayed(b, &y[i], step, 2.0);
        }
        offer(a, 100000 + (int)step);
        offer(b, 100000 + (int)step);
    }
}

/* Publishes in one transaction; the index out, or NULL. */
static void publish(struct replay *r, struct sqlite3 *db, int64_t version,
                    struct tensor_list *index)
{
    struct tensor_list own = TENSOR_LIST_INIT;
    struct replay_changes *c = replay_take_changes(r, index ? index : &own);
    struct err err = ERR_INIT;

    if (replay_db_write(db, c, version, &err))
        fail_msg("%s", err.msg);
    replay_stored(r, c);
    tensor_list_release(&own);
}

static int64_t number(struct sqlite3 *db, const char *sql)
{
    struct sqlite3_stmt *stmt;
    int64_t value;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

static int64_t living_rows(struct sqlite3 *db)
{
    return number(db, "SELECT count(*) FROM replay_rows WHERE died IS NULL");
}

static int64_t all_rows(struct sqlite3 *db)
{
    return number(db, "SELECT count(*) FROM replay_rows");
}

/* Checks that the live rows of the table are those of the index, and
 * readable. */
static void assert_table_is_index(struct sqlite3 *db,
                                  const struct tensor_list *index)
{
    const int64_t *keys, *domains;
    struct replay_segments read;
    int64_t *copy;
    size_t n;

    assert_int_equal(
        replay_index_keys(index, REPLAY_ROWS, &keys, &domains, &n, NULL), 0);
    assert_int_equal(n, living_rows(db));
    copy = xmemdup(keys, n * sizeof *copy);
    assert_int_equal(replay_db_read(db, REPLAY_ROWS, copy, n, &read, NULL), 0);
    assert_int_equal(read.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_is_whole(&read.items[i]);
        assert_int_equal(read.items[i].domain, domains[i]);
    }
    free(copy);
    replay_segments_free(&read);
}

static void an_empty_buffer_draws_nothing(void **state)
{
    struct replay *r = make(REPLAY_ROWS, 10, NULL);
    struct replay_sampled *draws;
    size_t n = 1;

    (void)state;
    assert_int_equal(replay_sample(r, 1, 100, false, &draws, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(replay_live(r), 0);
    assert_true(replay_kept(r) == 1.0);
    replay_free(r);
    replay_free(NULL);
}

static void a_draw_larger_than_the_buffer_is_all_of_it(void **state)
{
    (void)state;
    for (int64_t capacity = 1; capacity <= 9; capacity++) {
        struct replay *r = make(REPLAY_ROWS, capacity, NULL);
        struct replay_sampled *draws;
        size_t n;

        offer_many(r, 1, 50);
        assert_int_equal(replay_sample(r, 1, 1000, true, &draws, &n, NULL), 0);
        assert_int_equal(n, replay_live(r));
        assert_in_range(n, 1, capacity);
        assert_int_equal(replay_staged_bytes(r) > 0, 1);
        replay_free(r);
    }
}

static void staged_and_stored_rows_are_drawn_alike(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *a = make(REPLAY_ROWS, 200, NULL);
    struct replay *b = make(REPLAY_ROWS, 200, db);

    (void)state;
    for (int i = 1; i <= 3000; i++) {
        offer(a, i);
        offer(b, i);
        if (i % 1000 == 0)
            publish(b, db, i / 1000, NULL);
    }
    assert_int_equal(replay_live(a), replay_live(b));
    assert_true(replay_kept(a) == (double)replay_live(a) / 3000);
    assert_true(replay_kept(b) == replay_kept(a));
    assert_int_equal(replay_bytes(a), replay_bytes(b));
    assert_int_equal(replay_staged_bytes(b), 0);
    assert_int_equal(living_rows(db), replay_live(b));
    assert_same_draws(a, b, 7);
    replay_free(a);
    replay_free(b);
    sqlite3_close(db);
}

/* After a restart, another buffer continues from the version, bit for bit. */
static void a_restart_goes_on(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *a = make(REPLAY_ROWS, 200, db);
    struct replay *b = make(REPLAY_ROWS, 200, db);
    struct tensor_list index = TENSOR_LIST_INIT, x = TENSOR_LIST_INIT,
                       y = TENSOR_LIST_INIT;

    (void)state;
    offer_many(a, 1, 900);
    publish(a, db, 1, NULL);
    assert_same_draws(a, a, 1);
    publish(a, db, 2, &index);
    assert_table_is_index(db, &index);
    assert_int_equal(replay_import(b, &index, 0, NULL), 0);
    assert_same_draws(a, b, 500);
    replay_stored(a, replay_take_changes(a, &x));
    replay_stored(b, replay_take_changes(b, &y));
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        assert_int_equal(tensor_bytes(&x.items[i]), tensor_bytes(&y.items[i]));
        assert_memory_equal(x.items[i].data, y.items[i].data,
                            tensor_bytes(&x.items[i]));
    }
    tensor_list_release(&index);
    tensor_list_release(&x);
    tensor_list_release(&y);
    replay_free(a);
    replay_free(b);
    sqlite3_close(db);
}

static void what_comes_and_goes_is_never_written(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *r = make(REPLAY_ROWS, 20, db);

    (void)state;
    offer_many(r, 1, 1000);
    publish(r, db, 1, NULL);
    assert_int_equal(all_rows(db), replay_live(r));
    replay_free(r);
    sqlite3_close(db);
}

/* Every row of a publication dies before it is durable. */
static void rows_that_die_in_flight(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *r = make(REPLAY_ROWS, 20, db);
    struct tensor_list index = TENSOR_LIST_INIT, next = TENSOR_LIST_INIT;
    struct replay_changes *c;

    (void)state;
    offer_many(r, 1, 100);
    c = replay_take_changes(r, &index);
    assert_true(replay_staged_bytes(r) > 0);
    assert_same_draws(r, r, 1); /* sampled while they are taken */
    offer_many(r, 101, 20000);
    assert_int_equal(replay_db_write(db, c, 1, NULL), 0);
    assert_table_is_index(db, &index);
    replay_stored(r, c);
    publish(r, db, 2, &next);
    assert_table_is_index(db, &next);
    assert_true(all_rows(db) > living_rows(db));
    tensor_list_release(&index);
    tensor_list_release(&next);
    replay_free(r);
    sqlite3_close(db);
}

/* Two publications fail; the third writes everything. */
static void changes_that_were_not_stored_come_back(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *r = make(REPLAY_ROWS, 60, db);
    struct tensor_list index = TENSOR_LIST_INIT;
    int64_t staged;

    (void)state;
    offer_many(r, 1, 100);
    publish(r, db, 1, NULL);
    for (int round = 1; round <= 2; round++) {
        struct tensor_list lost = TENSOR_LIST_INIT;
        struct replay_changes *c;

        offer_many(r, 100 * round + 1, 100 * round + 30);
        staged = replay_staged_bytes(r);
        c = replay_take_changes(r, &lost);
        assert_int_equal(replay_staged_bytes(r), staged);
        offer_many(r, 100 * round + 31, 100 * round + 40);
        replay_not_stored(r, c);
        tensor_list_release(&lost);
    }
    assert_same_draws(r, r, 1);
    publish(r, db, 2, &index);
    assert_int_equal(replay_staged_bytes(r), 0);
    assert_table_is_index(db, &index);
    tensor_list_release(&index);
    replay_free(r);
    sqlite3_close(db);
}

/*
 * Versions 1 to 3, rollback to 1, version 4 of another branch, rollback to 2 of
 * the first. After each next publication the live rows of the table are those
 * of the index, and no key is used twice.
 */
static void rollbacks_leave_no_row_behind(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *r = make(REPLAY_ROWS, 60, db);
    struct tensor_list index[6] = {TENSOR_LIST_INIT};
    const int64_t newest = 5;
    int64_t deleted;

    (void)state;
    for (int v = 1; v <= 3; v++) {
        offer_many(r, 100 * v, 100 * v + 49);
        publish(r, db, v, &index[v]);
    }
    offer_many(r, 400, 420);
    assert_int_equal(replay_db_rollback(db, 1, 3, NULL), 0);
    assert_int_equal(replay_import(r, &index[1], 4, NULL), 0);
    assert_table_is_index(db, &index[1]);
    offer_many(r, 450, 499); /* lost by a restart before the next publication */
    assert_int_equal(replay_import(r, &index[1], 4, NULL), 0);
    offer_many(r, 500, 599);
    publish(r, db, 4, &index[4]);
    assert_table_is_index(db, &index[4]);
    assert_int_equal(replay_db_rollback(db, 2, 4, NULL), 0);
    assert_int_equal(replay_import(r, &index[2], 5, NULL), 0);
    offer_many(r, 600, 620);
    publish(r, db, 5, &index[5]);
    assert_table_is_index(db, &index[5]);
    assert_int_equal(replay_db_sweep(db, &newest, 1, 1000, &deleted, NULL), 0);
    assert_int_equal(all_rows(db), replay_live(r));
    for (int v = 1; v <= 5; v++)
        tensor_list_release(&index[v]);
    replay_free(r);
    sqlite3_close(db);
}

/* Changes that are being written belong to the old state. Their owner may hand
 * them back either way. */
static void import_forgets_changes_in_flight(void **state)
{
    struct sqlite3 *db = open_tables();

    (void)state;
    for (int stored = 0; stored <= 1; stored++) {
        struct replay *r = make(REPLAY_ROWS, 60, db);
        struct tensor_list index = TENSOR_LIST_INIT;
        struct replay_changes *c;

        offer_many(r, 1, 50);
        c = replay_take_changes(r, &index);
        assert_int_equal(replay_import(r, &index, 10 + stored, NULL), 0);
        if (stored)
            replay_stored(r, c);
        else
            replay_not_stored(r, c);
        assert_int_equal(replay_staged_bytes(r), 0);
        tensor_list_release(&index);
        replay_free(r);
    }
    sqlite3_close(db);
}

static void run_sql(struct sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* A row is damaged, missing or another one. The sample goes without it; its key
 * is returned once; it dies with the next version and is not sampled again. */
static void a_damaged_row_leaves(void **state)
{
    static const char *const damages[] = {
        "DELETE FROM replay_rows WHERE key = 100",
        "UPDATE replay_rows SET checksum = 1 WHERE key = 100",
        "UPDATE replay_rows SET tokens = NULL WHERE key = 100",
    };

    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct sqlite3 *db = open_tables();
        struct replay *r = make(REPLAY_ROWS, 20, db);
        struct replay_sampled *draws;
        int64_t key = 0, live;
        size_t n;

        offer_many(r, 1, 100);
        publish(r, db, 1, NULL);
        live = replay_live(r);
        run_sql(db, damages[i]);
        assert_int_equal(replay_sample(r, 1, 20, true, &draws, &n, NULL), 0);
        assert_int_equal(n, live - 1);
        for (size_t k = 0; k < n; k++) {
            assert_int_not_equal(draws[k].key, 100);
            assert_is_whole(&draws[k].segment);
            replay_replayed(r, &draws[k], 1, 1.0);
        }
        assert_true(replay_next_damaged(r, &key));
        assert_int_equal(key, 100);
        assert_false(replay_next_damaged(r, &key));
        assert_int_equal(replay_live(r), live - 1);
        offer(r, 101);
        assert_int_equal(replay_sample(r, 2, 20, true, &draws, &n, NULL), 0);
        assert_int_equal(n, replay_live(r));
        assert_int_equal(replay_damaged(r), 1);
        publish(r, db, 2, NULL);
        assert_int_equal(number(db, "SELECT count(*) FROM replay_rows "
                                    "WHERE key = 100 AND died IS NULL"),
                         0);
        replay_free(r);
        sqlite3_close(db);
    }
}

/* Rows of the index are missing in the table. They leave when the index is
 * loaded, and also by replay_drop_missing. */
static void rows_that_are_gone_leave_the_index(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *a = make(REPLAY_ROWS, 40, db);
    struct replay *b = make(REPLAY_ROWS, 40, db);
    struct tensor_list index = TENSOR_LIST_INIT;
    size_t n;

    (void)state;
    offer_many(a, 1, 200);
    publish(a, db, 1, &index);
    run_sql(db, "DELETE FROM replay_rows WHERE domain = 1");
    assert_int_equal(replay_drop_missing(a, &n, NULL), 0);
    assert_true(n > 0);
    assert_int_equal(replay_import(b, &index, 0, NULL), 0);
    assert_int_equal(replay_missing(b), n);
    assert_int_equal(replay_live_in_domain(b, 1), 0);
    assert_int_equal(replay_live(a), replay_live(b));
    assert_same_draws(a, b, 1);
    offer_many(a, 201, 260);
    offer_many(b, 201, 260);
    assert_same_draws(a, b, 100);
    assert_int_equal(replay_damaged(a), 0);
    tensor_list_release(&index);
    replay_free(a);
    replay_free(b);
    sqlite3_close(db);
}

/* A cached row needs no database any more. */
static void kept_rows_are_not_read(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *r = make(REPLAY_ROWS, 20, db);
    struct tensor_list index = TENSOR_LIST_INIT;
    struct replay_sampled *draws;
    size_t n;

    (void)state;
    offer_many(r, 1, 100);
    publish(r, db, 1, &index);
    for (int restarted = 0; restarted < 2; restarted++) {
        assert_int_equal(replay_sample(r, 1, 20, true, &draws, &n, NULL), 0);
        assert_int_equal(sqlite3_exec(db, "ALTER TABLE replay_rows RENAME TO x",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        assert_int_equal(replay_sample(r, 2, 20, true, &draws, &n, NULL), 0);
        assert_int_equal(n, replay_live(r));
        for (size_t i = 0; i < n; i++)
            assert_is_whole(&draws[i].segment);
        assert_int_equal(sqlite3_exec(db, "ALTER TABLE x RENAME TO replay_rows",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        assert_int_equal(replay_import(r, &index, 0, NULL), 0);
    }
    tensor_list_release(&index);
    replay_free(r);
    sqlite3_close(db);
}

static void the_holdout_has_tables_of_its_own(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *r = make(REPLAY_HOLDOUT, 30, db);
    struct tensor_list index = TENSOR_LIST_INIT;
    const int64_t *keys, *domains;
    size_t n;

    (void)state;
    offer_many(r, 1, 3000);
    assert_int_equal(replay_live(r), 30);
    assert_int_equal(replay_live_in_domain(r, 0), 10);
    publish(r, db, 1, &index);
    assert_int_equal(all_rows(db), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM holdout_rows"), 30);
    assert_int_equal(
        replay_index_keys(&index, REPLAY_HOLDOUT, &keys, &domains, &n, NULL),
        0);
    assert_int_equal(n, 30);
    assert_int_equal(
        replay_index_keys(&index, REPLAY_ROWS, &keys, &domains, &n, NULL),
        ERR_CORRUPT);
    assert_int_equal(replay_import(r, &index, 0, NULL), 0);
    assert_same_draws(r, r, 1);
    tensor_list_release(&index);
    replay_free(r);
    sqlite3_close(db);
}

/* After a restart with a smaller capacity, the rows beyond it die in the
 * table. */
static void a_smaller_capacity_buries_the_rest(void **state)
{
    struct sqlite3 *db = open_tables();
    struct replay *a = make(REPLAY_ROWS, 100, db);
    struct replay *b = make(REPLAY_ROWS, 10, db);
    struct tensor_list index = TENSOR_LIST_INIT, next = TENSOR_LIST_INIT;

    (void)state;
    offer_many(a, 1, 500);
    publish(a, db, 1, &index);
    assert_int_equal(replay_import(b, &index, 0, NULL), 0);
    assert_in_range(replay_live(b), 1, 10);
    publish(b, db, 2, &next);
    assert_table_is_index(db, &next);
    tensor_list_release(&index);
    tensor_list_release(&next);
    replay_free(a);
    replay_free(b);
    sqlite3_close(db);
}

#define WITH_ANY(test)                                                         \
    cmocka_unit_test_setup(test, keep_none),                                   \
        cmocka_unit_test_setup(test, keep_some),                               \
        cmocka_unit_test_setup(test, keep_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ANY(an_empty_buffer_draws_nothing),
        WITH_ANY(a_draw_larger_than_the_buffer_is_all_of_it),
        WITH_ANY(staged_and_stored_rows_are_drawn_alike),
        WITH_ANY(a_restart_goes_on),
        WITH_ANY(what_comes_and_goes_is_never_written),
        WITH_ANY(rows_that_die_in_flight),
        WITH_ANY(changes_that_were_not_stored_come_back),
        WITH_ANY(rollbacks_leave_no_row_behind),
        WITH_ANY(import_forgets_changes_in_flight),
        cmocka_unit_test_setup(a_damaged_row_leaves, keep_none),
        cmocka_unit_test_setup(rows_that_are_gone_leave_the_index, keep_none),
        cmocka_unit_test_setup(rows_that_are_gone_leave_the_index, keep_all),
        cmocka_unit_test_setup(kept_rows_are_not_read, keep_all),
        WITH_ANY(the_holdout_has_tables_of_its_own),
        WITH_ANY(a_smaller_capacity_buries_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
