/* SPDX-License-Identifier: Apache-2.0 */
/* Seeks in a file source: while it reads, and into files that were rotated,
 * replaced or truncated. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "tests/daemon/stream/test_source_file_util.h"

/* A seek is refused when lines after the positions are in a renamed file. */
static void test_seek_over_a_rotation(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p[2] = {at(0, 1, "one"), at(1, 1, "new")};
    struct err err = ERR_INIT;
    char old[160];

    (void)state;
    put_text("log", "one\ntwo\n");
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    expect(&fx, 0, 1, "two");
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    put_text("log", "new\nnewer\n");
    expect(&fx, 1, 0, "new");
    expect(&fx, 1, 1, "newer");

    assert_int_equal(source_seek(fx.source, p, 2, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 2 was in a file"));
    p[0] = at(0, 2, "two");
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, p, 2, 2, &err), 0);
    expect(&fx, 1, 1, "newer");
    close_source(&fx);

    fx.epoch = 1; /* the same after a restart */
    open_source(&fx, "log", true);
    assert_int_equal(source_begin(fx.source, p, 2, 1, NULL), 0);
    expect(&fx, 1, 1, "newer");
    p[0] = at(0, 1, "one");
    assert_int_equal(source_seek(fx.source, p, 2, 2, &err), ERR_STATE);
    close_source(&fx);
}

static void test_seek(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("s", "one\ntwo\nthree\n");
    open_source(&fx, "s", false);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    expect(&fx, 0, 1, "two");
    expect(&fx, 0, 2, "three");
    expect_end(&fx, 3);
    expect_state(&fx, SOURCE_ENDED, "");

    p = at(0, 1, "one"); /* after the end */
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), 0);
    expect(&fx, 0, 1, "two");
    expect(&fx, 0, 2, "three");
    expect_end(&fx, 3);

    p = at(0, 1, "uno"); /* refused, without effect */
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "another file"));
    p = at(1, 1, "one");
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "rotated"));
    assert_null(queue_pop(fx.queue, 50));

    fx.epoch = 4; /* a position before the first record */
    assert_int_equal(source_seek(fx.source, NULL, 0, 4, &err), 0);
    expect(&fx, 0, 0, "one");
    close_source(&fx);
}

static const char thirteen[] = "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";

/* Waits until the reading thread waits for room. */
static void fill_queue(struct fixture *fx)
{
    while (queue_length(fx->queue) < 8)
        timing_sleep_ms(1);
    timing_sleep_ms(20);
}

/* A seek while the reading thread waits for room in a full queue. */
static void test_seek_under_pressure(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;

    (void)state;
    put_text("p", thirteen);
    open_source(&fx, "p", false);
    begin(&fx, NULL);
    fill_queue(&fx);
    p = at(0, 3, "2");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    fx.epoch = 2;
    expect(&fx, 0, 3, "3");
    expect(&fx, 0, 4, "4");
    close_source(&fx);
}

static void expect_thirteen(struct fixture *fx, int32_t partition)
{
    for (int i = 0; i < 13; i++) {
        char value[16];

        snprintf(value, sizeof value, "%d", i);
        expect(fx, partition, i, value);
    }
}

/* The source reads the copy of a file that was rotated while no source ran. A
 * seek goes to that copy. */
static void test_seek_in_a_rotated_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;
    char old[160], older[160];

    (void)state;
    put_text("log.1", thirteen);
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p = at(3, 1, "0");
    begin(&fx, &p);
    expect(&fx, 3, 1, "1");
    fill_queue(&fx);

    p = at(3, 0, NULL); /* no line to compare */
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect(&fx, 3, 0, "0");
    fill_queue(&fx);
    snprintf(older, sizeof older, "%s/log.2", dir);
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(old, older), 0);
    put_text("log.1", thirteen); /* the copy is replaced */
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 1 was in a file"));
    for (int i = 1; i < 13; i++)
        record_free(next_record(&fx));
    expect(&fx, 4, 0, "uno");
    close_source(&fx);
}

/* Renames the file to PATH.1, and writes another one to its path. */
static void replace_file(const char *name, const char *text)
{
    char old[160];

    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    put_text(name, text);
}

/* A seek is refused when the path names another file. The source still reads
 * the renamed one to its end. */
static void test_seek_in_a_replaced_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("log", thirteen);
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    fill_queue(&fx);
    replace_file("log", "uno\n");

    p = at(0, 0, NULL);
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 1 was in a file"));
    expect_thirteen(&fx, 0); /* the refused seek had no effect */
    expect(&fx, 1, 0, "uno");
    close_source(&fx);
}

/* An editor has saved the file as a new one. A seek compares the last learned
 * line. */
static void test_seek_in_a_saved_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("log", thirteen);
    open_source(&fx, "log", false);
    begin(&fx, NULL);
    expect_thirteen(&fx, 0);
    replace_file("log", thirteen);

    p = at(0, 2, "one");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), ERR_STATE);
    p = at(0, 2, "1");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), 0);
    fx.epoch = 2;
    expect(&fx, 0, 2, "2");
    close_source(&fx);
}

static void test_seek_in_a_truncated_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("log", thirteen);
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    fill_queue(&fx);
    put_text("log", "uno\n"); /* keeps the inode */
    p = at(0, 0, NULL);
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 1 was in a file"));
    expect_thirteen(&fx, 0);
    expect(&fx, 1, 0, "uno");
    close_source(&fx);
}

/* A seek waits until the source has opened its file. A source that has stopped
 * opens none. */
static void test_seek_at_once(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;

    (void)state;
    put_text("log.1", thirteen);
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p = at(3, 1, "0");
    begin(&fx, &p);
    p = at(3, 0, NULL);
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect_thirteen(&fx, 3);
    expect(&fx, 4, 0, "uno");
    close_source(&fx);

    fx.epoch = 1;
    open_source(&fx, "log", false);
    p = at(0, 1, "0");
    begin(&fx, &p);
    expect_state(&fx, SOURCE_STOPPED, "another file");
    p = at(0, 1, "uno");
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect(&fx, 0, 1, "dos");
    close_source(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seek_over_a_rotation),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_seek_under_pressure),
        cmocka_unit_test(test_seek_in_a_rotated_file),
        cmocka_unit_test(test_seek_in_a_replaced_file),
        cmocka_unit_test(test_seek_in_a_saved_file),
        cmocka_unit_test(test_seek_in_a_truncated_file),
        cmocka_unit_test(test_seek_at_once),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
