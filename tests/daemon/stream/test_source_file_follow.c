/* SPDX-License-Identifier: Apache-2.0 */
/* A file source follows its file: rotation, truncation, writing anew. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "tests/daemon/stream/test_source_file_util.h"

/* The file grows, is renamed, is truncated: each line is read once. */
static void test_follow(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_partition *rows;
    struct source_position p[2];
    char old[160];

    (void)state;
    put_text("log", "one\ntw");
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    assert_null(queue_pop(fx.queue, 150)); /* the line has no end yet */
    append_text("o\n");
    expect(&fx, 0, 1, "two");
    append_text("last");
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    expect(&fx, 0, 2, "last");
    put_text("log", "new\n");
    expect(&fx, 1, 0, "new");
    expect_state(&fx, SOURCE_RUNNING, "");
    put_text("log", "");
    timing_sleep_ms(250);
    append_text("cut\n");
    expect(&fx, 2, 0, "cut");
    /* Older partitions are listed until a version accounts for them. */
    assert_int_equal(source_get_partitions(fx.source, &rows), 3);
    assert_int_equal(rows[0].partition, 2);
    assert_int_equal(rows[1].partition, 0);
    assert_int_equal(rows[1].end, 3);
    assert_int_equal(rows[2].partition, 1);
    assert_int_equal(rows[2].end, 1);
    free(rows);
    p[0] = at(0, 3, "last");
    p[1] = at(1, 0, NULL);
    source_published(fx.source, p, 2);
    assert_int_equal(source_get_partitions(fx.source, &rows), 2);
    assert_int_equal(rows[1].partition, 1);
    free(rows);
    close_source(&fx);
}

/* After a restart, remaining lines are read from a copy, if there is one. */
static void test_rotated_while_stopped(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p[2];

    (void)state;
    put_text("log.1", "one\ntwo\nthree");
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p[0] = at(3, 1, "one");
    begin(&fx, p);
    expect(&fx, 3, 1, "two");
    expect(&fx, 3, 2, "three");
    expect(&fx, 4, 0, "uno");
    close_source(&fx);

    put_text("log.1", "another\ntwo\n");
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p[0] = at(0, 9, "nine");
    p[1] = at(3, 1, "one");
    assert_int_equal(source_begin(fx.source, p, 2, 1, NULL), 0);
    expect(&fx, 4, 0, "uno");
    close_source(&fx);

    open_source(&fx, "log", true);
    p[1] = at(3, 1, "uno");
    assert_int_equal(source_begin(fx.source, p, 2, 1, NULL), 0);
    expect(&fx, 3, 1, "dos");
    close_source(&fx);
}

/* Writes new text into the same inode. */
static void write_anew(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Writes "line 0" to "line 99999", more than one read returns. */
static void write_many_lines(void)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (int i = 0; i < 100000; i++)
        fprintf(f, "line %d\n", i);
    assert_int_equal(fclose(f), 0);
}

static int64_t gaps_of(struct fixture *fx)
{
    struct source_health h;

    source_get_health(fx->source, &h);
    return h.gaps;
}

/* The file is rewritten between two reads, to a shorter, equal or longer one.
 * Every new line is read, and no part of a line. */
static void test_written_anew(void **state)
{
    static const char *const texts[] = {"uno\n", "uno\ndos\n",
                                        "a first line\na second line\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct fixture fx = {.epoch = 1};
        const char *at = texts[i], *end;

        put_text("anew", "one\ntwo\n");
        open_source(&fx, "anew", true);
        begin(&fx, NULL);
        expect(&fx, 0, 0, "one");
        expect(&fx, 0, 1, "two");
        timing_sleep_ms(50);
        write_anew(texts[i]);
        for (int line = 0; (end = strchr(at, '\n')); line++) {
            char *want = xstrndup(at, (size_t)(end - at));

            expect(&fx, 1, line, want);
            free(want);
            at = end + 1;
        }
        assert_null(queue_pop(fx.queue, 150));
        assert_int_equal(gaps_of(&fx), 0);
        close_source(&fx);
    }
}

/* logrotate's copytruncate: the copy has the lines after the last read. Without
 * a copy they are lost, which is a gap. */
static void test_copied_and_truncated(void **state)
{
    struct fixture fx = {.epoch = 1};

    (void)state;
    put_text("copied", "one\ntw");
    open_source(&fx, "copied", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    timing_sleep_ms(50);
    put_text("copied.1", "one\ntwo\nthree\n");
    write_anew("uno\n");
    expect(&fx, 0, 1, "two");
    expect(&fx, 0, 2, "three");
    expect(&fx, 1, 0, "uno");
    assert_int_equal(gaps_of(&fx), 0);
    close_source(&fx);

    put_text("copied.1", "another one\n");
    put_text("behind", "");
    open_source(&fx, "behind", true);
    write_many_lines();
    begin(&fx, NULL);
    expect(&fx, 0, 0, "line 0");
    write_anew("uno\n");
    for (int32_t partition = 0; partition == 0;) {
        struct record *r = next_record(&fx);

        partition = r->partition;
        assert_string_equal(strncmp(r->value, "line ", 5) ? r->value : "uno",
                            "uno");
        record_free(r);
    }
    for (int i = 0; i < 500 && gaps_of(&fx) == 0; i++)
        timing_sleep_ms(10);
    assert_int_equal(gaps_of(&fx), 1);
    close_source(&fx);
}

/* Without follow, the source stops when a file changes while it is read. */
static void test_changed_while_read(void **state)
{
    struct fixture fx = {.epoch = 1};

    (void)state;
    put_text("behind", "");
    open_source(&fx, "behind", false);
    write_many_lines();
    begin(&fx, NULL);
    expect(&fx, 0, 0, "line 0");
    write_anew("uno\n");
    for (int i = 0; i < 200000; i++) {
        struct record *r = queue_pop(fx.queue, 10);
        struct source_health h;

        record_free(r);
        source_get_health(fx.source, &h);
        if (!r && h.state == SOURCE_STOPPED)
            break;
    }
    expect_state(&fx, SOURCE_STOPPED, "truncated or rewritten");
    close_source(&fx);
}

/* The writer keeps the renamed file open for a while. The test moves the clock,
 * so that a busy machine changes nothing. */
static void test_renamed_and_written(void **state)
{
    static _Atomic int64_t now;
    struct fixture fx = {.epoch = 1};
    char old[160];
    FILE *f;

    (void)state;
    now = timing_mono_ms();
    timing_set_fake(&now);
    put_text("log", "one\n");
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    f = fopen(path, "a");
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    put_text("log", "new\n");
    for (int i = 0; i < 5; i++) {
        char value[32];

        fprintf(f, "late %d\n", i);
        fflush(f);
        snprintf(value, sizeof value, "late %d", i);
        expect(&fx, 0, 1 + i, value);
        now += 600;
    }
    for (int i = 0; i < 2000 && queue_length(fx.queue) == 0; i++) {
        timing_sleep_ms(10);
        now += 10;
    }
    expect(&fx, 1, 0, "new");
    assert_int_equal(gaps_of(&fx), 0);
    fputs("too late\n", f); /* counted as a gap */
    fclose(f);
    for (int i = 0; i < 2000 && gaps_of(&fx) == 0; i++) {
        timing_sleep_ms(10);
        now += 10;
    }
    assert_int_equal(gaps_of(&fx), 1);
    close_source(&fx);
    timing_set_fake(NULL);
}

static void put_gzip(const char *name, const char *text)
{
    char *to = fileio_join(dir, name);
    gzFile f = gzopen(to, "wb");

    assert_non_null(f);
    assert_true(gzputs(f, text) > 0);
    assert_int_equal(gzclose(f), Z_OK);
    free(to);
}

static void put_zstd(const char *name, const char *text)
{
    char packed[256];
    size_t n = ZSTD_compress(packed, sizeof packed, text, strlen(text), 1);

    assert_false(ZSTD_isError(n));
    put(name, packed, n);
}

static void remove_file(const char *name)
{
    char *to = fileio_join(dir, name);

    unlink(to);
    free(to);
}

/* The file was rotated and compressed while no source ran. Without a copy that
 * is a gap. */
static void test_packed_while_stopped(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;

    (void)state;
    for (int i = 0; i < 3; i++) {
        remove_file("log.1");
        remove_file("log.1.gz");
        remove_file("log.1.zst");
        if (i == 0)
            put_gzip("log.1.gz", "one\ntwo\nthree\n");
        if (i == 1)
            put_zstd("log.1.zst", "one\ntwo\nthree\n");
        put_text("log", "uno\ndos\n");
        open_source(&fx, "log", true);
        p = at(3, 1, "one");
        begin(&fx, &p);
        if (i < 2) {
            expect(&fx, 3, 1, "two");
            expect(&fx, 3, 2, "three");
        }
        expect(&fx, 4, 0, "uno");
        expect(&fx, 4, 1, "dos");
        assert_int_equal(gaps_of(&fx), i == 2);
        close_source(&fx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_rotated_while_stopped),
        cmocka_unit_test(test_written_anew),
        cmocka_unit_test(test_copied_and_truncated),
        cmocka_unit_test(test_changed_while_read),
        cmocka_unit_test(test_renamed_and_written),
        cmocka_unit_test(test_packed_while_stopped),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
