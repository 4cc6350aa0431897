/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows in SQLite. Rows are read as they were written, and damage is found. A
 * row stays as long as a kept version has it, also after rollbacks.
 */
#include "config.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "replay/replay_db.h"

static int setup(void **state)
{
    struct sqlite3 *db;

    if (sqlite3_open(":memory:", &db) != SQLITE_OK)
        return -1;
    for (size_t i = 0; i < replay_schema_n; i++)
        if (sqlite3_exec(db, replay_schema[i], NULL, NULL, NULL) != SQLITE_OK)
            return -1;
    *state = db;
    return 0;
}

static int teardown(void **state)
{
    return sqlite3_close(*state) == SQLITE_OK ? 0 : -1;
}

static void run_sql(struct sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static const token_id tokens[] = {7, 65535, 0, 258, 9};
static const float logits[] = {0.5f, -1.0f, 3.25f};

static struct row *make_row(int64_t key)
{
    struct segment s = {.tokens = tokens,
                        .n_tokens = 4,
                        .n_masked = 1,
                        .n_bytes = 11,
                        .ends = true,
                        .domain = 3,
                        .label = 2,
                        .old_logits = logits,
                        .n_old_logits = 3};
    struct segment_origin o = {.partition_id = 4,
                               .offset = INT64_MAX,
                               .part = 2,
                               .id = "a-17",
                               .text_hash = UINT64_MAX,
                               .time_ms = -5};

    return row_copy(key, &s, &o, 12.5);
}

/* Writes one version: rows first to last are born, the keys dead[n] die. */
static int write_version(struct sqlite3 *db, enum replay_kind kind,
                         int64_t version, int64_t first, int64_t last,
                         const int64_t *dead, size_t n_dead, struct err *err)
{
    struct replay_changes *c = xcalloc(1, sizeof *c);
    int rc;

    c->kind = kind;
    c->born = xcalloc((size_t)(last - first + 2), sizeof *c->born);
    for (int64_t key = first; key <= last; key++)
        c->born[c->n_born++] = make_row(key);
    if (n_dead > 0)
        c->dead = xmemdup(dead, n_dead * sizeof *dead);
    c->n_dead = n_dead;
    rc = replay_db_write(db, c, version, err);
    replay_changes_free(c);
    return rc;
}

static int64_t number(struct sqlite3 *db, const char *sql)
{
    struct sqlite3_stmt *stmt;
    int64_t value;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_type(stmt, 0) == SQLITE_NULL
                ? -1
                : sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

static int64_t rows(struct sqlite3 *db)
{
    return number(db, "SELECT count(*) FROM replay_rows");
}

/* Rows take 2 bytes an id as long as all fit, else 4. Any other size is
 * damage. */
static void wide_ids_take_four_bytes(void **state)
{
    static const token_id ids[] = {7, 65536, 262143};
    struct segment s = {.tokens = ids, .n_tokens = 2, .n_bytes = 3,
                        .label = -1};
    const struct segment_origin o = {.offset = 1};
    struct replay_changes *c = xcalloc(1, sizeof *c);
    struct sqlite3_stmt *fetch;
    struct row *row;

    c->born = xcalloc(3, sizeof *c->born);
    c->born[c->n_born++] = row_copy(1, &s, &o, 1.0);
    s.n_tokens = 1;
    s.tokens = tokens;
    c->born[c->n_born++] = row_copy(2, &s, &o, 1.0);
    assert_int_equal(replay_db_write(*state, c, 1, NULL), 0);
    replay_changes_free(c);
    assert_int_equal(number(*state, "SELECT length(tokens) FROM replay_rows "
                                    "WHERE key = 1"),
                     12);
    assert_int_equal(number(*state, "SELECT length(tokens) FROM replay_rows "
                                    "WHERE key = 2"),
                     4);
    assert_int_equal(replay_db_prepare_fetch(*state, REPLAY_ROWS, &fetch, NULL),
                     0);
    assert_int_equal(replay_db_fetch(fetch, 1, &row, NULL), 0);
    assert_memory_equal(row->segment.tokens, ids, sizeof ids);
    free(row);
    run_sql(*state, "UPDATE replay_rows SET tokens = zeroblob(9) "
                    "WHERE key = 1");
    assert_int_equal(replay_db_fetch(fetch, 1, &row, NULL), 0);
    assert_null(row);
    sqlite3_finalize(fetch);
}

static void what_is_written_is_read(void **state)
{
    struct sqlite3_stmt *fetch;
    struct row *row, *expected = make_row(5);

    assert_int_equal(
        write_version(*state, REPLAY_HOLDOUT, 1, 5, 5, NULL, 0, NULL), 0);
    assert_int_equal(
        replay_db_prepare_fetch(*state, REPLAY_HOLDOUT, &fetch, NULL), 0);
    assert_int_equal(replay_db_fetch(fetch, 5, &row, NULL), 0);
    sqlite3_finalize(fetch);
    assert_int_equal(row->segment.n_tokens, 4);
    assert_int_equal(row->segment.n_masked, 1);
    assert_int_equal(row->segment.n_bytes, 11);
    assert_true(row->segment.ends);
    assert_int_equal(row->segment.domain, 3);
    assert_int_equal(row->segment.label, 2);
    assert_memory_equal(row->segment.tokens, tokens, sizeof tokens);
    assert_int_equal(row->segment.n_old_logits, 3);
    assert_memory_equal(row->segment.old_logits, logits, sizeof logits);
    assert_null(row->segment.text);
    assert_string_equal(row->origin.id, "a-17");
    assert_true(row->origin.text_hash == UINT64_MAX);
    assert_true(row->origin.offset == INT64_MAX);
    assert_true(row->nats == 12.5);
    assert_true(row_checksum(row) == row_checksum(expected));
    assert_int_equal(rows(*state), 0); /* the other table */
    free(row);
    free(expected);
}

/* Preset linear has text and no tokens; here also an empty id and an unknown
 * loss. */
static void a_row_of_text_goes_round(void **state)
{
    struct segment s = {.text = "h\0llo", .text_bytes = 5, .label = -1};
    struct segment_origin o = {.id = ""};
    struct replay_changes *c = xcalloc(1, sizeof *c);
    struct replay_segments read;
    int64_t key = 1;

    c->born = xcalloc(1, sizeof *c->born);
    c->born[c->n_born++] = row_copy(key, &s, &o, 0.0 / 0.0);
    assert_int_equal(replay_db_write(*state, c, 1, NULL), 0);
    replay_changes_free(c);
    assert_int_equal(replay_db_read(*state, REPLAY_ROWS, &key, 1, &read, NULL),
                     0);
    assert_int_equal(read.items[0].text_bytes, 5);
    assert_memory_equal(read.items[0].text, "h\0llo", 5);
    assert_int_equal(read.items[0].label, -1);
    assert_null(read.items[0].tokens);
    replay_segments_free(&read);
}

static void rows_are_read_in_the_order_asked_for(void **state)
{
    int64_t keys[] = {3, 1, 2, 3};
    struct replay_segments read;

    assert_int_equal(write_version(*state, REPLAY_ROWS, 1, 1, 3, NULL, 0, NULL),
                     0);
    run_sql(*state, "UPDATE replay_rows SET loss = 1");
    assert_int_equal(replay_db_read(*state, REPLAY_ROWS, keys, 4, &read, NULL),
                     0);
    assert_int_equal(read.n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_memory_equal(read.items[i].tokens, tokens, sizeof tokens);
    replay_segments_free(&read);
    assert_int_equal(replay_db_read(*state, REPLAY_ROWS, keys, 0, &read, NULL),
                     0);
    replay_segments_free(&read);
}

static void damage_is_found(void **state)
{
    static const char *const damages[] = {
        "UPDATE replay_rows SET domain = 4",
        "UPDATE replay_rows SET domain = -1",
        "UPDATE replay_rows SET label = 1",
        "UPDATE replay_rows SET n_tokens = 3",
        "UPDATE replay_rows SET n_tokens = 70000",
        "UPDATE replay_rows SET n_masked = 5",
        "UPDATE replay_rows SET n_bytes = 12",
        "UPDATE replay_rows SET ends = 0",
        "UPDATE replay_rows SET tokens = zeroblob(10)",
        "UPDATE replay_rows SET tokens = zeroblob(9)",
        "UPDATE replay_rows SET tokens = NULL",
        "UPDATE replay_rows SET text = 'x'",
        "UPDATE replay_rows SET logits = zeroblob(12)",
        "UPDATE replay_rows SET logits = zeroblob(11)",
        "UPDATE replay_rows SET id = 'a-18'",
        "UPDATE replay_rows SET record_offset = 1",
        "UPDATE replay_rows SET checksum = 1",
        "UPDATE replay_rows SET key = 43; "
        "UPDATE replay_rows SET key = 42 WHERE key = 43; "
        "UPDATE replay_rows SET part = 3",
        "DELETE FROM replay_rows",
    };
    struct replay_segments read;
    int64_t key = 42;

    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct err err = ERR_INIT;

        run_sql(*state, "DELETE FROM replay_rows");
        assert_int_equal(
            write_version(*state, REPLAY_ROWS, 1, 42, 42, NULL, 0, NULL), 0);
        run_sql(*state, damages[i]);
        assert_int_equal(
            replay_db_read(*state, REPLAY_ROWS, &key, 1, &read, &err), 0);
        if (read.n != 0 || read.n_damaged != 1)
            fail_msg("not found: %s", damages[i]);
        replay_segments_free(&read);
    }
}

/* Damaged rows are left out, and the others are read. */
static void damaged_rows_are_left_out(void **state)
{
    int64_t keys[] = {5, 1, 4, 2};
    struct replay_segments read;

    assert_int_equal(
        write_version(*state, REPLAY_HOLDOUT, 1, 1, 5, NULL, 0, NULL), 0);
    run_sql(*state, "DELETE FROM holdout_rows WHERE key = 5;"
                    "UPDATE holdout_rows SET tokens = zeroblob(10)"
                    " WHERE key = 4");
    assert_int_equal(
        replay_db_read(*state, REPLAY_HOLDOUT, keys, 4, &read, NULL), 0);
    assert_int_equal(read.n, 2);
    assert_int_equal(read.n_damaged, 2);
    assert_int_equal(keys[0], 1);
    assert_int_equal(keys[1], 2);
    for (size_t i = 0; i < read.n; i++)
        assert_memory_equal(read.items[i].tokens, tokens, sizeof tokens);
    replay_segments_free(&read);
}

/* An unreadable page is an error, not a missing row. */
static void a_damaged_page_is_an_error(void **state)
{
    struct sqlite3 *db = *state;
    struct replay_segments read;
    struct err err = ERR_INIT;
    sqlite3_int64 size;
    unsigned char *image;
    int64_t key = 2, page;

    assert_int_equal(
        write_version(db, REPLAY_HOLDOUT, 1, 1, 5, NULL, 0, NULL), 0);
    page = number(db, "SELECT rootpage FROM sqlite_schema"
                      " WHERE name = 'holdout_rows'");
    image = sqlite3_serialize(db, "main", &size, 0);
    assert_non_null(image);
    image[(page - 1) * size / number(db, "PRAGMA page_count")] = 0xff;
    assert_int_equal(sqlite3_deserialize(db, "main", image, size, size,
                                         SQLITE_DESERIALIZE_FREEONCLOSE),
                     SQLITE_OK);
    assert_int_equal(replay_db_read(db, REPLAY_HOLDOUT, &key, 1, &read, &err),
                     ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "restore a backup"));
}

static void count_record(void *arg, int32_t partition_id, int64_t offset)
{
    assert_int_equal(partition_id, 4);
    assert_int_equal(offset, INT64_MAX);
    ++*(int64_t *)arg;
}

/* Forgets live and dead rows by id, and by a domain between two births. */
static void rows_are_forgotten(void **state)
{
    struct replay_forget f = {.id = "a-17"};
    int64_t dead = 2, n = 0, n_found = 0;

    assert_int_equal(write_version(*state, REPLAY_ROWS, 1, 1, 5, NULL, 0, NULL),
                     0);
    assert_int_equal(
        write_version(*state, REPLAY_ROWS, 2, 6, 9, &dead, 1, NULL), 0);
    run_sql(*state, "UPDATE replay_rows SET id = 'b' WHERE key > 4");
    assert_int_equal(replay_db_forget(*state, REPLAY_ROWS, &f, count_record,
                                      &n_found, &n, NULL),
                     0);
    assert_int_equal(n, 4);
    assert_int_equal(n_found, 4);
    assert_int_equal(rows(*state), 5);
    f = (struct replay_forget){NULL, 3, 2, 7};
    assert_int_equal(replay_db_forget(*state, REPLAY_ROWS, &f, count_record,
                                      &n_found, &n, NULL),
                     0);
    assert_int_equal(n, 8);
    assert_int_equal(rows(*state), 1);
    f.domain = 2;
    f.first_born = 0;
    assert_int_equal(replay_db_forget(*state, REPLAY_ROWS, &f, count_record,
                                      &n_found, &n, NULL),
                     0);
    assert_int_equal(rows(*state), 1);
    assert_true(
        number(*state,
               "SELECT count(*) FROM sqlite_schema WHERE name LIKE"
               " '%rows_id' OR name LIKE '%rows_domain'") == 4);
}

struct seen {
    int64_t keys[8];
    size_t n;
};

static void see(void *arg, const struct row *row)
{
    struct seen *s = arg;

    assert_null(row->origin.id);
    assert_int_equal(row->segment.tokens[1], tokens[1]);
    s->keys[s->n++] = row->key;
}

/* Lists rows of records without an id, record by record; then erases some. */
static void rows_without_an_id(void **state)
{
    static const int64_t offsets[] = {9, 7, 9, 7};
    static const int64_t wanted[] = {2, 4, 1, 3};
    struct seen s = {.n = 0};
    int64_t n = 0;

    assert_int_equal(write_version(*state, REPLAY_ROWS, 1, 5, 6, NULL, 0, NULL),
                     0);
    for (int64_t key = 1; key <= 4; key++) {
        struct row *row = make_row(key), *unnamed;
        struct replay_changes *c = xcalloc(1, sizeof *c);

        row->origin.id = NULL;
        row->origin.offset = offsets[key - 1];
        unnamed = row_copy(key, &row->segment, &row->origin, 1);
        free(row);
        c->kind = REPLAY_ROWS;
        c->born = xmemdup(&unnamed, sizeof unnamed);
        c->n_born = 1;
        assert_int_equal(replay_db_write(*state, c, 1, NULL), 0);
        replay_changes_free(c);
    }
    run_sql(*state, "UPDATE replay_rows SET died = 3 WHERE key = 4");
    assert_int_equal(replay_db_each_unnamed(*state, REPLAY_ROWS, see, &s, NULL),
                     0);
    assert_int_equal(s.n, 4);
    assert_memory_equal(s.keys, wanted, sizeof wanted);
    assert_int_equal(
        replay_db_erase(*state, REPLAY_ROWS, wanted, 2, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(rows(*state), 4);
}

static void a_key_is_never_used_twice(void **state)
{
    struct err err = ERR_INIT;

    assert_int_equal(write_version(*state, REPLAY_ROWS, 1, 1, 3, NULL, 0, NULL),
                     0);
    assert_int_equal(write_version(*state, REPLAY_ROWS, 2, 3, 4, NULL, 0, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "row 3"));
}

static void no_tables_is_an_error(void **state)
{
    struct err err = ERR_INIT;
    int64_t deleted;

    run_sql(*state, "DROP TABLE holdout_rows");
    assert_int_equal(
        write_version(*state, REPLAY_HOLDOUT, 1, 1, 1, NULL, 0, &err), ERR_IO);
    assert_int_equal(replay_db_rollback(*state, 1, 2, &err), ERR_IO);
    assert_int_equal(replay_db_sweep(*state, NULL, 0, 10, &deleted, &err),
                     ERR_IO);
}

/* --- births and deaths -------------------------------------------------- */

/* Row v * 10 is born in version v. In versions 3 and 5 the row born two
 * versions before dies. */
static void five_versions(struct sqlite3 *db)
{
    for (int64_t v = 1; v <= 5; v++) {
        int64_t dead = (v - 2) * 10;

        assert_int_equal(write_version(db, REPLAY_ROWS, v, v * 10, v * 10,
                                       &dead, v == 3 || v == 5, NULL),
                         0);
    }
}

static int64_t died(struct sqlite3 *db, int64_t key)
{
    char *sql = xasprintf("SELECT died FROM replay_rows WHERE key = %lld",
                          (long long)key);
    int64_t value = number(db, sql);

    free(sql);
    return value;
}

static void rows_die_in_the_version_that_drops_them(void **state)
{
    static const int64_t keys[] = {10, 99};

    five_versions(*state);
    assert_int_equal(died(*state, 10), 3);
    assert_int_equal(died(*state, 20), -1);
    assert_int_equal(died(*state, 30), 5);
    /* A dead row stays dead; a missing row is no error. */
    assert_int_equal(
        write_version(*state, REPLAY_ROWS, 6, 60, 60, keys, 2, NULL), 0);
    assert_int_equal(died(*state, 10), 3);
}

static void rollback_brings_back_what_was_live(void **state)
{
    five_versions(*state);
    assert_int_equal(replay_db_rollback(*state, 2, 5, NULL), 0);
    assert_int_equal(died(*state, 10), -1); /* died in 3 */
    assert_int_equal(died(*state, 20), -1);
    assert_int_equal(died(*state, 30), 5); /* born and dead */
    assert_int_equal(died(*state, 40), 6); /* after 2 */
    assert_int_equal(died(*state, 50), 6);
    /* Then goes to a version of the branch that was left. */
    assert_int_equal(replay_db_rollback(*state, 4, 5, NULL), 0);
    assert_int_equal(died(*state, 30), -1);
    assert_int_equal(died(*state, 40), -1);
    assert_int_equal(died(*state, 50), 6);
}

static void sweep_leaves_what_a_kept_version_has(void **state)
{
    static const int64_t all[] = {1, 2, 3, 4, 5}, some[] = {1, 3}, newest = 5;
    int64_t deleted;

    five_versions(*state);
    assert_int_equal(replay_db_sweep(*state, all, 5, 100, &deleted, NULL), 0);
    assert_int_equal(deleted, 0);
    /* 10 lived in 1 and 2, 30 in 3 and 4 */
    assert_int_equal(replay_db_sweep(*state, some, 2, 100, &deleted, NULL), 0);
    assert_int_equal(deleted, 0);
    assert_int_equal(replay_db_sweep(*state, &newest, 1, 0, &deleted, NULL), 0);
    assert_int_equal(deleted, 0);
    assert_int_equal(replay_db_sweep(*state, &newest, 1, 1, &deleted, NULL), 0);
    assert_int_equal(deleted, 1);
    assert_int_equal(died(*state, 30), 5); /* the older one is deleted first */
    assert_int_equal(replay_db_sweep(*state, &newest, 1, 9, &deleted, NULL), 0);
    assert_int_equal(deleted, 1);
    assert_int_equal(rows(*state), 3);
}

static void sweep_counts_both_tables(void **state)
{
    static const int64_t dead[] = {1, 2, 3};
    int64_t deleted;

    for (int kind = REPLAY_ROWS; kind <= REPLAY_HOLDOUT; kind++) {
        assert_int_equal(write_version(*state, (enum replay_kind)kind, 1, 1, 4,
                                       NULL, 0, NULL),
                         0);
        assert_int_equal(write_version(*state, (enum replay_kind)kind, 2, 9, 9,
                                       dead, 3, NULL),
                         0);
    }
    assert_int_equal(replay_db_sweep(*state, NULL, 0, 4, &deleted, NULL), 0);
    assert_int_equal(deleted, 4);
    assert_int_equal(replay_db_sweep(*state, NULL, 0, 4, &deleted, NULL), 0);
    assert_int_equal(deleted, 2);
}

static void insert_lives(struct sqlite3 *db, int64_t n, const char *born,
                         const char *died)
{
    char *sql = sqlite3_mprintf(
        "WITH RECURSIVE i (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE"
        " x < %lld) INSERT INTO replay_rows SELECT x, %s, %s, 0, -1, 0, x, 0,"
        " NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0 FROM i",
        n, born, died);

    run_sql(db, sql);
    sqlite3_free(sql);
}

/* Applies the plain rule, row by row. */
static int64_t count_unkept(struct sqlite3 *db, const int64_t *kept, size_t n)
{
    struct sqlite3_stmt *stmt;
    int64_t unkept = 0;

    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT born, died FROM replay_rows"
                                        " WHERE died IS NOT NULL",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        bool is_kept = false;

        for (size_t i = 0; i < n; i++)
            is_kept |= kept[i] >= sqlite3_column_int64(stmt, 0) &&
                       kept[i] < sqlite3_column_int64(stmt, 1);
        unkept += !is_kept;
    }
    sqlite3_finalize(stmt);
    return unkept;
}

static void sweep_finds_all_that_nothing_keeps(void **state)
{
    for (int64_t round = 0; round < 40; round++) {
        int64_t kept[40], deleted, unkept, before;
        size_t n = 0;

        run_sql(*state, "DELETE FROM replay_rows");
        insert_lives(*state, 300, "1 + abs(random() % 40)",
                     "CASE abs(random() % 4) WHEN 0 THEN NULL ELSE 41 END");
        run_sql(*state, "UPDATE replay_rows SET died = born + 1 +"
                        " abs(random() % 20) WHERE died IS NOT NULL");
        for (int64_t v = 1; v <= 40; v++)
            if ((v * 7 + round * 13) % 11 < round % 6)
                kept[n++] = v;
        unkept = count_unkept(*state, kept, n);
        before = rows(*state);
        assert_int_equal(
            replay_db_sweep(*state, kept, n, 1000, &deleted, NULL), 0);
        assert_int_equal(deleted, unkept);
        assert_int_equal(rows(*state), before - unkept);
        assert_int_equal(count_unkept(*state, kept, n), 0);
    }
}

static int64_t n_instructions;

static int count_instruction(void *arg)
{
    (void)arg;
    n_instructions++;
    return 0;
}

/* 100,000 rows died in 500 versions, which are all kept. The work of a sweep
 * must depend on the versions, not on the rows. */
static void sweep_reads_no_row_that_stays(void **state)
{
    int64_t kept[500], deleted;

    insert_lives(*state, 100000, "1 + x % 500", "2 + x % 500");
    for (int64_t i = 0; i < 500; i++)
        kept[i] = i + 1;
    n_instructions = 0;
    sqlite3_progress_handler(*state, 1, count_instruction, NULL);
    assert_int_equal(replay_db_sweep(*state, kept, 500, 20000, &deleted, NULL),
                     0);
    assert_int_equal(deleted, 0);
    assert_in_range(n_instructions, 1, 30000);
    printf("# nothing to sweep of 100000 rows: %d instructions\n",
           (int)n_instructions);
    /* One version is removed, and with it its rows. */
    memmove(&kept[250], &kept[251], 249 * sizeof *kept);
    n_instructions = 0;
    assert_int_equal(replay_db_sweep(*state, kept, 499, 20000, &deleted, NULL),
                     0);
    sqlite3_progress_handler(*state, 0, NULL, NULL);
    assert_int_equal(deleted, 200);
    assert_int_equal(number(*state, "SELECT count(*) FROM replay_rows WHERE"
                                    " born = 251"),
                     0);
    assert_in_range(n_instructions, 1, 60000);
    printf("# 200 to sweep of 100000 rows: %d instructions\n",
           (int)n_instructions);
}

/* Both statements of the sweep must only use the index (died, born). */
static void sweep_uses_the_index(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        char *sql = sqlite3_mprintf(replay_db_sweep_sql[i], "replay");
        char *explain = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);
        struct sqlite3_stmt *stmt;
        const char *plan;

        assert_int_equal(sqlite3_prepare_v2(*state, explain, -1, &stmt, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        plan = (const char *)sqlite3_column_text(stmt, 3);
        assert_non_null(strstr(plan, "SEARCH"));
        assert_non_null(strstr(plan, "COVERING INDEX replay_rows_life"));
        assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
        sqlite3_finalize(stmt);
        sqlite3_free(explain);
        sqlite3_free(sql);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wide_ids_take_four_bytes),
        TEST(what_is_written_is_read),
        TEST(a_row_of_text_goes_round),
        TEST(rows_are_read_in_the_order_asked_for),
        TEST(damage_is_found),
        TEST(damaged_rows_are_left_out),
        TEST(a_damaged_page_is_an_error),
        TEST(rows_are_forgotten),
        TEST(rows_without_an_id),
        TEST(a_key_is_never_used_twice),
        TEST(no_tables_is_an_error),
        TEST(rows_die_in_the_version_that_drops_them),
        TEST(rollback_brings_back_what_was_live),
        TEST(sweep_leaves_what_a_kept_version_has),
        TEST(sweep_counts_both_tables),
        TEST(sweep_finds_all_that_nothing_keeps),
        TEST(sweep_reads_no_row_that_stays),
        TEST(sweep_uses_the_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
