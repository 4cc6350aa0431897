/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flipped bit in a version's files, in SQLite's log or in a page of the
 * database is found, and named.
 */
#include "config.h"

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

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/store.h"
#include "tests/util/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

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
                 {"holdout.safetensors", STORE_HOLDOUT},
                 {"anchor.safetensors", STORE_ANCHOR},
                 {"head.safetensors", STORE_HEAD},
                 {"ngram.safetensors", STORE_NGRAM}};
    static const char *const texts[] = {"labels.json", "tokenizer.json",
                                        "config.json"};
    struct store *s = util_open_store(*state);
    struct catalog *c = util_open_catalog(*state);
    struct tensor_list l = TENSOR_LIST_INIT;
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;

    util_publish(s, 0, 1);
    for (size_t i = 0; i < COUNT(parts); i++) {
        char *path = util_file_of(*state, 1, parts[i].name);

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
        char *path = util_file_of(*state, 1, texts[i]);
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
        s = util_open_store(dir);
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

    util_make_first(*state);
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
        s = util_open_store(*state);
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

    util_make_first(*state);
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
    store_close(util_open_store(*state));
    free(path);
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_damage),
        T(test_log_damage),
        T(test_page_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
