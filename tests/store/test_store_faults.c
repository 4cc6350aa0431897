/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing fails or dies at each of its steps: a version is there whole or
 * not at all.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
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
#include "base/xalloc.h"
#include "store/store.h"
#include "store/store_private.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/store_util.h"

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

/* A store that has failed returns its first error again. */
static void assert_final(struct store *s, const struct util_version *v,
                         const struct err *first)
{
    struct err err = ERR_INIT;
    int64_t version;

    assert_int_equal(store_publish(s, &v->p, &version, &err), first->code);
    assert_string_equal(err.msg, first->msg);
    assert_int_equal(store_check(s, NULL), first->code);
}

/* The n-th open, write, sync, link, mkdir, rename of a publish fails, for
 * every n. A full disk: the store goes on as if it had not been tried. Any
 * other error: only a store that is opened anew does. */
static void test_publish_fails(void **state)
{
    struct store *s = util_open_store(*state);
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
        if (rc == ERR_IO) {
            assert_final(s, &v, &err);
            store_close(s);
            s = util_open_store(*state);
        }
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
    struct store *s = util_open_store(*state);
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
    struct store *s = util_open_store(*state);
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
    struct store *s = util_open_store(*state);
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
 *   returns  0 published, 3 the disk was full and the second try was
 *            published, 4 failed and died then, 6 failed for good, 7 died in
 *            the fault
 */
static int publish_with_fault(const char *dir, int n, enum fault_vfs f,
                              bool again)
{
    struct err first = ERR_INIT, second = ERR_INIT;
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
        if (store_publish(s, &v.p, &version, &first) == 0)
            _exit(0);
        fault_vfs_hook = NULL;
        if (!again)
            _exit(4);
        if (store_publish(s, &v.p, &version, &second) == 0)
            _exit(first.code == ERR_FULL ? 3 : 2);
        _exit(first.code == ERR_IO && second.code == ERR_IO &&
                      strcmp(first.msg, second.msg) == 0
                  ? 6
                  : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Every write of SQLite in turn: no row without files, no files without a
 * row, and either version 1 or what comes after it. */
static void fail_in_sqlite(const char *dir, enum fault_vfs f, bool again)
{
    int64_t head, n_versions;
    int n, n_again = 0, n_final = 0, rc = -1;

    fault_vfs_install();
    util_make_first(dir);
    for (n = 0; rc != 0; n++) {
        struct store *s;

        rc = publish_with_fault(dir, n, f, again);
        assert_true(rc == 0 || rc == 3 || rc == 4 || rc == 6 || rc == 7);
        n_again += rc == 3;
        n_final += rc == 6;
        util_check_whole(dir, &head, &n_versions);
        if (rc == 0 || rc == 3)
            assert_int_equal(n_versions, 2);
        if (n_versions == 1)
            continue;
        assert_true(head > 1);
        s = util_open_store(dir); /* back to one version for the next round */
        assert_int_equal(util_rewind_to(s, 1), 0);
        assert_int_equal(sqlite3_exec(db_handle(s->db),
                                      "DELETE FROM versions WHERE version > 1;"
                                      "UPDATE pointers SET newest = 1",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        store_close(s);
    }
    assert_in_range(n, 5, 500);
    if (!again)
        return;
    assert_true(n_final > 0); /* a sync fails on a full disk, too */
    assert_true(f == FAULT_FULL ? n_again > 0 : n_again == 0);
}

static void test_sqlite_io(void **state)
{
    fail_in_sqlite(*state, FAULT_IO, false);
}

static void test_sqlite_io_again(void **state)
{
    fail_in_sqlite(*state, FAULT_IO, true);
}

/* The log cannot be emptied either. */
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

static enum fault_vfs fault_in_database_sync;

static void note_sync(enum fault_vfs_op op, const char *path,
                      const void *bytes, int n_bytes, int64_t at)
{
    (void)bytes;
    (void)n_bytes;
    (void)at;
    fault_in_database_sync =
        op == FAULT_VFS_SYNC && path && !strstr(path, "-wal") ? FAULT_IO
                                                              : FAULT_NONE;
}

static enum fault_vfs fail_database_sync(void)
{
    return fault_in_database_sync;
}

/* SQLite empties a long log after a commit by itself, and keeps a failed sync
 * of the database to itself. The version is there; nothing comes after it. */
static void test_sync_after_commit(void **state)
{
    struct util_version v;
    char *large = xcalloc(1, 8 << 20);
    struct err err = ERR_INIT;
    int64_t version = 0, head, n_versions;
    struct store *s;

    fault_vfs_install();
    s = util_open_store(*state);
    util_version_init(&v, 0, 1);
    v.quarantine[0].bytes = large;
    v.quarantine[0].n_bytes = 8 << 20;
    fault_vfs_watch = note_sync;
    fault_vfs_hook = fail_database_sync;
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    fault_vfs_watch = NULL;
    fault_vfs_hook = NULL;
    assert_int_equal(store_check(s, &err), ERR_IO);
    assert_final(s, &v, &err);
    store_close(s);
    util_check_whole(*state, &head, &n_versions);
    assert_int_equal(head, 1);
    util_version_release(&v);
    free(large);
}

static bool is_there(const char *dir, const char *name)
{
    char *path = xasprintf("%s/versions/%s", dir, name);
    bool there = fileio_exists(path);

    free(path);
    return there;
}

static void make_version_dir(const char *dir, const char *name)
{
    char *path = xasprintf("%s/versions/%s", dir, name);
    char *file = fileio_join(path, "x");

    assert_int_equal(fileio_mkdirs(path, NULL), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, NULL), 0);
    free(file);
    free(path);
}

static void rename_in(const char *dir, const char *from, const char *to)
{
    char *a = xasprintf("%s/versions/%s", dir, from);
    char *b = xasprintf("%s/versions/%s", dir, to);

    assert_int_equal(rename(a, b), 0);
    free(b);
    free(a);
}

/* A pipe in the place of SQLite's files would keep a start, and a reader,
 * waiting for ever; a link would lead out of the directory. */
static void test_not_a_file(void **state)
{
    static const char *const names[] = {"mneme.db", "mneme.db-wal",
                                        "mneme.db-shm", "mneme.db-journal"};
    char *aside = fileio_join(*state, "aside");
    struct store *s;
    struct catalog *c;
    struct err e;

    util_make_first(*state);
    for (size_t i = 0; i < 4 * 3; i++) {
        char *path = fileio_join(*state, names[i / 3]);
        bool was_there = rename(path, aside) == 0;
        int rc = i % 3 == 0   ? mkfifo(path, 0600)
                 : i % 3 == 1 ? mkdir(path, 0700)
                              : symlink(aside, path);

        assert_int_equal(rc, 0);
        e = (struct err)ERR_INIT;
        assert_int_equal(store_open(*state, NULL, 0, &s, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.msg, names[i / 3]));
        assert_non_null(strstr(e.msg, "not a plain file"));
        e = (struct err)ERR_INIT;
        assert_int_equal(catalog_open(*state, &c, &e), ERR_CORRUPT);
        assert_int_equal(remove(path), 0);
        if (was_there)
            assert_int_equal(rename(aside, path), 0);
        free(path);
    }
    free(aside);
    assert_int_equal(store_open(*state, NULL, 0, &s, &e), 0);
    store_close(s);
}

/* A directory without a row that bears the id of the store in `of`, as that
 * store's second version. */
static void make_stray(const char *of, const char *dir, const char *name)
{
    struct store *s = util_open_store(of);
    char *from, *to;

    while (util_publish(s, util_head(s), 3) < 2)
        ;
    assert_int_equal(sqlite3_exec(db_handle(s->db),
                                  "DELETE FROM versions WHERE version = 2;"
                                  "UPDATE pointers SET head = 1, newest = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    store_close(s);
    from = xasprintf("%s/versions/000002", of);
    to = xasprintf("%s/versions/%s", dir, name);
    assert_int_equal(rename(from, to), 0);
    free(to);
    free(from);
}

/* Moved aside, and removed with the next version: unfinished directories, those
 * with this store's id, and those of older programs with a number that the
 * store has reached. All others stay. */
static void test_sweep(void **state)
{
    struct store *s;
    char *elsewhere = xasprintf("%s/other", (char *)*state);
    char *command = xasprintf("rm -rf '%s' '%s/versions/notes'", elsewhere,
                              (char *)*state);

    make_stray(*state, *state, "1234567");
    make_stray(elsewhere, *state, "000005");
    make_version_dir(*state, ".new-000002");
    make_version_dir(*state, "000002");
    make_version_dir(*state, "000007");
    make_version_dir(*state, "notes");
    s = util_open_store(*state);
    assert_int_equal(util_count_dirs(*state), 4);
    assert_true(is_there(*state, "000001"));
    assert_true(is_there(*state, "000005")); /* another store's */
    assert_true(is_there(*state, "000007")); /* nobody knows whose */
    assert_true(is_there(*state, "notes"));
    assert_true(is_there(*state, ".swept-1234567"));
    assert_true(is_there(*state, ".swept-.new-000002"));
    assert_true(is_there(*state, ".swept-000002"));
    assert_non_null(strstr(store_swept(s), "1234567"));
    assert_non_null(strstr(store_swept(s), ".new-000002"));
    assert_non_null(strstr(store_strangers(s), "000005"));
    assert_non_null(strstr(store_strangers(s), "000007"));
    assert_null(strstr(store_strangers(s), "000001"));
    /* An operator takes one back. */
    rename_in(*state, ".swept-1234567", "kept");
    assert_int_equal(util_publish(s, 1, 2), 2);
    assert_false(is_there(*state, ".swept-000002"));
    assert_false(is_there(*state, ".swept-.new-000002"));
    assert_true(is_there(*state, "kept"));
    /* A number that a stranger has is not used. */
    for (int64_t parent = 2; parent < 6;)
        parent = util_publish(s, parent, parent);
    assert_true(is_there(*state, "000006"));
    assert_int_equal(util_number(s, "SELECT count(*) FROM versions WHERE"
                                    " version = 5"),
                     0);
    store_close(s);
    /* A second start removes what the first one moved aside. */
    make_version_dir(*state, ".new-000009");
    s = util_open_store(*state);
    assert_true(is_there(*state, ".swept-.new-000009"));
    store_close(s);
    s = util_open_store(*state);
    assert_false(is_there(*state, ".swept-.new-000009"));
    store_close(s);
    assert_int_equal(system(command), 0);
    free(command);
    free(elsewhere);
}

/* Names below the directory, to see that nothing has changed. */
static char *list_all(const char *dir)
{
    char *command = xasprintf("cd '%s' && find . | sort", dir);
    FILE *pipe = popen(command, "r");
    char *text = xcalloc(1, 65536);

    assert_non_null(pipe);
    assert_true(fread(text, 1, 65535, pipe) > 0);
    pclose(pipe);
    free(command);
    return text;
}

static void assert_refused(const char *dir, const char *words)
{
    char *before = list_all(dir), *after;
    struct err err = ERR_INIT;
    struct store *s = NULL;

    assert_int_equal(store_open(dir, NULL, 0, &s, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, dir));
    assert_non_null(strstr(err.msg, words));
    after = list_all(dir);
    assert_string_equal(before, after);
    free(after);
    free(before);
}

/* A database that was moved away, or cut to nothing, is no new store. */
static void test_no_database(void **state)
{
    char *path = fileio_join(*state, "mneme.db");
    char *away = fileio_join(*state, "away");
    char *log = fileio_join(*state, "mneme.db-wal");
    char *shared = fileio_join(*state, "mneme.db-shm");
    int64_t head, n;
    struct store *s;

    util_make_first(*state);
    assert_int_equal(rename(path, away), 0);
    assert_refused(*state, "missing");
    assert_int_equal(fileio_write_sync(path, "", 0, NULL), 0);
    assert_refused(*state, "empty");
    assert_int_equal(rename(away, path), 0);
    util_check_whole(*state, &head, &n);
    assert_int_equal(n, 1);
    /* Without versions, the log alone tells. */
    assert_int_equal(unlink(path), 0);
    rename_in(*state, "000001", "../away");
    assert_refused(*state, "-wal");
    assert_int_equal(unlink(log), 0);
    assert_refused(*state, "-shm");
    assert_int_equal(unlink(shared), 0);
    s = util_open_store(*state);
    store_close(s);
    assert_int_equal(fileio_remove_dir(away, NULL), 0);
    free(shared);
    free(log);
    free(away);
    free(path);
}

/* The data directory, its database, the log or versions/ is moved away or
 * replaced under a store that is open: nothing is written any more, and nothing
 * is deleted. */
static void test_taken_away(void **state)
{
    static const char *const names[] = {"", "/mneme.db", "/mneme.db-wal",
                                        "/versions"};
    char *dir = xasprintf("%s/data", (char *)*state);
    char *command = xasprintf("rm -rf '%s' '%s.away'", dir, dir);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int replaced = 0; replaced < 2; replaced++) {
            char *path = xasprintf("%s%s", dir, names[i]);
            char *away = xasprintf("%s.away", dir);
            char *copy = xasprintf("cp -r '%s' '%s'", away, path);
            struct err err = ERR_INIT;
            struct util_version v;
            struct store *s;
            int64_t head, n;

            s = util_open_store(dir);
            assert_int_equal(util_publish(s, 0, 1), 1);
            assert_int_equal(store_check(s, &err), 0);
            assert_int_equal(rename(path, away), 0);
            if (replaced)
                assert_int_equal(system(copy), 0);
            assert_int_equal(store_check(s, &err), ERR_IO);
            assert_non_null(strstr(err.msg, dir));
            util_version_init(&v, 1, 2);
            assert_final(s, &v, &err);
            assert_int_equal(store_pin(s, 1, true, NULL), ERR_IO);
            util_version_release(&v);
            store_close(s);
            if (replaced) {
                char *undo = xasprintf("rm -rf '%s'", path);

                assert_int_equal(system(undo), 0);
                free(undo);
            }
            assert_int_equal(rename(away, path), 0);
            util_check_whole(dir, &head, &n);
            assert_int_equal(head, 1);
            assert_int_equal(n, 1);
            assert_int_equal(system(command), 0);
            free(copy);
            free(away);
            free(path);
        }
    free(command);
    free(dir);
}

static void test_emptied(void **state)
{
    struct store *s = util_open_store(*state);
    char *path = fileio_join(*state, "mneme.db");
    struct err err = ERR_INIT;

    assert_int_equal(store_check(s, &err), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(store_check(s, &err), ERR_IO);
    assert_non_null(strstr(err.msg, path));
    store_close(s);
    free(path);
}

static int replace_directory(struct sqlite3 *db, int64_t version, void *arg,
                             struct err *err)
{
    (void)db;
    (void)version;
    assert_int_equal(system(arg), 0);
    return err_set(err, ERR_FULL, "no room");
}

/* Another directory takes the place of ours in the middle of a publish, which
 * then fails: it removes nothing there. */
static void test_replaced_meanwhile(void **state)
{
    char *dir = xasprintf("%s/data", (char *)*state);
    char *replace = xasprintf("mv '%s' '%s.away' && cp -r '%s.away' '%s'", dir,
                              dir, dir, dir);
    char *command = xasprintf("rm -rf '%s' '%s.away'", dir, dir);
    struct store *s = util_open_store(dir);
    struct util_version v;
    int64_t version;

    assert_int_equal(util_publish(s, 0, 1), 1);
    util_version_init(&v, 1, 2);
    v.p.in_transaction = replace_directory;
    v.p.arg = replace;
    assert_true(store_publish(s, &v.p, &version, NULL) != 0);
    assert_true(is_there(dir, "000001"));
    assert_true(is_there(dir, "000002"));
    assert_int_equal(store_check(s, NULL), ERR_IO);
    util_version_release(&v);
    store_close(s);
    assert_int_equal(system(command), 0);
    free(command);
    free(replace);
    free(dir);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_publish_fails),
        T(test_transaction_fails),
        T(test_killed),
        T(test_database_full),
        T(test_sweep),
        T(test_no_database),
        T(test_not_a_file),
        T(test_taken_away),
        T(test_emptied),
        T(test_replaced_meanwhile),
        T(test_sqlite_io),
        T(test_sqlite_io_again),
        T(test_sqlite_io_lasts),
        T(test_sqlite_full),
        T(test_sqlite_killed),
        T(test_sync_after_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
