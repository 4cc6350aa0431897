/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: it opens or says why not, a version is published whole, and
 * readers go on meanwhile.
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
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/backup.h"
#include "store/db.h"
#include "store/pages.h"
#include "store/schema.h"
#include "store/store.h"
#include "tests/util/store_util.h"

/* --- opening ------------------------------------------------------------ */

/* A backup does not become a data directory, and is not made inside one. */
static void test_backups(void **state)
{
    char *sums = fileio_join(*state, BACKUP_SUMS);
    char *inside = fileio_join(*state, "backups/monday");
    struct backup_report report;
    struct store *s = NULL;
    struct err err = ERR_INIT;

    util_make_first(*state);
    assert_int_equal(backup_make(*state, inside, NULL, NULL, &report, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "in the data directory"));
    *strrchr(inside, '/') = '\0';
    assert_false(fileio_exists(inside));
    assert_int_equal(fileio_write_atomic(sums, "", 0, NULL), 0);
    assert_int_equal(store_open(*state, NULL, 0, &s, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "mneme restore"));
    free(inside);
    free(sums);
}

static void test_open(void **state)
{
    struct store *s = util_open_store(*state);
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

    s = util_open_store(*state);
    assert_string_equal(store_id(s), id);
    assert_int_equal(store_setting_get(s, "shards", &value, NULL), 0);
    assert_string_equal(value, "4");
    free(value);
    assert_int_equal(util_number(s, "PRAGMA synchronous"), 2);
    assert_int_equal(util_number(s, "PRAGMA foreign_keys"), 1);
    assert_int_equal(util_number(s, "PRAGMA secure_delete"), 1);
    assert_int_equal(util_number(s, "PRAGMA user_version"), SCHEMA_NEWEST);
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
    struct store *s = util_open_store(*state);
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
    /* All or nothing, and the lock is free again. */
    s = util_open_store(*state);
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
    char *path = util_file_of(dir, version, "state.safetensors");
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
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
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
    assert_tensors(c, 1, STORE_NGRAM, &v.ngram);
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
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct util_version v;
    struct tensor_list l = TENSOR_LIST_INIT;
    char *config = util_file_of(*state, 1, "config.json");
    char *model = util_file_of(*state, 1, "model.safetensors");
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
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    char *first = util_file_of(*state, 1, "anchor.safetensors");
    char *second = util_file_of(*state, 2, "anchor.safetensors");
    char *third = util_file_of(*state, 3, "anchor.safetensors");
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
    const struct store_keep keep = {3, 0, 0, 0};
    struct store *s = util_open_store(*state);
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

/* Everything in a directory, and the directory, is its owner's alone. */
static void assert_private(const char *dir)
{
    char *command = xasprintf("find '%s' \\( -type f ! -perm 600 -o -type d"
                              " ! -perm 700 \\) -printf '%%m %%p\\n'",
                              dir);
    FILE *pipe = popen(command, "r");
    char line[512] = "";

    assert_non_null(pipe);
    if (fgets(line, sizeof line, pipe))
        fail_msg("not private: %s", line);
    pclose(pipe);
    free(command);
}

static void fill(const char *dir, const char *backup, const char *restored)
{
    struct backup_report report;
    struct store *s = util_open_store(dir);

    util_pass(s, 1, true);
    assert_private(dir); /* the log, too, while it is in use */
    assert_int_equal(backup_make(dir, backup, NULL, NULL, &report, NULL), 0);
    backup_report_release(&report);
    store_close(s);
    assert_int_equal(
        backup_restore(backup, restored, NULL, NULL, &report, NULL), 0);
    backup_report_release(&report);
    assert_private(dir);
    assert_private(backup);
    assert_private(restored);
}

/* Whatever the umask; also in directories that are there, open to all; also
 * files that an older program made. */
static void test_private(void **state)
{
    static const mode_t masks[] = {0, 022, 0277, 0777};
    char *dir = xasprintf("%s/data", (char *)*state);
    char *backup = xasprintf("%s/backup", (char *)*state);
    char *restored = xasprintf("%s/restored", (char *)*state);
    char *open_up = xasprintf("chmod -R a+rwX '%s'", dir);
    char *command =
        xasprintf("rm -rf '%s' '%s' '%s'", dir, backup, restored);
    struct store *s;

    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        for (int there = 0; there < 2; there++) {
            mode_t mask;

            if (there) {
                assert_int_equal(mkdir(dir, 0777), 0);
                assert_int_equal(mkdir(backup, 0777), 0);
                assert_int_equal(mkdir(restored, 0777), 0);
                assert_int_equal(chmod(dir, 0777), 0);
            }
            mask = umask(masks[i]);
            fill(dir, backup, restored);
            umask(mask);
            s = util_open_store(dir);
            assert_int_equal(store_privacy(s), FILEIO_PRIVATE);
            store_close(s);
            if (masks[i] == 022 && there) {
                assert_int_equal(system(open_up), 0);
                s = util_open_store(dir);
                assert_int_equal(store_privacy(s), FILEIO_TIGHTENED);
                store_close(s);
                s = util_open_store(dir);
                assert_int_equal(store_privacy(s), FILEIO_PRIVATE);
                store_close(s);
            }
            assert_int_equal(system(command), 0);
        }
    free(command);
    free(open_up);
    free(restored);
    free(backup);
    free(dir);
}

/* Not closed: a directory that users share, or that holds other things. */
static void test_not_closed(void **state)
{
    char *dir = xasprintf("%s/data", (char *)*state);
    char *other = xasprintf("%s/data/other", (char *)*state);
    char *command = xasprintf("rm -rf '%s'", dir);
    struct stat st;
    struct store *s;

    assert_int_equal(mkdir(dir, 0777), 0);
    assert_int_equal(chmod(dir, 01777), 0);
    s = util_open_store(dir);
    assert_int_equal(store_privacy(s), FILEIO_OPEN);
    store_close(s);
    assert_int_equal(system(command), 0);
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(mkdir(other, 0777), 0);
    s = util_open_store(dir);
    assert_int_equal(store_privacy(s), FILEIO_OPEN);
    store_close(s);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(system(command), 0);
    free(command);
    free(other);
    free(dir);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_open),
        T(test_backups),
        T(test_newer),
        T(test_not_a_store),
        T(test_parts),
        T(test_publish),
        T(test_linear),
        T(test_anchor_link),
        T(test_readers),
        T(test_private),
        T(test_not_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
