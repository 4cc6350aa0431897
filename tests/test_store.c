/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: a version is there whole or not at all, whatever fails or dies in
 * between; what becomes of it afterwards; what retention leaves.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "store/pages.h"
#include "store/db.h"
#include "store/retention.h"
#include "store/store.h"
#include "tests/fault_vfs.h"
#include "tests/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct store *open_store(const char *dir)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;

    if (store_open(dir, NULL, 0, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

static struct catalog *open_catalog(const char *dir)
{
    struct catalog *c = NULL;
    struct err err = ERR_INIT;

    if (catalog_open(dir, &c, &err) != 0)
        fail_msg("%s", err.msg);
    return c;
}

static char *file_of(const char *dir, int64_t version, const char *name)
{
    return xasprintf("%s/versions/%06lld/%s", dir, (long long)version, name);
}

/* --- opening ------------------------------------------------------------ */

static void test_open(void **state)
{
    struct store *s = open_store(*state);
    struct store *second = NULL;
    struct err err = ERR_INIT;
    char pid[32];
    char id[33];
    char *value;

    assert_int_equal(strlen(store_id(s)), 32);
    snprintf(id, sizeof id, "%s", store_id(s));
    assert_string_equal(store_dir(s), *state);
    assert_int_equal(store_open(*state, NULL, 0, &second, &err), ERR_STATE);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(err.msg, pid));

    assert_int_equal(store_setting_get(s, "shards", &value, NULL), 0);
    assert_null(value);
    assert_int_equal(store_setting_put(s, "shards", "2", NULL), 0);
    assert_int_equal(store_setting_put(s, "shards", "4", NULL), 0);
    store_close(s);

    s = open_store(*state);
    assert_string_equal(store_id(s), id);
    assert_int_equal(store_setting_get(s, "shards", &value, NULL), 0);
    assert_string_equal(value, "4");
    free(value);
    assert_int_equal(util_number(s, "PRAGMA synchronous"), 2);
    assert_int_equal(util_number(s, "PRAGMA foreign_keys"), 1);
    assert_int_equal(util_number(s, "PRAGMA secure_delete"), 1);
    assert_int_equal(util_number(s, "PRAGMA user_version"), DB_SCHEMA);
    store_close(s);
    store_close(NULL);
}

static void run_sql(const char *dir, const char *sql)
{
    char *path = fileio_join(dir, "mneme.db");
    sqlite3 *db;

    assert_int_equal(
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, pages_vfs()),
        SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
}

static void test_newer(void **state)
{
    struct store *s = open_store(*state);
    struct catalog *c = NULL;
    struct err err = ERR_INIT;

    store_close(s);
    run_sql(*state, "PRAGMA user_version=7");
    assert_int_equal(store_open(*state, NULL, 0, &s, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "made by a newer mneme (schema 7, this "
                                    "program knows "));
    assert_non_null(strstr(err.msg, "): upgrade"));
    assert_non_null(strstr(err.msg, "mneme.db"));
    assert_int_equal(catalog_open(*state, &c, &err), ERR_STATE);
    run_sql(*state, "PRAGMA application_id=5");
    assert_int_equal(store_open(*state, NULL, 0, &s, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "not one of mneme's"));
}

static void test_not_a_store(void **state)
{
    char *path = fileio_join(*state, "mneme.db");
    struct store *s;
    struct catalog *c;
    struct err err = ERR_INIT;

    assert_int_equal(catalog_open(*state, &c, &err), ERR_NOTFOUND);
    assert_int_equal(fileio_write_sync(path, "", 0, NULL), 0);
    assert_int_equal(catalog_open(*state, &c, &err), ERR_NOTFOUND);
    assert_int_equal(
        fileio_write_sync(path,
                          "this is a text file, not a database, and it "
                          "is long enough to have a header of its own "
                          "that is read as one ........................",
                          120, NULL),
        0);
    assert_int_equal(store_open(*state, NULL, 0, &s, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(catalog_open(*state, &c, &err), ERR_CORRUPT);
    assert_int_equal(store_open("/proc/mneme", NULL, 0, &s, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "/proc/mneme"));
    free(path);
}

static void test_parts(void **state)
{
    static const char *const statements[] = {"CREATE TABLE part_a (x)",
                                             "INSERT INTO part_a VALUES (1)",
                                             "INSERT INTO part_a VALUES (2)"};
    static const char *const broken[] = {"CREATE TABLE part_b (x)",
                                         "CREATE nonsense"};
    struct store_schema part = {"a", statements, 2};
    struct store_schema bad = {"b", broken, 2};
    struct store *s;
    struct err err = ERR_INIT;

    assert_int_equal(store_open(*state, &part, 1, &s, NULL), 0);
    store_close(s);
    part.n = 3; /* a later program has one more */
    assert_int_equal(store_open(*state, &part, 1, &s, NULL), 0);
    assert_int_equal(util_number(s, "SELECT count(*) FROM part_a"), 2);
    store_close(s);
    part.n = 2;
    assert_int_equal(store_open(*state, &part, 1, &s, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "newer"));
    assert_int_equal(store_open(*state, &bad, 1, &s, &err), ERR_IO);
    s = open_store(*state); /* all or nothing, and the lock is free again */
    assert_int_equal(util_number(s, "SELECT count(*) FROM sqlite_schema"
                                    " WHERE name = 'part_b'"),
                     0);
    store_close(s);
}

/* --- publishing --------------------------------------------------------- */

static void assert_tensors(struct catalog *c, int64_t version,
                           enum store_part part,
                           const struct tensor_list *expected)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    struct err err = ERR_INIT;

    if (store_load(c, version, part, &l, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(l.n, expected->n);
    for (size_t i = 0; i < l.n; i++) {
        assert_string_equal(l.items[i].name, expected->items[i].name);
        assert_memory_equal(l.items[i].data, expected->items[i].data,
                            tensor_bytes(&l.items[i]));
    }
    tensor_list_release(&l);
}

static void assert_lineage(const char *dir, int64_t version)
{
    char *path = file_of(dir, version, "state.safetensors");
    struct buf bytes = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 20, &bytes, NULL), 0);
    assert_non_null(strstr(bytes.data + 8, "\"format\":\"pt\""));
    assert_non_null(strstr(bytes.data + 8, "\"version\":\"1\""));
    assert_non_null(strstr(bytes.data + 8, "\"parent\":\"0\""));
    assert_non_null(strstr(bytes.data + 8, "\"program\":\"mneme "));
    assert_non_null(strstr(bytes.data + 8, "\"step\":\"30\""));
    assert_non_null(strstr(bytes.data + 8, "\"metadata\":\"{\\\"kernels"));
    buf_release(&bytes);
    free(path);
}

static void test_publish(void **state)
{
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct util_version v;
    struct tensor_list l = TENSOR_LIST_INIT;
    struct buf text = BUF_INIT;
    int64_t version = 0;

    util_version_init(&v, 0, 3);
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    assert_int_equal(version, 1);
    assert_int_equal(util_head(s), 1);
    assert_tensors(c, 1, STORE_WEIGHTS, &v.weights);
    assert_tensors(c, 1, STORE_STATE, &v.state);
    assert_tensors(c, 1, STORE_ANCHOR, &v.anchor);
    assert_tensors(c, 1, STORE_HEAD, &v.head);
    assert_lineage(*state, 1);
    buf_adds(&text, "before ");
    assert_int_equal(store_load_text(c, 1, "labels.json", &text, NULL), 0);
    assert_string_equal(text.data, "before [\"spam\"]");
    assert_int_equal(store_load_text(c, 1, "nothing.json", &text, NULL),
                     ERR_NOTFOUND);
    assert_string_equal(text.data, "before [\"spam\"]");
    assert_int_equal(store_load(c, 9, STORE_STATE, &l, NULL), ERR_NOTFOUND);
    assert_int_equal(store_verify(c, 1, NULL), 0);
    assert_int_equal(store_verify(c, 2, NULL), ERR_NOTFOUND);
    v.p.parent = 9;
    assert_int_equal(store_publish(s, &v.p, &version, NULL), ERR_NOTFOUND);
    assert_int_equal(util_count_dirs(*state), 1);
    buf_release(&text);
    util_version_release(&v);
    catalog_close(c);
    store_close(s);
}

static void test_linear(void **state)
{
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct util_version v;
    struct tensor_list l = TENSOR_LIST_INIT;
    char *config = file_of(*state, 1, "config.json");
    char *model = file_of(*state, 1, "model.safetensors");
    int64_t version = 0;

    util_version_init(&v, 0, 1);
    v.p.shape = NULL;
    v.p.weights = NULL;
    v.p.tokenizer_json = NULL;
    tensor_list_release(&v.anchor); /* none yet */
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    assert_false(fileio_exists(config));
    assert_false(fileio_exists(model));
    assert_int_equal(store_load(c, 1, STORE_WEIGHTS, &l, NULL), 0);
    assert_int_equal(l.n, 0);
    assert_int_equal(store_load(c, 1, STORE_ANCHOR, &l, NULL), 0);
    assert_int_equal(l.n, 0);
    assert_tensors(c, 1, STORE_HEAD, &v.head);
    v.p.anchor = NULL; /* the parent's, which has none */
    v.p.parent = 1;
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    assert_int_equal(store_verify(c, 2, NULL), 0);
    util_version_release(&v);
    free(model);
    free(config);
    catalog_close(c);
    store_close(s);
}

static int no_links(const char *operation, const char *path)
{
    (void)path;
    return strcmp(operation, "link") == 0 ? EPERM : 0;
}

static void test_anchor_link(void **state)
{
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    char *first = file_of(*state, 1, "anchor.safetensors");
    char *second = file_of(*state, 2, "anchor.safetensors");
    char *third = file_of(*state, 3, "anchor.safetensors");
    struct util_version v, w;
    struct stat a, b;
    struct err err = ERR_INIT;
    int64_t version;

    util_version_init(&v, 0, 1);
    util_version_init(&w, 1, 2);
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    w.p.anchor = NULL;
    assert_int_equal(store_publish(s, &w.p, &version, NULL), 0);
    assert_int_equal(stat(first, &a), 0);
    assert_int_equal(stat(second, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_tensors(c, 2, STORE_ANCHOR, &v.anchor);
    /* A file system without links gets a copy. */
    fileio_fault = no_links;
    w.p.parent = 2;
    assert_int_equal(store_publish(s, &w.p, &version, NULL), 0);
    fileio_fault = NULL;
    assert_int_equal(stat(third, &b), 0);
    assert_int_not_equal(a.st_ino, b.st_ino);
    assert_tensors(c, 3, STORE_ANCHOR, &v.anchor);
    /* The parent's is gone: said, nothing left, and giving it again helps. */
    unlink(third);
    w.p.parent = 3;
    assert_int_equal(store_publish(s, &w.p, &version, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, third));
    assert_int_equal(util_count_dirs(*state), 3);
    w.p.anchor = &w.anchor;
    assert_int_equal(store_publish(s, &w.p, &version, NULL), 0);
    assert_int_equal(version, 4);
    util_version_release(&v);
    util_version_release(&w);
    free(first);
    free(second);
    free(third);
    catalog_close(c);
    store_close(s);
}

/* --- failures in turn --------------------------------------------------- */

static int fault_at;
static int fault_errno;
static bool fault_kills;

static int fault(const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    if (fault_at-- != 0)
        return 0;
    if (fault_kills)
        _exit(7);
    return fault_errno;
}

static void fail_at(int n, int errnum)
{
    fault_at = n;
    fault_errno = errnum;
    fault_kills = false;
    fileio_fault = fault;
}

/* The n-th open, write, sync, link, mkdir, rename of a publish fails, for
 * every n: the store goes on as if it had not been tried. */
static void test_publish_fails(void **state)
{
    struct store *s = open_store(*state);
    struct util_version v;
    struct err err = ERR_INIT;
    int64_t version = 0;
    int64_t head, n_versions;
    int n, rc = -1;

    assert_int_equal(util_publish(s, 0, 1), 1);
    util_version_init(&v, 1, 2);
    v.p.anchor = NULL;
    for (n = 0; rc != 0; n++) {
        fail_at(n, n % 2 ? ENOSPC : EIO);
        rc = store_publish(s, &v.p, &version, &err);
        fileio_fault = NULL;
        if (rc == 0)
            break;
        assert_int_equal(rc, n % 2 ? ERR_FULL : ERR_IO);
        assert_non_null(strstr(err.msg, *state));
        assert_int_equal(util_head(s), 1);
        assert_int_equal(util_count_dirs(*state), 1);
        assert_int_equal(util_number(s, "SELECT count(*) FROM version_files"
                                        " WHERE version > 1"),
                         0);
    }
    assert_in_range(n, 30, 200); /* every step was met */
    assert_int_equal(version, 2);
    store_close(s);
    util_check_whole(*state, &head, &n_versions);
    assert_int_equal(head, 2);
    assert_int_equal(n_versions, 2);
    util_version_release(&v);
}

static int refuse(struct sqlite3 *db, int64_t version, void *arg,
                  struct err *err)
{
    (void)db;
    (void)version;
    (void)arg;
    return err_set(err, ERR_FULL, "no room");
}

static int die(struct sqlite3 *db, int64_t version, void *arg, struct err *err)
{
    (void)db;
    (void)version;
    (void)arg;
    (void)err;
    _exit(7);
}

static int insert_row(struct sqlite3 *db, int64_t version, void *arg,
                      struct err *err)
{
    char *sql = sqlite3_mprintf("CREATE TABLE IF NOT EXISTS t (x);"
                                "INSERT INTO t VALUES (%lld)",
                                version);

    (void)arg;
    (void)err;
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_free(sql);
    return 0;
}

static void test_transaction_fails(void **state)
{
    struct store *s = open_store(*state);
    struct util_version v;
    int64_t version = 0;

    util_version_init(&v, 0, 1);
    v.p.in_transaction = refuse;
    assert_int_equal(store_publish(s, &v.p, &version, NULL), ERR_FULL);
    assert_int_equal(util_count_dirs(*state), 0);
    v.p.in_transaction = insert_row;
    v.ledger[2].partition_id = 77; /* nobody knows it */
    assert_int_equal(store_publish(s, &v.p, &version, NULL), ERR_INVALID);
    assert_int_equal(util_count_dirs(*state), 0);
    v.ledger[2].partition_id = 1;
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    assert_int_equal(util_number(s, "SELECT x FROM t"), 1);
    v.p.parent = 1;
    v.offsets[1].partition = 5; /* its number is another partition's */
    assert_int_equal(store_publish(s, &v.p, &version, NULL), ERR_INVALID);
    assert_int_equal(util_count_dirs(*state), 1);
    util_version_release(&v);
    store_close(s);
}

/* In a child: opens, publishes on version 1, dies at the n-th step; 0 when
 * it came through. */
static int publish_and_die(const char *dir, int n, bool in_transaction)
{
    struct util_version v;
    struct store *s;
    int64_t version;
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (store_open(dir, NULL, 0, &s, NULL) != 0)
            _exit(1);
        util_version_init(&v, 1, 2);
        v.p.anchor = NULL;
        if (in_transaction)
            v.p.in_transaction = die;
        fault_at = n;
        fault_kills = true;
        fileio_fault = in_transaction ? NULL : fault;
        if (store_publish(s, &v.p, &version, NULL) != 0)
            _exit(2);
        _exit(0); /* published, but never closed */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_killed(void **state)
{
    struct store *s = open_store(*state);
    int64_t head, n_versions;
    int n, rc = -1;

    util_publish(s, 0, 1);
    store_close(s);
    assert_int_equal(publish_and_die(*state, 0, true), 7);
    util_check_whole(*state, &head, &n_versions);
    assert_int_equal(head, 1);
    assert_int_equal(n_versions, 1);
    for (n = 0; rc != 0; n++) {
        rc = publish_and_die(*state, n, false);
        assert_true(rc == 0 || rc == 7);
        util_check_whole(*state, &head, &n_versions);
        assert_int_equal(head, rc == 0 ? 2 : 1);
        assert_int_equal(n_versions, rc == 0 ? 2 : 1);
    }
    assert_in_range(n, 30, 200);
}

/* SQLite's own writes: the file is as large as it may be. */
static void test_database_full(void **state)
{
    struct store *s = open_store(*state);
    struct util_version v;
    struct err err = ERR_INIT;
    char *large = xcalloc(1, 1 << 20);
    int64_t version = 0;
    int64_t head, n_versions;

    util_publish(s, 0, 1);
    util_number(s, "PRAGMA max_page_count=60");
    util_version_init(&v, 1, 2);
    v.quarantine[0].bytes = large;
    v.quarantine[0].n_bytes = 1 << 20;
    assert_int_equal(store_publish(s, &v.p, &version, &err), ERR_FULL);
    assert_non_null(strstr(err.msg, "mneme.db"));
    assert_int_equal(util_count_dirs(*state), 1);
    util_number(s, "PRAGMA max_page_count=100000");
    assert_int_equal(store_publish(s, &v.p, &version, &err), 0);
    assert_int_equal(version, 2);
    store_close(s);
    util_check_whole(*state, &head, &n_versions);
    assert_int_equal(head, 2);
    util_version_release(&v);
    free(large);
}

static int vfs_fault_at;
static enum fault_vfs vfs_fault;
static bool vfs_fault_lasts; /* until the second try */

static enum fault_vfs fault_in_sqlite(void)
{
    int left = vfs_fault_at--;

    return left == 0 || (left < 0 && vfs_fault_lasts) ? vfs_fault : FAULT_NONE;
}

/*
 * In a child: publishes on version 1 while SQLite's n-th write, sync or
 * truncation has a fault.
 *   returns  0 published, 3 failed and the second try was published, 4 failed
 *            and died then, 7 died in the fault
 */
static int publish_with_fault(const char *dir, int n, enum fault_vfs f,
                              bool again)
{
    struct util_version v;
    struct store *s;
    int64_t version;
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (store_open(dir, NULL, 0, &s, NULL) != 0)
            _exit(1);
        util_version_init(&v, 1, 2);
        vfs_fault_at = n;
        vfs_fault = f;
        fault_vfs_hook = fault_in_sqlite;
        if (store_publish(s, &v.p, &version, NULL) == 0)
            _exit(0);
        fault_vfs_hook = NULL;
        if (!again)
            _exit(4);
        _exit(store_publish(s, &v.p, &version, NULL) == 0 ? 3 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void make_first(const char *dir)
{
    struct store *s = open_store(dir);

    util_publish(s, 0, 1);
    store_close(s);
}

static int rewind_to(struct store *s, int64_t version)
{
    const struct store_rollback r = {
        .to = version, .mode = "rewind", .reason = ""};

    return store_rollback(s, &r, NULL);
}

/* Every write of SQLite in turn: no row without files, no files without a
 * row, and either version 1 or what comes after it. */
static void fail_in_sqlite(const char *dir, enum fault_vfs f, bool again)
{
    int64_t head, n_versions;
    int n, rc = -1;

    fault_vfs_install();
    make_first(dir);
    for (n = 0; rc != 0; n++) {
        struct store *s;

        rc = publish_with_fault(dir, n, f, again);
        assert_true(rc == 0 || rc == 3 || rc == 4 || rc == 7);
        util_check_whole(dir, &head, &n_versions);
        if (rc == 0 || rc == 3)
            assert_int_equal(n_versions, 2);
        if (n_versions == 1)
            continue;
        assert_true(head > 1);
        s = open_store(dir); /* back to one version for the next round */
        assert_int_equal(rewind_to(s, 1), 0);
        assert_int_equal(sqlite3_exec(store_connection(s),
                                      "DELETE FROM versions WHERE version > 1;"
                                      "UPDATE pointers SET newest = 1",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        store_close(s);
    }
    assert_in_range(n, 5, 500);
}

static void test_sqlite_io(void **state)
{
    fail_in_sqlite(*state, FAULT_IO, false);
}

static void test_sqlite_io_again(void **state)
{
    fail_in_sqlite(*state, FAULT_IO, true);
}

/* The log cannot be emptied either: the number is not tried again. */
static void test_sqlite_io_lasts(void **state)
{
    vfs_fault_lasts = true;
    fail_in_sqlite(*state, FAULT_IO, true);
    vfs_fault_lasts = false;
}

static void test_sqlite_full(void **state)
{
    fail_in_sqlite(*state, FAULT_FULL, true);
}

static void test_sqlite_killed(void **state)
{
    fail_in_sqlite(*state, FAULT_DIE, false);
}

static void test_sweep(void **state)
{
    struct store *s = open_store(*state);
    char *top = fileio_join(*state, "versions");
    char *other = fileio_join(top, "notes");
    int64_t version = util_publish(s, 0, 1);

    store_close(s);
    assert_int_equal(version, 1);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {".new-000002", "000007", "1234567"};
        char *path = fileio_join(top, names[i]);
        char *file = fileio_join(path, "x");

        assert_int_equal(fileio_mkdirs(path, NULL), 0);
        assert_int_equal(fileio_write_sync(file, "x", 1, NULL), 0);
        free(file);
        free(path);
    }
    assert_int_equal(fileio_mkdirs(other, NULL), 0); /* not ours */
    s = open_store(*state);
    assert_int_equal(util_count_dirs(*state), 2);
    assert_true(fileio_exists(other));
    assert_int_equal(util_publish(s, 1, 2), 2);
    fileio_remove_dir(other, NULL);
    store_close(s);
    free(other);
    free(top);
}

/* --- damage ------------------------------------------------------------- */

static void flip(const char *path)
{
    struct buf bytes = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 24, &bytes, NULL), 0);
    bytes.data[bytes.len / 2] ^= 4;
    assert_int_equal(fileio_write_sync(path, bytes.data, bytes.len, NULL), 0);
    buf_release(&bytes);
}

static void test_damage(void **state)
{
    static const struct {
        const char *name;
        enum store_part part;
    } parts[] = {{"model.safetensors", STORE_WEIGHTS},
                 {"state.safetensors", STORE_STATE},
                 {"anchor.safetensors", STORE_ANCHOR},
                 {"head.safetensors", STORE_HEAD}};
    static const char *const texts[] = {"labels.json", "tokenizer.json",
                                        "config.json"};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct tensor_list l = TENSOR_LIST_INIT;
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;

    util_publish(s, 0, 1);
    for (size_t i = 0; i < COUNT(parts); i++) {
        char *path = file_of(*state, 1, parts[i].name);

        flip(path);
        assert_int_equal(store_load(c, 1, parts[i].part, &l, &err),
                         ERR_CORRUPT);
        assert_non_null(strstr(err.msg, path));
        assert_int_equal(l.n, 0);
        assert_int_equal(store_verify(c, 1, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, path));
        flip(path);
        assert_int_equal(store_verify(c, 1, NULL), 0);
        free(path);
    }
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *path = file_of(*state, 1, texts[i]);
        char *away;

        flip(path);
        assert_int_equal(store_load_text(c, 1, texts[i], &text, &err),
                         ERR_CORRUPT);
        assert_int_equal(text.len, 0);
        assert_int_equal(store_verify(c, 1, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, texts[i]));
        flip(path);
        away = xasprintf("%s.away", path);
        assert_int_equal(rename(path, away), 0);
        assert_int_equal(store_load_text(c, 1, texts[i], &text, &err),
                         ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "missing"));
        assert_int_equal(rename(away, path), 0);
        assert_int_equal(store_load_text(c, 1, texts[i], &text, NULL), 0);
        buf_clear(&text);
        free(away);
        free(path);
    }
    buf_release(&text);
    catalog_close(c);
    store_close(s);
}

static void flip_at(const char *path, size_t at)
{
    struct buf bytes = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 24, &bytes, NULL), 0);
    bytes.data[at % bytes.len] ^= 4;
    assert_int_equal(fileio_write_sync(path, bytes.data, bytes.len, NULL), 0);
    buf_release(&bytes);
}

/* A process that publishes versions 2, 3 and 4 and is killed. */
static void publish_and_be_killed(const char *dir)
{
    pid_t child = fork();
    struct store *s;
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        s = open_store(dir);
        for (int64_t i = 2; i <= 4; i++)
            util_publish(s, i - 1, i);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A bit of the log: what a crash could have cut off is no damage, what had
 * been synced is; either way what is left is whole. */
static void test_log_damage(void **state)
{
    static const struct {
        size_t at;
        int64_t head;
    } flips[] = {{20, 1}, {32 + 8, 1}, {500, 1}, {(size_t)-300, 3}};
    char *log = fileio_join(*state, "mneme.db-wal");
    int64_t head, n_versions;

    make_first(*state);
    publish_and_be_killed(*state);
    for (size_t i = 0; i < COUNT(flips); i++) {
        struct store *s;
        size_t at = flips[i].at;
        struct stat st;

        assert_int_equal(stat(log, &st), 0);
        assert_true(st.st_size > 0);
        if (at > (size_t)st.st_size)
            at += (size_t)st.st_size;
        flip_at(log, at);
        s = open_store(*state);
        assert_int_equal(store_lost(s), flips[i].head == 1 ? 3 : 0);
        assert_int_equal(util_head(s), flips[i].head);
        store_close(s);
        util_check_whole(*state, &head, &n_versions);
        if (flips[i].head == 1)
            publish_and_be_killed(*state);
    }
    free(log);
}

/* A bit of any page: an error that names the file, never another number. */
static void test_page_damage(void **state)
{
    char *path = fileio_join(*state, "mneme.db");
    struct catalog *c = NULL;
    struct store *s = NULL;
    struct err err = ERR_INIT;
    struct stat st;

    make_first(*state);
    assert_int_equal(stat(path, &st), 0);
    for (size_t at = 4096 + 77; at < (size_t)st.st_size; at += 4096) {
        int rc;

        flip_at(path, at);
        rc = catalog_open(*state, &c, &err);
        if (rc == 0)
            rc = catalog_check(c, &err);
        catalog_close(c);
        c = NULL;
        assert_int_equal(rc, ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "mneme.db"));
        flip_at(path, at);
    }
    flip_at(path, 2000); /* page 1 */
    assert_int_equal(store_open(*state, NULL, 0, &s, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "mneme restore"));
    flip_at(path, 2000);
    store_close(open_store(*state));
    free(path);
}

/* --- verdict, serving, pins --------------------------------------------- */

static void test_verdict(void **state)
{
    const struct store_domain_result results[] = {
        {"logs", 2.5, 0.75, 12}, {"mail", 0.0 / 0.0, 0.0 / 0.0, 0}};
    struct store *s = open_store(*state);
    struct err err = ERR_INIT;

    util_publish(s, 0, 1);
    assert_int_equal(
        store_verdict(s, 9, STORE_PASSED, "{}", NULL, NULL, 0, true, "x",
                      NULL),
        ERR_NOTFOUND);
    assert_int_equal(store_verdict(s, 1, STORE_PASSED, "{\"a\":1}", NULL,
                                   results, 2, true, "first", NULL),
                     0);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 1);
    assert_int_equal(
        store_verdict(s, 1, STORE_FAILED, "{}", NULL, NULL, 0, false, "x",
                      &err),
        ERR_STATE);
    assert_non_null(strstr(err.msg, "passed"));
    util_publish(s, 1, 2);
    assert_int_equal(
        store_verdict(s, 2, STORE_FAILED, "{}", NULL, NULL, 0, false, "worse",
                      NULL),
        0);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 1);
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"), 1);
    store_close(s);
}

static void test_serve(void **state)
{
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct catalog_history *h;
    struct catalog_pointers p;
    int64_t now = 5000;
    size_t n;

    timing_set_fake(&now);
    util_pass(s, 1, true);
    now = 6000;
    util_pass(s, 2, true);
    now = 7000;
    assert_int_equal(store_serve(s, 1, true, "by hand", NULL), 0);
    assert_int_equal(catalog_pointers(c, &p, NULL), 0);
    assert_int_equal(p.serving, 1);
    assert_int_equal(p.head, 2);
    assert_true(p.serving_pinned);
    now = 8000;
    assert_int_equal(store_serve(s, 2, false, NULL, NULL), 0);
    assert_int_equal(store_serve(s, 3, false, NULL, NULL), ERR_NOTFOUND);
    now = 9000;
    assert_int_equal(store_mark(s, 2, STORE_DAMAGED, "a bit flipped", NULL), 0);
    assert_int_equal(store_serve(s, 2, true, NULL, NULL), ERR_STATE);
    assert_int_equal(store_serve_instead(s, 1, "2 is damaged", NULL), 0);
    assert_int_equal(catalog_history(c, 0, &h, &n, NULL), 0);
    assert_int_equal(n, 5);
    assert_string_equal(h[0].cause, "damaged");
    assert_int_equal(h[0].from_ms, 9000);
    assert_int_equal(h[0].until_ms, 0);
    assert_int_equal(h[0].version, 1);
    assert_int_equal(h[0].previous, 2);
    assert_string_equal(h[2].cause, "promote");
    assert_string_equal(h[2].reason, "by hand");
    assert_int_equal(h[2].from_ms, 7000);
    assert_int_equal(h[2].until_ms, 8000);
    assert_string_equal(h[4].cause, "published");
    assert_int_equal(h[4].previous, 0);
    catalog_history_free(h, n);
    assert_int_equal(catalog_history(c, 2, &h, &n, NULL), 0);
    assert_int_equal(n, 2);
    catalog_history_free(h, n);
    catalog_close(c);
    store_close(s);
}

static void test_append_only(void **state)
{
    static const char *const refused[] = {
        "DELETE FROM history",
        "UPDATE history SET reason = 'another'",
        "UPDATE history SET version = 3",
        "UPDATE history SET until_ms = 1 WHERE until_ms <> 0",
        "REPLACE INTO history VALUES (1, 0, 0, 0, 0, '', '')",
        "DELETE FROM control_log",
        "UPDATE control_log SET time_ms = 0",
    };
    struct store *s = open_store(*state);

    util_pass(s, 1, true);
    util_pass(s, 2, true);
    assert_int_equal(store_pin(s, 1, true, NULL), 0);
    assert_int_equal(store_pin(s, 1, false, NULL), 0);
    assert_int_equal(store_pin(s, 5, true, NULL), ERR_NOTFOUND);
    for (size_t i = 0; i < COUNT(refused); i++)
        if (sqlite3_exec(store_connection(s), refused[i], NULL, NULL, NULL) !=
            SQLITE_CONSTRAINT_TRIGGER)
            fail_msg("%s", refused[i]);
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"), 2);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"), 2);
    store_close(s);
}

/* --- rolling back ------------------------------------------------------- */

static void assert_state(struct catalog *c, int64_t version,
                         enum store_state state)
{
    struct catalog_version v;

    assert_int_equal(catalog_get(c, version, &v, NULL), 0);
    assert_string_equal(store_state_name(v.state), store_state_name(state));
    catalog_version_release(&v);
}

static int64_t noted_newest;

static int note_newest(struct sqlite3 *db, int64_t to, int64_t newest,
                       struct err *err)
{
    (void)db;
    (void)to;
    (void)err;
    noted_newest = newest;
    return 0;
}

static int refuse_rollback(struct sqlite3 *db, int64_t to, int64_t newest,
                           struct err *err)
{
    (void)db;
    (void)to;
    (void)newest;
    return err_set(err, ERR_FULL, "no room");
}

static int skip_to(struct store *s, int64_t version,
                   const struct store_ledger_run *skipped, size_t n)
{
    const struct store_rollback r = {.to = version,
                                     .mode = "skip",
                                     .reason = "bad feed",
                                     .skipped = skipped,
                                     .n_skipped = n};

    return store_rollback(s, &r, NULL);
}

static void test_rollback(void **state)
{
    const struct store_ledger_run skipped[] = {{40, 0, 200, 299, 90, 's'},
                                               {40, 1, 7, 7, 1, 's'}};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct catalog_range *ranges;
    struct catalog_totals t;
    struct store_rollback r = {.to = 2,
                               .mode = "sideways",
                               .reason = "bad feed",
                               .skipped = skipped,
                               .n_skipped = 2};
    size_t n;

    for (int64_t i = 1; i <= 4; i++)
        util_pass(s, i, true);
    assert_int_equal(skip_to(s, 9, NULL, 0), ERR_NOTFOUND);
    assert_int_equal(store_rollback(s, &r, NULL), ERR_INVALID);
    r.mode = "skip";
    r.in_transaction = refuse_rollback;
    assert_int_equal(store_rollback(s, &r, NULL), ERR_FULL); /* nothing of it */
    assert_int_equal(util_head(s), 4);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"), 0);

    r.in_transaction = note_newest;
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    assert_int_equal(noted_newest, 4);
    assert_int_equal(util_head(s), 2);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 2);
    assert_state(c, 1, STORE_PASSED);
    assert_state(c, 2, STORE_PASSED);
    assert_state(c, 3, STORE_ROLLED_BACK);
    assert_state(c, 4, STORE_ROLLED_BACK);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(ranges[0].first_offset, 200);
    assert_int_equal(ranges[0].last_offset, 299);
    assert_int_equal(ranges[1].partition_id, 1);
    free(ranges);

    /* A new number, a child of 2, with what was skipped in its ledger. */
    assert_int_equal(util_pass(s, 5, true), 5);
    assert_int_equal(catalog_totals(c, 5, &t, NULL), 0);
    assert_int_equal(t.learned, 30);
    assert_int_equal(t.skipped, 91);
    assert_int_equal(t.holdout, 6);
    assert_int_equal(t.quarantined, 3);
    assert_int_equal(catalog_totals(c, 4, &t, NULL), 0);
    assert_int_equal(t.learned, 40);
    assert_int_equal(t.skipped, 0);

    /* Back to what had been rolled back: it counts again. */
    assert_int_equal(rewind_to(s, 3), 0);
    assert_state(c, 3, STORE_PASSED);
    assert_state(c, 4, STORE_ROLLED_BACK);
    assert_state(c, 5, STORE_ROLLED_BACK);
    assert_int_equal(util_pass(s, 6, true), 6);
    assert_int_equal(catalog_totals(c, 6, &t, NULL), 0);
    assert_int_equal(t.learned, 40);
    assert_int_equal(t.skipped, 0);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 2); /* no rollback undoes a skip */
    free(ranges);
    assert_int_equal(store_mark(s, 1, STORE_DAMAGED, "", NULL), 0);
    assert_int_equal(rewind_to(s, 1), ERR_STATE);
    catalog_close(c);
    store_close(s);
}

/* A head that goes back by itself takes nobody along who was not asked: a
 * refused version does not come to serve, a promoted one goes on. */
static void test_rollback_keeps_serving(void **state)
{
    const struct store_rollback r = {
        .to = 3, .mode = "rewind", .reason = "damage", .keep_serving = true};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);

    util_pass(s, 1, true);
    util_pass(s, 2, true);
    util_pass(s, 3, false);
    util_pass(s, 4, true);
    assert_int_equal(store_serve(s, 1, true, "promoted", NULL), 0);
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    assert_int_equal(util_head(s), 3);
    assert_state(c, 4, STORE_ROLLED_BACK);
    assert_int_equal(util_number(s, "SELECT serving FROM pointers"), 1);
    assert_int_equal(util_number(s, "SELECT serving_pinned FROM pointers"), 1);
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"
                                    " WHERE cause = 'rollback'"),
                     0);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"
                                    " WHERE kind = 'rollback'"),
                     1);
    catalog_close(c);
    store_close(s);
}

/* Nobody asked: the range is in quarantine, out of which it can be taken. */
static void test_ranges(void **state)
{
    const struct store_ledger_run skipped = {1, 0, 500, 539, 40, 's'};
    const struct store_ledger_run logged = {1, 0, 520, 539, 20, 's'};
    struct store_rollback r = {.to = 1,
                               .mode = "skip",
                               .reason = "worse",
                               .skipped = &skipped,
                               .n_skipped = 1,
                               .automatic = true,
                               .range_kind = "quarantine",
                               .logged = &logged,
                               .n_logged = 1};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct catalog_range *ranges;
    struct catalog_skip *rows;
    struct catalog_totals t;
    int64_t id;
    size_t n;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    util_pass(s, 4, true);
    assert_int_equal(catalog_totals(c, 4, &t, NULL), 0);
    assert_int_equal(t.skipped, 40); /* all of it, in the ledger */
    assert_int_equal(util_number(s, "SELECT count(*) FROM history"
                                    " WHERE cause = 'auto_rollback'"),
                     1);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 1); /* the part that is new, in the control log */
    assert_int_equal(ranges[0].first_offset, 520);
    free(ranges);

    assert_int_equal(catalog_ranges(c, &rows, &n, NULL), 0);
    assert_int_equal(n, 1);
    id = rows[0].id;
    assert_string_equal(rows[0].kind, "quarantine");
    assert_string_equal(rows[0].topic, "text");
    assert_int_equal(rows[0].released_ms, 0);
    catalog_ranges_free(rows, n);
    assert_int_equal(store_release(s, id + 100, "", NULL), ERR_NOTFOUND);
    assert_int_equal(store_release(s, id, "looked at", NULL), 0);
    assert_int_equal(store_release(s, id, "again", NULL), ERR_STATE);
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 0);
    free(ranges);

    r.range_kind = "skip_for_good";
    assert_int_equal(store_rollback(s, &r, NULL), 0);
    assert_int_equal(catalog_ranges(c, &rows, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_true(rows[0].released_ms > 0);
    assert_false(rows[0].read_again);
    id = rows[1].id;
    catalog_ranges_free(rows, n);
    assert_int_equal(store_release(s, id, "", NULL), ERR_STATE);
    assert_int_equal(rewind_to(s, 1), 0);
    assert_int_equal(catalog_ranges(c, &rows, &n, NULL), 0);
    assert_true(rows[0].read_again);
    assert_false(rows[1].read_again);
    catalog_ranges_free(rows, n);
    catalog_close(c);
    store_close(s);
}

/* What a rollback skipped is dropped by another before the next version, and
 * only "skip" puts it into the ledger. */
static void test_rollback_twice(void **state)
{
    const struct store_ledger_run skipped = {1, 0, 500, 509, 10, 's'};
    const struct store_ledger_run unknown = {1, 8, 500, 509, 10, 's'};
    const struct store_offset later = {.partition_id = 8, .topic = "later"};
    const struct store_rollback rewind = {.to = 1,
                                          .mode = "rewind",
                                          .reason = "",
                                          .skipped = &skipped,
                                          .n_skipped = 1};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct catalog_totals t;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    assert_int_equal(skip_to(s, 2, &skipped, 1), 0);
    assert_int_equal(store_rollback(s, &rewind, NULL), 0);
    util_pass(s, 4, true);
    assert_int_equal(catalog_totals(c, 4, &t, NULL), 0);
    assert_int_equal(t.skipped, 0);
    assert_int_equal(util_number(s, "SELECT count(*) FROM control_log"
                                    " WHERE kind = 'skip'"),
                     2);
    /* Nor when the store is opened before that: it is read again. */
    assert_int_equal(skip_to(s, 2, &skipped, 1), 0);
    store_close(s);
    s = open_store(*state);
    util_pass(s, 5, true);
    assert_int_equal(catalog_totals(c, 5, &t, NULL), 0);
    assert_int_equal(t.skipped, 0);
    /* A partition that no version knows yet. */
    assert_int_equal(skip_to(s, 1, &unknown, 1), ERR_INVALID);
    assert_int_equal(store_know_partitions(s, &later, 1, NULL), 0);
    assert_int_equal(skip_to(s, 1, &unknown, 1), 0);
    catalog_close(c);
    store_close(s);
}

/* --- retention ---------------------------------------------------------- */

#define HOUR ((int64_t)3600000)

static void test_retention_rules(void **state)
{
    struct retention_version v[40];
    struct store_keep keep = {3, 4, 2};
    int64_t now = 1000 * 24 * HOUR + 12 * HOUR;

    (void)state;
    /* One every half hour, the newest now. */
    for (int i = 0; i < 40; i++)
        v[i] = (struct retention_version){.version = 100 - i,
                                          .created_ms = now - i * HOUR / 2};
    assert_int_equal(retention_choose(&keep, now, v, 40), 34);
    /* newest: 0, 1, 2; hours: 0, 1 (half past), 3, 5; days: 0, 25 */
    for (int i = 0; i < 40; i++)
        assert_int_equal(v[i].kept, i <= 3 || i == 5 || i == 25);
    /* Undone ones do not stand for their hour; protected ones stay. */
    v[3].undone = v[25].undone = true;
    v[39].protect = true;
    retention_choose(&keep, now, v, 40);
    assert_false(v[3].kept);
    assert_true(v[4].kept);
    assert_false(v[25].kept);
    assert_true(v[26].kept);
    assert_true(v[39].kept);
    keep = (struct store_keep){0, 0, 0};
    assert_int_equal(retention_choose(&keep, now, v, 40), 39);
    assert_int_equal(retention_choose(&keep, now, v, 0), 0);
}

struct swept {
    int64_t kept[16];
    size_t n;
    int calls;
};

static int note_kept(struct sqlite3 *db, const int64_t *kept, size_t n,
                     void *arg, struct err *err)
{
    struct swept *swept = arg;

    (void)db;
    (void)err;
    assert_in_range(n, 0, COUNT(swept->kept));
    memcpy(swept->kept, kept, n * sizeof *kept);
    swept->n = n;
    swept->calls++;
    return 0;
}

static void test_prune(void **state)
{
    const struct store_keep keep = {1, 0, 0};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct swept swept = {0};
    struct catalog_totals t;
    struct catalog_version v;
    struct util_version linked;
    int64_t version;
    int removed = -1;

    for (int64_t i = 1; i <= 6; i++)
        util_pass(s, i, i <= 3); /* 3 serves */
    util_version_init(&linked, 6, 7);
    linked.p.anchor = NULL; /* from 6, which goes */
    assert_int_equal(store_publish(s, &linked.p, &version, NULL), 0);
    assert_int_equal(store_pin(s, 5, true, NULL), 0);
    assert_int_equal(
        store_prune(s, &keep, 0, note_kept, &swept, &removed, NULL), 0);
    assert_int_equal(removed, 4); /* 1, 2, 4, 6; 7 is head and pending */
    assert_int_equal(swept.n, 3);
    assert_int_equal(swept.kept[0], 3);
    assert_int_equal(swept.kept[1], 5);
    assert_int_equal(swept.kept[2], 7);
    assert_int_equal(util_count_dirs(*state), 3);
    assert_int_equal(catalog_get(c, 6, &v, NULL), ERR_NOTFOUND);
    assert_int_equal(catalog_get(c, 7, &v, NULL), 0);
    assert_int_equal(v.parent, 6); /* the number stays */
    catalog_version_release(&v);
    assert_int_equal(store_verify(c, 7, NULL), 0);
    /* The totals of every branch are what they were. */
    for (int64_t i = 3; i <= 7; i += 2) {
        assert_int_equal(catalog_totals(c, i, &t, NULL), 0);
        assert_int_equal(t.learned, 10 * i);
        assert_int_equal(t.holdout, 2 * i);
        assert_int_equal(t.quarantined, i);
    }
    assert_int_equal(util_number(s, "SELECT count(*) FROM ledger_merged"
                                    " WHERE version = 3 AND kind = 'l' AND"
                                    " first_offset = 100 AND last_offset = 209"
                                    " AND count = 20"),
                     1);
    /* Nothing more to remove; the sweep runs all the same. */
    assert_int_equal(
        store_prune(s, &keep, 0, note_kept, &swept, &removed, NULL), 0);
    assert_int_equal(removed, 0);
    assert_int_equal(swept.calls, 2);
    assert_int_equal(catalog_check(c, NULL), 0);
    assert_int_equal(util_pass(s, 8, true), 8); /* numbers are not reused */
    util_version_release(&linked);
    catalog_close(c);
    store_close(s);
}

/* A branch point goes: both branches keep its share. */
static void test_prune_branch(void **state)
{
    const struct store_keep keep = {0, 0, 0};
    struct store *s = open_store(*state);
    struct catalog *c = open_catalog(*state);
    struct catalog_totals t;
    int removed;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    store_pin(s, 3, true, NULL);
    assert_int_equal(rewind_to(s, 2), 0);
    util_pass(s, 4, true); /* 1 - 2 - 3, 2 - 4 */
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    assert_int_equal(removed, 2);
    assert_int_equal(catalog_totals(c, 3, &t, NULL), 0);
    assert_int_equal(t.learned, 30);
    assert_int_equal(catalog_totals(c, 4, &t, NULL), 0);
    assert_int_equal(t.learned, 30);
    /* A branch can still be left for the other. */
    assert_int_equal(rewind_to(s, 3), 0);
    assert_state(c, 3, STORE_PASSED);
    assert_state(c, 4, STORE_ROLLED_BACK);
    assert_int_equal(util_pass(s, 5, true), 5);
    store_pin(s, 3, false, NULL);
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL), 0);
    assert_int_equal(removed, 2);
    assert_int_equal(catalog_totals(c, 5, &t, NULL), 0);
    assert_int_equal(t.learned, 40);
    catalog_close(c);
    store_close(s);
}

static int refuse_prune(struct sqlite3 *db, const int64_t *kept, size_t n,
                        void *arg, struct err *err)
{
    (void)db;
    (void)kept;
    (void)n;
    (void)arg;
    return err_set(err, ERR_FULL, "no room");
}

static void test_prune_fails(void **state)
{
    const struct store_keep keep = {1, 0, 0};
    struct store *s = open_store(*state);
    int64_t head, n_versions;
    int removed = -1;

    for (int64_t i = 1; i <= 3; i++)
        util_pass(s, i, true);
    assert_int_equal(
        store_prune(s, &keep, 0, refuse_prune, NULL, &removed, NULL), ERR_FULL);
    assert_int_equal(removed, 0);
    assert_int_equal(util_count_dirs(*state), 3);
    /* Rows gone, directories not: the next start removes them. */
    fail_at(0, EIO);
    assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL),
                     ERR_IO);
    fileio_fault = NULL;
    assert_int_equal(util_count_dirs(*state), 3);
    store_close(s);
    util_check_whole(*state, &head, &n_versions);
    assert_int_equal(head, 3);
    assert_int_equal(n_versions, 1);
}

/* --- readers while the publisher writes --------------------------------- */

struct reading {
    const char *dir;
    atomic_bool stop;
    int rounds;
    char problem[ERR_MSG_MAX];
};

/* Lists, loads and verifies the head again and again: never an error but that
 * a version has gone. */
static void *read_on(void *arg)
{
    struct reading *r = arg;
    struct catalog *c = NULL;
    struct err err = ERR_INIT;

    if (catalog_open(r->dir, &c, &err) != 0)
        goto out;
    while (!r->stop) {
        struct catalog_version *versions = NULL;
        struct tensor_list l = TENSOR_LIST_INIT;
        size_t n = 0;
        int rc = catalog_list(c, 0, 0, &versions, &n, &err);

        for (size_t i = 0; i < n && rc == 0; i++) {
            rc = store_verify(c, versions[i].version, &err);
            if (rc == 0)
                rc =
                    store_load(c, versions[i].version, STORE_WEIGHTS, &l, &err);
            tensor_list_release(&l);
            if (rc == ERR_NOTFOUND)
                rc = 0;
        }
        catalog_versions_free(versions, n);
        if (rc)
            goto out;
        err = (struct err)ERR_INIT;
        r->rounds++;
    }
out:
    snprintf(r->problem, sizeof r->problem, "%s", err.msg);
    catalog_close(c);
    return NULL;
}

static void test_readers(void **state)
{
    const struct store_keep keep = {3, 0, 0};
    struct store *s = open_store(*state);
    struct reading r = {.dir = *state};
    pthread_t thread;
    int removed;

    util_pass(s, 1, true);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &r), 0);
    for (int64_t i = 2; i <= 20; i++) {
        util_pass(s, i, true);
        assert_int_equal(store_prune(s, &keep, 0, NULL, NULL, &removed, NULL),
                         0);
    }
    r.stop = true;
    pthread_join(thread, NULL);
    assert_string_equal(r.problem, "");
    assert_true(r.rounds > 0);
    store_close(s);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_open),
        T(test_newer),
        T(test_not_a_store),
        T(test_parts),
        T(test_publish),
        T(test_linear),
        T(test_anchor_link),
        T(test_publish_fails),
        T(test_transaction_fails),
        T(test_killed),
        T(test_database_full),
        T(test_sweep),
        T(test_sqlite_io),
        T(test_sqlite_io_again),
        T(test_sqlite_io_lasts),
        T(test_sqlite_full),
        T(test_sqlite_killed),
        T(test_damage),
        T(test_log_damage),
        T(test_page_damage),
        T(test_verdict),
        T(test_serve),
        T(test_append_only),
        T(test_rollback),
        T(test_rollback_keeps_serving),
        T(test_rollback_twice),
        T(test_ranges),
        cmocka_unit_test(test_retention_rules),
        T(test_prune),
        T(test_prune_branch),
        T(test_prune_fails),
        T(test_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
