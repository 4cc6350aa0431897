/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data directories that older programs wrote (tests/data/store_*.tar.gz) open,
 * whole, and are written on; and what they become has page checksums.
 */
#include "config.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "replay/replay.h"
#include "store/pages.h"
#include "store/store.h"
#include "tests/util/store_util.h"

static void unpack(const char *archive, const char *to)
{
    char *command = xasprintf("gzip -dc '%s' | tar -C '%s' "
                              "--strip-components=1 -xf -",
                              archive, to);

    assert_int_equal(system(command), 0);
    free(command);
}

static struct store *open_all(const char *dir)
{
    const struct store_schema schema = {"replay", replay_schema,
                                        replay_schema_n};
    struct store *s = NULL;
    struct err err = ERR_INIT;

    if (store_open(dir, &schema, 1, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

/* Versions 1 and 2, a rolled back 3, 1 pinned, 2 the head: write_store.c. */
static void check_rows(const char *dir, bool guarded, bool tagged)
{
    struct catalog *c = NULL;
    struct catalog_version v;
    struct catalog_range *ranges = NULL;
    struct tensor_list index = TENSOR_LIST_INIT;
    struct replay_segments rows;
    const int64_t *keys, *domains;
    char *guard;
    int64_t wanted[2];
    size_t n = 0;

    assert_int_equal(catalog_open(dir, &c, NULL), 0);
    assert_int_equal(catalog_check(c, NULL), 0);
    assert_int_equal(catalog_guard(c, 2, &guard, NULL), 0);
    if (guarded)
        assert_string_equal(guard, "{\"reference\": 1}");
    else
        assert_null(guard); /* nobody knew anything then */
    free(guard);
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(store_verify(c, i, NULL), 0);
        assert_int_equal(catalog_get(c, i, &v, NULL), 0);
        assert_int_equal(v.pinned, i == 1);
        assert_string_equal(v.tags ? v.tags : "",
                            tagged && i == 1 ? "release-1.0" : "");
        assert_int_equal(v.head, i == 2);
        assert_int_equal(v.serving, i == 2);
        assert_int_equal(v.state, i == 3 ? STORE_ROLLED_BACK : STORE_PASSED);
        assert_int_equal(v.n_offsets, 2);
        catalog_version_release(&v);
    }
    assert_int_equal(catalog_skipped(c, &ranges, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(ranges[0].last_offset, 509);
    free(ranges);
    assert_int_equal(store_load(c, 2, STORE_STATE, &index, NULL), 0);
    assert_int_equal(
        replay_index_keys(&index, REPLAY_ROWS, &keys, &domains, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(
        replay_db_read(catalog_lock(c), REPLAY_ROWS,
                       memcpy(wanted, keys, n * sizeof *keys), n, &rows, NULL),
        0);
    catalog_unlock(c);
    assert_int_equal(rows.items[1].n_tokens, 8);
    replay_segments_free(&rows);
    tensor_list_release(&index);
    catalog_close(c);
}

static void check_pages(const char *dir)
{
    char *path = fileio_join(dir, "mneme.db");
    struct buf bytes = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 24, &bytes, NULL), 0);
    assert_int_equal(bytes.data[20], PAGES_RESERVED);
    buf_release(&bytes);
    free(path);
}

static void open_one(const char *archive, const char *dir)
{
    struct store *s;

    unpack(archive, dir);
    s = open_all(dir);
    check_rows(dir,
               !strstr(archive, "/store_1") && !strstr(archive, "/store_2"),
               strstr(archive, "/store_4") != NULL);
    assert_int_equal(util_pass(s, 9, true), 4);
    store_close(s);
    check_pages(dir);
    s = open_all(dir);
    assert_int_equal(util_head(s), 4);
    store_close(s);
}

static void test_golden(void **state)
{
    const char *src = getenv("top_srcdir");
    char *pattern = xasprintf("%s/tests/data/store_*.tar.gz", src ? src : ".");
    glob_t found;

    (void)state;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 3);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        void *dir;

        assert_int_equal(util_make_temp(&dir), 0);
        printf("# %s\n", found.gl_pathv[i]);
        open_one(found.gl_pathv[i], dir);
        util_remove_temp(&dir);
    }
    globfree(&found);
    free(pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
