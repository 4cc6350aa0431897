/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalog: what was published is read back, in pages, from one moment; by
 * many at once; and where nothing may be written.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "store/store.h"
#include "store/store_private.h"
#include "tests/util/store_util.h"

static void test_empty(void **state)
{
    const struct catalog_quarantine_filter all = {0};
    struct util_both b = util_open_both(*state);
    struct catalog_version v, *versions;
    struct catalog_pointers p;
    struct catalog_history *h;
    struct catalog_offset *o;
    struct catalog_range *r;
    struct catalog_quarantine *q;
    struct err err = ERR_INIT;
    size_t n;

    assert_string_equal(catalog_dir(b.c), *state);
    assert_int_equal(catalog_get(b.c, 1, &v, &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "version 1"));
    assert_int_equal(catalog_list(b.c, 0, 0, &versions, &n, NULL), 0);
    assert_int_equal(n, 0);
    free(versions);
    assert_int_equal(catalog_pointers(b.c, &p, NULL), 0);
    assert_int_equal(p.head + p.serving + p.newest, 0);
    assert_int_equal(catalog_history(b.c, 0, &h, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(catalog_partitions(b.c, &o, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(catalog_skipped(b.c, &r, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(catalog_quarantine_find(b.c, &all, &q, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(catalog_check(b.c, NULL), 0);
    catalog_close(NULL);
    util_close_both(&b);
}

static void test_version(void **state)
{
    const struct store_domain_result results[] = {
        {"mail", (double)NAN, 0.75, 3}, {"logs", 2.5, (double)NAN, 12}};
    struct util_both b = util_open_both(*state);
    struct catalog_version v;

    util_publish(b.s, 0, 3);
    assert_int_equal(catalog_get(b.c, 1, &v, NULL), 0);
    assert_int_equal(v.version, 1);
    assert_int_equal(v.parent, 0);
    assert_int_equal(v.created_ms, 3000);
    assert_int_equal(v.step, 30);
    assert_int_equal(v.tokens_seen, 1536);
    assert_int_equal(strlen(v.weights_sha256), 64);
    assert_int_equal(v.state, STORE_PENDING);
    assert_true(v.head);
    assert_false(v.serving || v.pinned);
    assert_null(v.gate_json);
    assert_string_equal(v.metadata_json, "{\"kernels\":\"\xc3\xa4\"}");
    assert_true(v.bytes > 1000);
    assert_int_equal(v.n_offsets, 2);
    assert_string_equal(v.offsets[0].topic, "text");
    assert_int_equal(v.offsets[0].next_offset, 312);
    assert_int_equal(v.offsets[0].tokens_done, 3);
    assert_int_equal(v.offsets[0].last_learned, 311);
    assert_true(v.offsets[0].last_hash == UINT64_MAX - 3);
    assert_int_equal(v.offsets[1].partition_id, 1);
    assert_int_equal(v.offsets[1].partition, 1);
    assert_int_equal(v.offsets[1].last_learned, -1);
    assert_int_equal(v.n_domains, 0);
    catalog_version_release(&v);

    assert_int_equal(store_verdict(b.s, 1, STORE_INCONCLUSIVE, "{\"n\":1}",
                                   NULL, results, 2, true, "", NULL),
                     0);
    assert_int_equal(store_pin(b.s, 1, true, NULL), 0);
    assert_int_equal(catalog_get(b.c, 1, &v, NULL), 0);
    assert_int_equal(v.state, STORE_INCONCLUSIVE);
    assert_true(v.head && v.serving && v.pinned);
    assert_string_equal(v.gate_json, "{\"n\":1}");
    assert_int_equal(v.n_domains, 2);
    assert_string_equal(v.domains[0].domain, "logs");
    assert_true(v.domains[0].bits_per_byte == 2.5);
    assert_true(isnan(v.domains[0].accuracy));
    assert_int_equal(v.domains[0].chunks, 12);
    assert_true(isnan(v.domains[1].bits_per_byte));
    assert_true(v.domains[1].accuracy == 0.75);
    catalog_version_release(&v);
    catalog_version_release(&v); /* empty now */
    util_close_both(&b);
}

/* The digest that users compare: of the digests of weights, head and n-gram
 * memory. */
static void test_weights_sha256(void **state)
{
    static const char *const names[] = {"model", "head", "ngram"};
    struct util_both b = util_open_both(*state);
    struct catalog_version one, two;
    struct buf digests = BUF_INIT;
    char sha256[SHA256_HEX];

    util_publish(b.s, 0, 1);
    util_publish(b.s, 1, 2);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = xasprintf("%s/versions/000001/%s.safetensors",
                               (const char *)*state, names[i]);

        assert_int_equal(checksum_sha256_file(path, sha256, NULL), 0);
        buf_adds(&digests, sha256);
        free(path);
    }
    checksum_sha256(digests.data, digests.len, sha256);
    assert_int_equal(catalog_get(b.c, 1, &one, NULL), 0);
    assert_int_equal(catalog_get(b.c, 2, &two, NULL), 0);
    assert_string_equal(one.weights_sha256, sha256);
    assert_string_not_equal(two.weights_sha256, sha256);
    catalog_version_release(&one);
    catalog_version_release(&two);
    buf_release(&digests);
    util_close_both(&b);
}

static void assert_list(struct catalog *c, int64_t before, size_t limit,
                        int64_t first, size_t expected)
{
    struct catalog_version *versions;
    size_t n;

    assert_int_equal(catalog_list(c, before, limit, &versions, &n, NULL), 0);
    assert_int_equal(n, expected);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(versions[i].version, first - (int64_t)i);
        assert_int_equal(versions[i].n_offsets, 2);
    }
    catalog_versions_free(versions, n);
}

static void test_list(void **state)
{
    struct util_both b = util_open_both(*state);

    for (int64_t i = 1; i <= 20; i++)
        util_pass(b.s, i, i == 5);
    assert_list(b.c, 0, 0, 20, 20);
    assert_list(b.c, 0, 3, 20, 3);
    assert_list(b.c, 18, 100, 17, 17);
    assert_list(b.c, 3, 1, 2, 1);
    assert_list(b.c, 1, 0, 0, 0);
    util_close_both(&b);
}

static void test_passed_before(void **state)
{
    struct util_both b = util_open_both(*state);
    int64_t passed = -1;

    for (int64_t i = 1; i <= 6; i++) {
        if (i == 2 || i == 3)
            util_pass(b.s, i, false);
        else
            util_publish(b.s, i - 1, i);
    }
    assert_int_equal(catalog_passed_before(b.c, 6, &passed, NULL), 0);
    assert_int_equal(passed, 3);
    assert_int_equal(catalog_passed_before(b.c, 3, &passed, NULL), 0);
    assert_int_equal(passed, 2);
    assert_int_equal(catalog_passed_before(b.c, 2, &passed, NULL), 0);
    assert_int_equal(passed, 0);
    util_close_both(&b);
}

static void test_partitions(void **state)
{
    struct util_both b = util_open_both(*state);
    struct catalog_offset *o;
    size_t n;

    util_publish(b.s, 0, 1);
    util_publish(b.s, 1, 2);
    assert_int_equal(catalog_partitions(b.c, &o, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(o[1].partition_id, 1);
    assert_string_equal(o[1].topic, "text");
    assert_int_equal(o[1].partition, 1);
    assert_int_equal(o[1].last_learned, -1);
    catalog_offsets_free(o, n);
    util_close_both(&b);
}

static void test_quarantine(void **state)
{
    const struct catalog_quarantine_filter all = {0};
    const struct catalog_quarantine_filter newest = {.limit = 1};
    struct util_both b = util_open_both(*state);
    struct catalog_quarantine *q;
    struct util_version v;
    int64_t version, row;
    size_t n;

    util_publish(b.s, 0, 1);
    util_publish(b.s, 1, 2);
    assert_int_equal(catalog_quarantine_find(b.c, &all, &q, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(q[0].offset, 200);
    assert_int_equal(q[1].offset, 100);
    assert_int_equal(q[1].partition, 1);
    assert_string_equal(q[1].topic, "text");
    assert_string_equal(q[1].reason, "not_utf8");
    assert_int_equal(q[1].n_bytes, 3);
    assert_memory_equal(q[1].bytes, "\xff\0x", 4);
    row = q[1].row;
    catalog_quarantine_free(q, n);

    /* The same record once more, after a rollback: one row. */
    util_version_init(&v, 2, 1);
    v.quarantine[0].reason = "empty";
    v.quarantine[0].bytes = NULL;
    v.quarantine[0].n_bytes = 0;
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    assert_int_equal(catalog_quarantine_find(b.c, &all, &q, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(q[1].row, row);
    assert_string_equal(q[1].reason, "empty");
    assert_int_equal(q[1].n_bytes, 0);
    assert_non_null(q[1].bytes);
    catalog_quarantine_free(q, n);
    assert_int_equal(catalog_quarantine_find(b.c, &newest, &q, &n, NULL), 0);
    assert_int_equal(n, 1);
    catalog_quarantine_free(q, n);
    util_version_release(&v);
    util_close_both(&b);
}

/* The oldest go when there is too much. */
static void test_quarantine_cap(void **state)
{
    struct util_both b = util_open_both(*state);
    struct util_version v;
    struct store_quarantine_row *rows = xcalloc(10050, sizeof *rows);
    size_t large_bytes = (size_t)30 << 20;
    char *large = xcalloc(1, large_bytes);
    int64_t version;

    for (int i = 0; i < 10050; i++)
        rows[i] = (struct store_quarantine_row){
            .offset = i, .reason = "empty", .bytes = "x", .n_bytes = 1};
    util_version_init(&v, 0, 1);
    v.p.quarantine = rows;
    v.p.n_quarantine = 10050;
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    assert_int_equal(util_number(b.s, "SELECT count(*) FROM quarantine"),
                     10000);
    assert_int_equal(
        util_number(b.s, "SELECT min(record_offset) FROM quarantine"), 50);
    for (int i = 0; i < 3; i++)
        rows[i] = (struct store_quarantine_row){.offset = 20000 + i,
                                                .reason = "large",
                                                .bytes = large,
                                                .n_bytes = large_bytes};
    v.p.parent = 1;
    v.p.n_quarantine = 3;
    assert_int_equal(store_publish(b.s, &v.p, &version, NULL), 0);
    assert_int_equal(util_number(b.s, "SELECT count(*) FROM quarantine"), 2);
    assert_int_equal(
        util_number(b.s, "SELECT min(record_offset) FROM quarantine"), 20001);
    util_version_release(&v);
    free(large);
    free(rows);
    util_close_both(&b);
}

/* The connection for other parts' statements: reads, and only reads. */
static void test_connection(void **state)
{
    struct util_both b = util_open_both(*state);
    sqlite3 *db;
    sqlite3_stmt *q;

    util_publish(b.s, 0, 1);
    db = catalog_lock(b.c);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM settings", NULL, NULL, NULL),
                     SQLITE_READONLY);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT max(version) FROM versions",
                                        -1, &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(q, 0), 1);
    sqlite3_finalize(q);
    catalog_unlock(b.c);
    util_close_both(&b);
}

/* With nothing running: after a clean end, and from a copy of a store whose
 * daemon was killed. Readers leave the log as it was. */
static void test_offline(void **state)
{
    static const char *const files[] = {"mneme.db", "mneme.db-wal"};
    char *other = xasprintf("%s/copy", (const char *)*state);
    struct util_both b = util_open_both(*state);
    struct catalog *c;
    struct stat st;
    char *wal = xasprintf("%s/mneme.db-wal", other);
    off_t before;

    util_pass(b.s, 1, true);
    util_pass(b.s, 2, true);
    assert_int_equal(fileio_mkdirs(other, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        char *from = fileio_join(*state, files[i]);
        char *to = fileio_join(other, files[i]);
        struct buf bytes = BUF_INIT;

        assert_int_equal(fileio_read(from, 1 << 26, &bytes, NULL), 0);
        assert_int_equal(fileio_write_sync(to, bytes.data, bytes.len, NULL), 0);
        buf_release(&bytes);
        free(to);
        free(from);
    }
    util_close_both(&b);
    assert_int_equal(catalog_open(*state, &c, NULL), 0);
    assert_list(c, 0, 0, 2, 2);
    catalog_close(c);
    assert_int_equal(stat(wal, &st), 0);
    before = st.st_size;
    assert_true(before > 0);
    assert_int_equal(catalog_open(other, &c, NULL), 0);
    assert_list(c, 0, 0, 2, 2);
    catalog_close(c);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_size, before);
    assert_int_equal(fileio_remove_dir(other, NULL), 0);
    free(wal);
    free(other);
}

static void test_check(void **state)
{
    struct util_both b = util_open_both(*state);
    char *path = fileio_join(*state, "mneme.db");
    struct buf bytes = BUF_INIT;
    struct catalog *c;
    struct err err = ERR_INIT;
    int rc;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(b.s, i, true);
    util_close_both(&b);
    assert_int_equal(fileio_read(path, 1 << 26, &bytes, NULL), 0);
    memset(bytes.data + 3 * 4096, 0xee, bytes.len - 3 * 4096);
    assert_int_equal(fileio_write_sync(path, bytes.data, bytes.len, NULL), 0);
    rc = catalog_open(*state, &c, &err);
    if (rc == 0) {
        rc = catalog_check(c, &err);
        catalog_close(c);
    }
    assert_int_equal(rc, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, path));
    buf_release(&bytes);
    free(path);
}

static void test_check_references(void **state)
{
    struct util_both b = util_open_both(*state);
    struct err err = ERR_INIT;

    util_pass(b.s, 1, true);
    assert_int_equal(sqlite3_exec(db_handle(b.s->db),
                                  "PRAGMA foreign_keys=OFF;"
                                  "DELETE FROM partitions WHERE id = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(catalog_check(b.c, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "partitions"));
    util_close_both(&b);
}

/* --- a store from somebody else ----------------------------------------- */

static void run_sql(struct store *s, const char *sql)
{
    assert_int_equal(sqlite3_exec(db_handle(s->db), sql, NULL, NULL, NULL),
                     SQLITE_OK);
}

/* Values out of range, with all checksums right: one of the readers refuses. */
static void test_foreign_numbers(void **state)
{
    static const char *const changes[] = {
        "UPDATE pointers SET newest = 9223372036854775807",
        "UPDATE pointers SET head = 99",
        "UPDATE pointers SET serving = -1",
        "UPDATE versions SET parent = version",
        "UPDATE versions SET step = -1",
        "UPDATE versions SET tokens_seen = 9223372036854775807",
        "UPDATE versions SET bytes = 'x'",
        "UPDATE version_files SET bytes = -1",
        "UPDATE version_files SET name = '../labels.json'"
        " WHERE name = 'labels.json'",
        "UPDATE offsets SET next_offset = 9223372036854775807",
        "UPDATE offsets SET tokens_done = -1",
        "UPDATE partitions SET partition = 4294967296 WHERE id = 0",
        "UPDATE partitions SET topic = x'ff' WHERE id = 0",
        "UPDATE ledger SET last_offset = 9223372036854775807",
        "UPDATE ledger SET kind = 'x'",
        "UPDATE ledger SET step = -1",
    };

    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct util_both b = util_open_both(*state);
        struct store_ledger_run *runs = NULL;
        struct catalog_pointers p;
        struct catalog_version v = {0};
        struct err err = ERR_INIT;
        int64_t version = util_pass(b.s, (int64_t)i, true);
        size_t n;
        int rc;

        run_sql(b.s, "SAVEPOINT tampered");
        run_sql(b.s, changes[i]);
        run_sql(b.s, "RELEASE tampered");
        rc = catalog_pointers(b.c, &p, &err);
        if (rc == 0)
            rc = catalog_get(b.c, version, &v, &err);
        if (rc == 0)
            rc = store_verify(b.c, version, &err);
        if (rc == 0)
            rc = catalog_ledger(b.c, version, &runs, &n, &err);
        if (rc != ERR_CORRUPT)
            print_message("%s\n", changes[i]);
        assert_int_equal(rc, ERR_CORRUPT);
        free(runs);
        catalog_version_release(&v);
        util_close_both(&b);
        util_remove_temp(state);
        util_make_temp(state);
    }
}

/* No query walks for ever over versions that refer to themselves. */
static void test_base_that_turns(void **state)
{
    struct util_both b = util_open_both(*state);
    int64_t version = util_pass(b.s, 1, true);
    char *guard = NULL;

    run_sql(b.s, "UPDATE versions SET base = version, guard = NULL");
    assert_int_equal(catalog_guard(b.c, version, &guard, NULL), 0);
    assert_null(guard);
    (void)util_totals(b.c, version);
    util_close_both(&b);
}

static void test_foreign_schema(void **state)
{
    static const char *const changes[] = {
        "CREATE TRIGGER t AFTER INSERT ON versions BEGIN"
        " DELETE FROM version_files; END",
        "CREATE VIEW v AS SELECT * FROM versions",
        "CREATE INDEX i ON versions (abs(step))",
        "DROP TRIGGER history_delete",
        "ALTER TABLE versions DROP COLUMN guard",
        "DROP TABLE releases",
    };

    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct store *s = util_open_store(*state);
        struct catalog *c = NULL;
        struct err err = ERR_INIT;

        util_pass(s, 1, true);
        run_sql(s, changes[i]);
        store_close(s);
        assert_int_equal(catalog_open(*state, &c, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "mneme.db"));
        assert_int_equal(store_open(*state, NULL, 0, &s, &err), ERR_CORRUPT);
        util_remove_temp(state);
        util_make_temp(state);
    }
}

static void test_metadata_is_compared(void **state)
{
    struct util_both b = util_open_both(*state);
    int64_t version = util_pass(b.s, 1, true);
    struct err err = ERR_INIT;

    assert_int_equal(store_verify(b.c, version, &err), 0);
    run_sql(b.s, "UPDATE versions SET metadata = '{\"settings\": {}}'");
    assert_int_equal(store_verify(b.c, version, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "metadata"));
    util_close_both(&b);
}

/* A link could lead out of the store, and a FIFO would block. */
static void test_plain_files_only(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct util_both b = util_open_both(*state);
        int64_t version = util_pass(b.s, 1, true);
        char *path = util_file_of(*state, version, "labels.json");
        char *copy = xasprintf("%s.copy", path);
        struct buf text = BUF_INIT;
        struct err err = ERR_INIT;

        assert_int_equal(rename(path, copy), 0);
        assert_int_equal(kind ? mkfifo(path, 0600) : symlink(copy, path), 0);
        assert_int_equal(
            store_load_text(b.c, version, "labels.json", &text, &err),
            ERR_CORRUPT);
        assert_int_equal(store_verify(b.c, version, &err), ERR_CORRUPT);
        buf_release(&text);
        free(copy);
        free(path);
        util_close_both(&b);
        util_remove_temp(state);
        util_make_temp(state);
    }
}

static void test_state_names(void **state)
{
    (void)state;
    assert_string_equal(store_state_name(STORE_PENDING), "pending");
    assert_string_equal(store_state_name(STORE_ROLLED_BACK), "rolled_back");
    assert_string_equal(store_state_name(STORE_DAMAGED), "damaged");
}

/* --- what the guard finds again ----------------------------------------- */

static void know(struct util_both *b, int64_t version, const char *guard)
{
    assert_int_equal(store_verdict(b->s, version, STORE_PASSED, "{}", guard,
                                   NULL, 0, true, "", NULL),
                     0);
}

static void assert_guard(struct util_both *b, int64_t version,
                         const char *expected)
{
    char *guard;

    assert_int_equal(catalog_guard(b->c, version, &guard, NULL), 0);
    if (expected)
        assert_string_equal(guard, expected);
    else
        assert_null(guard);
    free(guard);
}

static void go_back(struct util_both *b, int64_t to, const char *mode,
                    bool automatic, const char *guard)
{
    const struct store_rollback rollback = {.to = to,
                                            .mode = mode,
                                            .reason = "automatic skip: not",
                                            .automatic = automatic,
                                            .guard = guard};

    assert_int_equal(store_rollback(b->s, &rollback, NULL), 0);
}

static void test_guard(void **state)
{
    struct util_both b = util_open_both(*state);

    assert_guard(&b, 1, NULL);
    util_publish(b.s, 0, 1);
    assert_guard(&b, 1, NULL);
    know(&b, 1, NULL); /* a store of before */
    util_publish(b.s, 1, 2);
    know(&b, 2, "two");
    util_publish(b.s, 2, 3); /* never judged */
    util_publish(b.s, 3, 4);
    assert_guard(&b, 4, "two");
    know(&b, 4, "four");
    assert_guard(&b, 4, "four");
    assert_guard(&b, 3, "two");
    assert_guard(&b, 1, NULL);
    go_back(&b, 2, "skip", true, "two again");
    assert_guard(&b, 2, "two again");
    assert_guard(&b, 4, "four");
    go_back(&b, 1, "rewind", true, NULL);
    assert_guard(&b, 1, NULL);
    util_close_both(&b);
}

static size_t went_back(struct util_both *b, int64_t at_ms[3])
{
    size_t n;

    assert_int_equal(catalog_auto_rollbacks(b->c, 3, at_ms, &n, NULL), 0);
    return n;
}

static void test_went_back(void **state)
{
    struct util_both b = util_open_both(*state);
    _Atomic int64_t now = 1000;
    int64_t at_ms[3];

    timing_set_fake(&now);
    for (int64_t i = 1; i <= 3; i++)
        util_pass(b.s, i, true);
    assert_int_equal(went_back(&b, at_ms), 0);
    for (int i = 0; i < 4; i++) {
        now += 1000;
        go_back(&b, 3, "skip", true, NULL);
    }
    now = 500; /* the clock is set */
    go_back(&b, 2, "skip", true, NULL);
    assert_int_equal(went_back(&b, at_ms), 3);
    assert_int_equal(at_ms[0], 500);
    assert_int_equal(at_ms[1], 5000);
    assert_int_equal(at_ms[2], 4000);
    /* Away from damage is neither. */
    go_back(&b, 1, "rewind", true, NULL);
    assert_int_equal(store_set_state(b.s, 1, STORE_DAMAGED, "", NULL), 0);
    assert_int_equal(store_serve_instead(b.s, 2, "1 is damaged", NULL), 0);
    assert_int_equal(went_back(&b, at_ms), 3);
    /* An operator's choice, and another. */
    assert_int_equal(store_serve(b.s, 3, true, "by hand", NULL), 0);
    assert_int_equal(went_back(&b, at_ms), 0);
    go_back(&b, 2, "skip", true, NULL);
    assert_int_equal(went_back(&b, at_ms), 1);
    go_back(&b, 2, "skip", false, NULL);
    assert_int_equal(went_back(&b, at_ms), 0);
    timing_set_fake(NULL);
    util_close_both(&b);
}

static void assert_hold(struct util_both *b, int64_t version, bool ended,
                        const char *reason)
{
    struct catalog_pause hold;

    assert_int_equal(catalog_pause(b->c, &hold, NULL), 0);
    assert_int_equal(hold.version, version);
    assert_int_equal(hold.ended, ended);
    if (reason)
        assert_string_equal(hold.reason, reason);
    else
        assert_null(hold.reason);
    free(hold.reason);
}

static void test_hold(void **state)
{
    struct util_both b = util_open_both(*state);

    assert_hold(&b, 0, false, NULL);
    util_pass(b.s, 1, true);
    util_pass(b.s, 2, true);
    assert_int_equal(store_pause(b.s, "three times", NULL), 0);
    assert_hold(&b, 2, false, "three times");
    go_back(&b, 1, "rewind", true, NULL);
    assert_int_equal(store_pin(b.s, 1, true, NULL), 0);
    assert_hold(&b, 2, false, "three times");
    assert_int_equal(store_serve(b.s, 2, false, NULL, NULL), 0);
    assert_hold(&b, 2, true, "three times");
    assert_int_equal(store_pause(b.s, "again", NULL), 0);
    assert_hold(&b, 1, false, "again");
    go_back(&b, 2, "skip", false, NULL);
    assert_hold(&b, 1, true, "again");
    /* What served is damaged: the daemon's choice is none, an operator's is. */
    assert_int_equal(store_pause(b.s, "and again", NULL), 0);
    assert_int_equal(store_set_state(b.s, 2, STORE_DAMAGED, "", NULL), 0);
    assert_int_equal(store_serve_instead(b.s, 1, NULL, NULL), 0);
    assert_hold(&b, 2, false, "and again");
    assert_int_equal(store_set_state(b.s, 1, STORE_DAMAGED, "", NULL), 0);
    util_pass(b.s, 3, false);
    assert_int_equal(store_serve(b.s, 3, true, NULL, NULL), 0);
    assert_hold(&b, 2, true, "and again");
    util_close_both(&b);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_empty),
        T(test_version),
        T(test_list),
        T(test_weights_sha256),
        T(test_passed_before),
        T(test_partitions),
        T(test_quarantine),
        T(test_quarantine_cap),
        T(test_connection),
        T(test_offline),
        T(test_check),
        T(test_check_references),
        T(test_guard),
        T(test_went_back),
        T(test_hold),
        T(test_foreign_numbers),
        T(test_base_that_turns),
        T(test_foreign_schema),
        T(test_metadata_is_compared),
        T(test_plain_files_only),
        cmocka_unit_test(test_state_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
