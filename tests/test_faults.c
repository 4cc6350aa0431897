/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th operation fails, for every n: in start-up, publish, verdict,
 * rollback, retention, backup and restore.
 *
 * Each run is a child process on a fresh directory with three versions; then
 * the parent opens what it left. It is as it was before the act, or as it is
 * after: every row with every file undamaged, no file without a row, and once
 * the act said that it was done, it is. What fails:
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
#include "store/store.h"
#include "tests/fault_vfs.h"
#include "tests/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DIED 7       /* in a fault that ends the process */
#define FAILED 4     /* the act said so */
#define NOT_MET 5    /* it was done before the n-th operation came */
#define MOST 20000   /* operations of an act */

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

static int act_start(void)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;
    int rc;

    armed = true;
    rc = store_open(dir, NULL, 0, &s, &err);
    if (rc && !strstr(err.msg, dir) && rc != ERR_NOMEM)
        _exit(3); /* an error has to name what it is about */
    store_close(s);
    return rc;
}

static int act_publish(void)
{
    struct store *s = must_open(dir);
    struct util_version v;
    int64_t version;
    int rc;

    util_version_init(&v, 3, 4);
    v.p.anchor = NULL;
    armed = true;
    rc = store_publish(s, &v.p, &version, NULL);
    util_version_release(&v);
    return rc; /* and never closed */
}

static int act_verdict(void)
{
    struct store *s = must_open(dir);

    armed = true;
    return store_verdict(s, 3, STORE_PASSED, "{}", "{}", NULL, 0, true, "",
                         NULL);
}

static int act_rollback(void)
{
    const struct store_rollback r = {.to = 2, .mode = "skip", .reason = ""};
    struct store *s = must_open(dir);

    armed = true;
    return store_rollback(s, &r, NULL);
}

static int act_retention(void)
{
    const struct store_keep keep = {0, 0, 0, 0};
    struct store *s = must_open(dir);
    int removed;

    armed = true;
    return store_prune(s, &keep, 0, NULL, NULL, &removed, NULL);
}

static int act_backup(void)
{
    struct backup_report report;
    int rc;

    armed = true;
    rc = backup_make(dir, other, NULL, NULL, &report, NULL);
    backup_report_release(&report);
    return rc;
}

static int act_restore(void)
{
    char *backup = xasprintf("%s/backup", dir);
    struct backup_report report;
    int rc;

    armed = true;
    rc = backup_restore(backup, other, NULL, NULL, &report, NULL);
    free(backup);
    return rc;
}

/* What is asked of the directory after it. */
struct state {
    int64_t head, n;
};

struct act {
    const char *name;
    int (*run)(void);
    bool copies; /* into `other`, while the directory stays as it is */
    struct state after;
};

static const struct act acts[] = {
    {"start", act_start, false, {3, 3}},
    {"publish", act_publish, false, {4, 4}},
    {"verdict", act_verdict, false, {3, 3}},
    {"rollback", act_rollback, false, {2, 3}},
    {"retention", act_retention, false, {3, 2}},
    {"backup", act_backup, true, {3, 3}},
    {"restore", act_restore, true, {3, 3}},
};

/* --- running one -------------------------------------------------------- */

/* Versions 1 and 2 passed, 2 serves, 3 is pending; what a crash may leave is
 * there, too, for a start to sweep. */
static void make_three(void)
{
    struct store *s = NULL;
    char *left_over = xasprintf("%s/versions/.new-000009", dir);
    char *file = xasprintf("%s/x", left_over);

    assert_int_equal(store_open(dir, NULL, 0, &s, NULL), 0);
    util_pass(s, 1, true);
    util_pass(s, 2, true);
    util_publish(s, 2, 3);
    store_close(s);
    assert_int_equal(fileio_mkdirs(left_over, NULL), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, NULL), 0);
    free(file);
    free(left_over);
}

static void make_backup(void)
{
    char *backup = xasprintf("%s/backup", dir);
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

static void prepare(const struct act *a)
{
    remove_all(dir);
    remove_all(other);
    make_three();
    if (a->run == act_restore)
        make_backup();
}

/* In a child. */
static void run_child(const struct act *a, enum fault f, int n)
{
    struct rlimit none = {0, 0};
    int rc;

    setrlimit(RLIMIT_CORE, &none); /* an abort is expected */
    if (f == F_MEMORY && !freopen("/dev/null", "w", stderr))
        _exit(1);
    fault = f;
    left = n;
    fileio_fault = on_file;
    xalloc_fault = on_memory;
    rc = a->run();
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
    struct store *s = NULL;

    if (fileio_exists(mark)) {
        assert_true(rc == DIED);
        assert_int_equal(store_open(other, NULL, 0, &s, NULL), ERR_STATE);
    } else if (fileio_exists(db)) {
        assert_true(is_state(other, &a->after));
    } else {
        assert_true(rc == DIED || rc == FAILED);
    }
    free(db);
    free(mark);
}

static void check(const struct act *a, enum fault f, int n, int rc)
{
    static const struct state before = {3, 3};

    if (rc != 0 && rc != FAILED && rc != DIED && rc != NOT_MET)
        fail_msg("%s: %s at %d: exit %d", a->name, fault_names[f], n, rc);
    if (a->copies) {
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

static int stride_of(enum fault f)
{
    if (getenv("SOAK"))
        return 1;
    return f == F_SQLITE_MEMORY ? 61 : f == F_MEMORY ? 17 : 11;
}

static void run_fault(enum fault f)
{
    for (size_t i = 0; i < COUNT(acts); i++)
        printf("# %s: %s: %d places\n", fault_names[f], acts[i].name,
               run_all(&acts[i], f, stride_of(f)));
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
