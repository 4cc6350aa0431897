/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th operation fails, for every n: in start-up, publish, verdict,
 * rollback, retention, what operators ask for, backup and restore.
 *
 * Each run is a child process on a fresh directory with three versions; then
 * the parent opens what it left. It is as it was before the act, or as it is
 * after: every row with every file undamaged, no file without a row, and once
 * the act said that it was done, it is. After an I/O error the store returns
 * that error from every function that writes; after a full disk the same call
 * succeeds. What fails:
 *
 *   io, full     an open, write, sync, rename, link, mkdir, unlink, rmdir of
 *                the store's own files: EIO, ENOSPC
 *   die          the process ends there
 *   sqlite-*     a write, sync, truncation, deletion or opening of SQLite's
 *   memory       an allocation: xalloc aborts
 *   sqlite-memory  an allocation of SQLite's: ERR_NOMEM
 *
 * By itself it tries a part of the places, and with SOAK set every one.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "store/backup.h"
#include "store/releases.h"
#include "store/store.h"
#include "store/store_private.h"
#include "store/tombstones.h"
#include "store/tags.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DIED 7       /* in a fault that ends the process */
#define FAILED 4     /* the act said so */
#define NOT_MET 5    /* it was done before the n-th operation came */
#define NOT_FINAL 6  /* after an I/O error, a later call did not fail */
#define NOT_AGAIN 8  /* after a full disk, the second try failed */
#define MOST 20000   /* operations of an act */
#define SKIPPED 3    /* the range in the control log */

/* --- what fails --------------------------------------------------------- */

enum fault {
    F_IO,
    F_FULL,
    F_DIE,
    F_SQLITE_IO,
    F_SQLITE_FULL,
    F_SQLITE_DIE,
    F_MEMORY,
    F_SQLITE_MEMORY,
    N_FAULTS
};

static const char *const fault_names[N_FAULTS] = {
    "io",          "full",       "die",    "sqlite-io",
    "sqlite-full", "sqlite-die", "memory", "sqlite-memory"};

static enum fault fault;
static int left;  /* operations before it */
static bool armed;

static bool is_time(void)
{
    return armed && left-- == 0;
}

static int on_file(const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    if (fault > F_DIE || !is_time())
        return 0;
    if (fault == F_DIE)
        _exit(DIED);
    return fault == F_FULL ? ENOSPC : EIO;
}

static enum fault_vfs on_sqlite(void)
{
    if (fault < F_SQLITE_IO || fault > F_SQLITE_DIE || !is_time())
        return FAULT_NONE;
    return fault == F_SQLITE_IO     ? FAULT_IO
           : fault == F_SQLITE_FULL ? FAULT_FULL
                                    : FAULT_DIE;
}

static bool on_memory(void)
{
    return fault == F_MEMORY && is_time();
}

static sqlite3_mem_methods system_memory;

static void *memory_of_sqlite(int n_bytes)
{
    if (fault == F_SQLITE_MEMORY && is_time())
        return NULL;
    return system_memory.xMalloc(n_bytes);
}

static void *more_memory_of_sqlite(void *p, int n_bytes)
{
    if (fault == F_SQLITE_MEMORY && is_time())
        return NULL;
    return system_memory.xRealloc(p, n_bytes);
}

/* Before SQLite is used for the first time. */
static void install(void)
{
    sqlite3_mem_methods memory;

    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory);
    memory = system_memory;
    memory.xMalloc = memory_of_sqlite;
    memory.xRealloc = more_memory_of_sqlite;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    fault_vfs_install();
    fault_vfs_hook = on_sqlite;
}

/* --- the acts ----------------------------------------------------------- */

static const char *dir; /* the directory with three versions */
static char *other;     /* backup's or restore's target */

static struct store *must_open(const char *path)
{
    struct store *s = NULL;

    if (store_open(path, NULL, 0, &s, NULL) != 0)
        _exit(1);
    return s;
}

static int act_start(struct store *none, struct err *err)
{
    struct store *s = NULL;
    int rc = store_open(dir, NULL, 0, &s, err);

    (void)none;
    if (rc && !strstr(err->msg, dir) && rc != ERR_NOMEM)
        _exit(3); /* an error has to name what it is about */
    store_close(s);
    return rc;
}

static int act_publish(struct store *s, struct err *err)
{
    struct util_version v;
    int64_t version;
    int rc;

    util_version_init(&v, 3, 4);
    v.p.anchor = NULL;
    rc = store_publish(s, &v.p, &version, err);
    util_version_release(&v);
    return rc; /* and never closed */
}

static int act_verdict(struct store *s, struct err *err)
{
    return store_verdict(s, 3, STORE_PASSED, "{}", "{}", NULL, 0, true, "",
                         err);
}

static int act_rollback(struct store *s, struct err *err)
{
    const struct store_rollback r = {.to = 2, .mode = "skip", .reason = ""};

    return store_rollback(s, &r, err);
}

static int act_retention(struct store *s, struct err *err)
{
    const struct store_keep keep = {0, 0, 0, 0};
    int removed;

    return store_prune(s, &keep, 0, NULL, NULL, &removed, err);
}

static int act_promote(struct store *s, struct err *err)
{
    return store_serve(s, 1, true, "", err);
}

static int act_serve_instead(struct store *s, struct err *err)
{
    return store_serve_instead(s, 1, "", err);
}

static int act_pin(struct store *s, struct err *err)
{
    return store_pin(s, 1, true, err);
}

static int act_unpin(struct store *s, struct err *err)
{
    return store_pin(s, 2, false, err);
}

static int act_tag(struct store *s, struct err *err)
{
    int64_t before;

    return tags_put(s, "stable", 1, &before, err);
}

static int act_untag(struct store *s, struct err *err)
{
    int64_t before;

    return tags_remove(s, "first", &before, err);
}

static int act_hold(struct store *s, struct err *err)
{
    return store_pause(s, "", err);
}

static int act_mark(struct store *s, struct err *err)
{
    return store_set_state(s, 1, STORE_DAMAGED, "", err);
}

static int act_release_range(struct store *s, struct err *err)
{
    return store_release(s, SKIPPED, "", err);
}

static int act_release(struct store *s, struct err *err)
{
    const int64_t row = 1;

    return releases_write(s, &row, 1, err);
}

static int act_setting(struct store *s, struct err *err)
{
    return store_setting_put(s, "some", "thing", err);
}

static int act_partitions(struct store *s, struct err *err)
{
    const struct store_offset o = {.partition_id = 7, .topic = "new"};

    return store_add_partitions(s, &o, 1, err);
}

static int act_forget(struct store *s, struct err *err)
{
    const struct tombstones_forget f = {.kind = TOMBSTONES_ID,
                                        .name = "record"};
    struct tombstones_report report;
    int rc = tombstones_write(s, &f, &report, err);

    tombstones_report_release(&report);
    return rc ? rc : tombstones_scrub(s, err);
}

static int act_backup(struct store *none, struct err *err)
{
    struct backup_report report;
    int rc;

    (void)none;
    rc = backup_make(dir, other, NULL, NULL, &report, err);
    backup_report_release(&report);
    return rc;
}

static int act_restore(struct store *none, struct err *err)
{
    char *backup = xasprintf("%s-backup", dir);
    struct backup_report report;
    int rc;

    (void)none;
    rc = backup_restore(backup, other, NULL, NULL, &report, err);
    free(backup);
    return rc;
}

/* What is asked of the directory after it. */
struct state {
    int64_t head, n;
};

struct act {
    const char *name;
    int (*run)(struct store *s, struct err *err);
    enum { ALONE, COPIES, WRITES } kind; /* without a store; into `other`, while
                                            the directory stays as it is; with
                                            an open store */
    struct state after;
    const char *sql; /* gives a number that shows the whole change, or NULL */
    int64_t sql_before, sql_after;
};

static const struct act acts[] = {
    {"start", act_start, ALONE, {3, 3}, NULL, 0, 0},
    {"publish", act_publish, WRITES, {4, 4}, NULL, 0, 0},
    {"verdict",
     act_verdict,
     WRITES,
     {3, 3},
     "SELECT 10 * serving + (SELECT count(*) FROM history) FROM pointers",
     22,
     33},
    {"rollback", act_rollback, WRITES, {2, 3}, NULL, 0, 0},
    {"retention", act_retention, WRITES, {3, 2}, NULL, 0, 0},
    {"promote",
     act_promote,
     WRITES,
     {3, 3},
     "SELECT 100 * serving + 10 * serving_pinned + count(*) FROM pointers"
     " JOIN history",
     202,
     113},
    {"serve instead",
     act_serve_instead,
     WRITES,
     {3, 3},
     "SELECT 10 * serving + count(*) FROM pointers JOIN history",
     22,
     13},
    {"pin",
     act_pin,
     WRITES,
     {3, 3},
     "SELECT 10 * pinned + (SELECT count(*) FROM control_log WHERE"
     " kind = 'pin') FROM versions WHERE version = 1",
     1,
     12},
    {"unpin",
     act_unpin,
     WRITES,
     {3, 3},
     "SELECT 10 * pinned + (SELECT count(*) FROM control_log WHERE"
     " kind = 'unpin') FROM versions WHERE version = 2",
     10,
     1},
    {"tag",
     act_tag,
     WRITES,
     {3, 3},
     "SELECT 10 * count(*) + (SELECT count(*) FROM control_log WHERE"
     " kind = 'tag') FROM tags",
     11,
     22},
    {"untag",
     act_untag,
     WRITES,
     {3, 3},
     "SELECT 10 * count(*) + (SELECT count(*) FROM control_log WHERE"
     " kind = 'untag') FROM tags",
     10,
     1},
    {"hold",
     act_hold,
     WRITES,
     {3, 3},
     "SELECT count(*) FROM control_log WHERE kind = 'hold'",
     0,
     1},
    {"mark",
     act_mark,
     WRITES,
     {3, 3},
     "SELECT count(*) FROM versions WHERE state = 'damaged'",
     0,
     1},
    {"release range",
     act_release_range,
     WRITES,
     {3, 3},
     "SELECT count(*) FROM control_log WHERE kind = 'release'",
     0,
     1},
    {"release",
     act_release,
     WRITES,
     {3, 3},
     "SELECT 100 * count(release_id) + 10 * (SELECT count(*) FROM releases) +"
     " (SELECT count(*) FROM control_log WHERE kind = 'release_record') FROM"
     " quarantine",
     0,
     111},
    {"setting",
     act_setting,
     WRITES,
     {3, 3},
     "SELECT count(*) FROM settings WHERE key = 'some'",
     0,
     1},
    {"partitions",
     act_partitions,
     WRITES,
     {3, 3},
     "SELECT count(*) FROM partitions",
     2,
     3},
    {"forget",
     act_forget,
     WRITES,
     {3, 3},
     "SELECT 10 * count(*) + (SELECT count(*) FROM control_log WHERE"
     " kind = 'forget') FROM quarantine",
     30,
     3},
    {"backup", act_backup, COPIES, {3, 3}, NULL, 0, 0},
    {"restore", act_restore, COPIES, {3, 3}, NULL, 0, 0},
};

/* After an error that is final, every function that writes returns it. */
static bool is_final(struct store *s, const struct err *first)
{
    struct err err;

    for (size_t i = 0; i < COUNT(acts); i++) {
        if (acts[i].kind != WRITES)
            continue;
        err = (struct err)ERR_INIT;
        if (acts[i].run(s, &err) != (int)first->code ||
            strcmp(err.msg, first->msg) != 0) {
            fprintf(stderr, "%s: %s, after %s\n", acts[i].name, err.msg,
                    first->msg);
            return false;
        }
    }
    return true;
}

/* --- running one -------------------------------------------------------- */

/* Versions 1 and 2 passed, 2 serves, is pinned and has a tag, 3 is pending. A
 * range has been skipped. There are also leftovers of a crash, for a start to
 * sweep. */
static void make_three(void)
{
    struct store *s = NULL;
    char *left_over = xasprintf("%s/versions/.new-000009", dir);
    char *file = xasprintf("%s/x", left_over);
    int64_t before;

    assert_int_equal(store_open(dir, NULL, 0, &s, NULL), 0);
    util_pass(s, 1, true);
    util_pass(s, 2, true);
    util_publish(s, 2, 3);
    assert_int_equal(store_pin(s, 2, true, NULL), 0);
    assert_int_equal(tags_put(s, "first", 2, &before, NULL), 0);
    assert_int_equal(sqlite3_exec(db_handle(s->db),
                                  "INSERT INTO control_log (time_ms, kind,"
                                  " version, partition_id, first_offset,"
                                  " last_offset) VALUES (1, 'skip', 1, 0, 1,"
                                  " 2)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_last_insert_rowid(db_handle(s->db)), SKIPPED);
    store_close(s);
    assert_int_equal(fileio_mkdirs(left_over, NULL), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, NULL), 0);
    free(file);
    free(left_over);
}

static void make_backup(void)
{
    char *backup = xasprintf("%s-backup", dir);
    struct backup_report report;

    assert_int_equal(backup_make(dir, backup, NULL, NULL, &report, NULL), 0);
    backup_report_release(&report);
    free(backup);
}

static void remove_all(const char *path)
{
    char *command = xasprintf("rm -rf '%s'", path);

    assert_int_equal(system(command), 0);
    free(command);
}

static void remove_backup(void)
{
    char *backup = xasprintf("%s-backup", dir);

    remove_all(backup);
    free(backup);
}

static void prepare(const struct act *a)
{
    remove_all(dir);
    remove_all(other);
    remove_backup();
    make_three();
    if (a->run == act_restore)
        make_backup();
}

/* In a child. */
static void run_child(const struct act *a, enum fault f, int n)
{
    struct store *s = a->kind == WRITES ? must_open(dir) : NULL;
    struct rlimit none = {0, 0};
    struct err err = ERR_INIT;
    int rc;

    setrlimit(RLIMIT_CORE, &none); /* an abort is expected */
    if (f == F_MEMORY && !freopen("/dev/null", "w", stderr))
        _exit(1);
    fault = f;
    left = n;
    fileio_fault = on_file;
    xalloc_fault = on_memory;
    armed = true;
    rc = a->run(s, &err);
    armed = false;
    if (s && rc == ERR_IO && !is_final(s, &err))
        _exit(NOT_FINAL);
    if (s && rc == ERR_FULL)
        rc = a->run(s, &err); /* there is room again */
    if (s && rc == ERR_FULL)
        _exit(NOT_AGAIN);
    _exit(left >= 0 ? NOT_MET : rc ? FAILED : 0);
}

static int run_in_child(const struct act *a, enum fault f, int n)
{
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0)
        run_child(a, f, n);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && f == F_MEMORY &&
        WTERMSIG(status) == SIGABRT)
        return DIED;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool is_state(const char *path, const struct state *wanted)
{
    struct state found;

    util_check_whole(path, &found.head, &found.n);
    return found.head == wanted->head && found.n == wanted->n;
}

/* A copy is whole, or nothing, or marked and refused. */
static void check_copy(const struct act *a, int rc)
{
    char *mark = xasprintf("%s/" BACKUP_UNFINISHED, other);
    char *db = xasprintf("%s/mneme.db", other);
    char *sums = xasprintf("%s/" BACKUP_SUMS, other);
    struct store *s = NULL;

    if (fileio_exists(mark)) {
        assert_true(rc == DIED);
        assert_int_equal(store_open(other, NULL, 0, &s, NULL), ERR_STATE);
    } else if (fileio_exists(db)) {
        unlink(sums); /* or the store would refuse a backup */
        assert_true(is_state(other, &a->after));
    } else {
        assert_true(rc == DIED || rc == FAILED);
    }
    free(sums);
    free(db);
    free(mark);
}

/* Has the act changed everything or nothing? done: everything. */
static bool is_whole_change(const struct act *a, bool done)
{
    struct store *s;
    int64_t found;

    if (!a->sql)
        return true;
    s = util_open_store(dir);
    found = util_number(s, a->sql);
    store_close(s);
    return found == a->sql_after || (!done && found == a->sql_before);
}

static void check(const struct act *a, enum fault f, int n, int rc)
{
    static const struct state before = {3, 3};

    if (rc != 0 && rc != FAILED && rc != DIED && rc != NOT_MET)
        fail_msg("%s: %s at %d: exit %d", a->name, fault_names[f], n, rc);
    if (!is_whole_change(a, rc == 0 || rc == NOT_MET))
        fail_msg("%s: %s at %d: half of it", a->name, fault_names[f], n);
    if (a->kind == COPIES) {
        assert_true(is_state(dir, &before));
        check_copy(a, rc);
    } else if (rc == 0 || rc == NOT_MET) {
        assert_true(is_state(dir, &a->after));
    } else {
        struct state found;

        util_check_whole(dir, &found.head, &found.n);
        if ((found.head != 3 || found.n != 3) &&
            (found.head != a->after.head || found.n != a->after.n))
            fail_msg("%s: %s at %d: head %d of %d", a->name, fault_names[f], n,
                     (int)found.head, (int)found.n);
    }
}

/* The places in turn, all or some; returns how many were tried. */
static int run_all(const struct act *a, enum fault f, int stride)
{
    int n, rc, tried = 0;

    for (n = (int)(a - acts) % stride; n < MOST; n += stride) {
        prepare(a);
        rc = run_in_child(a, f, n);
        fileio_fault = NULL;
        check(a, f, n, rc);
        tried++;
        if (rc == NOT_MET)
            return tried;
    }
    fail_msg("%s: %s: no end", a->name, fault_names[f]);
    return 0;
}

/* A change of some rows takes few operations, of which one is the sync that
 * counts. */
static int stride_of(const struct act *a, enum fault f)
{
    bool is_small = a->kind == WRITES && a->sql && a->run != act_forget;

    if (getenv("SOAK") || (is_small && f >= F_SQLITE_IO && f <= F_SQLITE_DIE))
        return 1;
    return f == F_SQLITE_MEMORY ? 61 : f == F_MEMORY ? 17 : 11;
}

static void run_fault(enum fault f)
{
    for (size_t i = 0; i < COUNT(acts); i++)
        printf("# %s: %s: %d places\n", fault_names[f], acts[i].name,
               run_all(&acts[i], f, stride_of(&acts[i], f)));
}

#define TEST(name, f)                                                          \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        run_fault(f);                                                          \
    }

TEST(test_io, F_IO)
TEST(test_full, F_FULL)
TEST(test_die, F_DIE)
TEST(test_sqlite_io, F_SQLITE_IO)
TEST(test_sqlite_full, F_SQLITE_FULL)
TEST(test_sqlite_die, F_SQLITE_DIE)
TEST(test_memory, F_MEMORY)
TEST(test_sqlite_memory, F_SQLITE_MEMORY)

/* In memory where there is room: what is tested is the order of things. */
static char *make_top(void)
{
    const char *tmp = getenv("TMPDIR");
    char *top = xasprintf("%s/mneme-faults-XXXXXX",
                          access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                          : tmp                         ? tmp
                                                        : "/tmp");

    if (!mkdtemp(top))
        abort();
    return top;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_io),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_die),
        cmocka_unit_test(test_sqlite_io),
        cmocka_unit_test(test_sqlite_full),
        cmocka_unit_test(test_sqlite_die),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sqlite_memory),
    };
    char *top = make_top();
    char *store = fileio_join(top, "store");
    int failed;

    install();
    dir = store;
    other = fileio_join(top, "other");
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_all(top);
    free(other);
    free(store);
    free(top);
    return failed;
}
