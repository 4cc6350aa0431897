/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines out of plain and compressed files, also of files that still grow.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/lines.h"
#include "base/xalloc.h"

#define MOST 64

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_lines.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(dir);
}

static char *file(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

static void append(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "ab");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void expect_line(struct lines *l, const char *want, bool too_long)
{
    struct line line;
    struct err err = {0};

    assert_int_equal(lines_next(l, &line, &err), 0);
    assert_int_equal(line.n_bytes, strlen(want));
    assert_memory_equal(line.bytes, want, line.n_bytes);
    assert_int_equal(line.too_long, too_long);
}

static void expect_end(struct lines *l)
{
    struct line line;
    struct err err = {0};

    assert_int_equal(lines_next(l, &line, &err), ERR_END);
}

static struct lines *opened(const char *path)
{
    struct err err = {0};
    struct lines *l = lines_open(path, MOST, &err);

    assert_non_null(l);
    return l;
}

static void test_plain(void **state)
{
    char *path = file("plain");
    struct err err = {0};
    struct line line;
    struct lines *l;

    (void)state;
    append(path, "one\ntwo\r\n\nfo", 12);
    l = opened(path);
    expect_line(l, "one", false);
    expect_line(l, "two", false);
    expect_line(l, "", false);
    expect_end(l);
    append(path, "ur\nfive", 7);
    expect_line(l, "four", false);
    expect_end(l);
    assert_int_equal(lines_rest(l, &line, &err), 0);
    assert_memory_equal(line.bytes, "five", 4);
    assert_int_equal(lines_rest(l, &line, &err), ERR_END);
    lines_close(l);
    unlink(path);
    free(path);
}

/* One line as long as may be with either end, one a byte longer, one longer
 * than the buffer. */
static void test_long_lines(void **state)
{
    char *path = file("long");
    char want[MOST + 1];
    size_t n = (size_t)1 << 20;
    char *xs = xmalloc(n);
    struct lines *l;

    (void)state;
    memset(xs, 'x', n);
    memset(want, 'x', MOST);
    want[MOST] = '\0';
    append(path, xs, MOST);
    append(path, "\r\n", 2);
    append(path, xs, MOST + 1);
    append(path, "\n", 1);
    append(path, xs, n);
    append(path, "\nshort\n", 7);
    l = opened(path);
    expect_line(l, want, false);
    expect_line(l, want, true);
    expect_line(l, want, true);
    expect_line(l, "short", false);
    expect_end(l);
    lines_close(l);
    unlink(path);
    free(xs);
    free(path);
}

static const char two_lines[] = "a first line\na second line\n";

static size_t pack_zstd(void *to, size_t room)
{
    size_t n = ZSTD_compress(to, room, two_lines, strlen(two_lines), 1);

    assert_false(ZSTD_isError(n));
    return n;
}

static size_t pack_gzip(void *to, size_t room)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8,
                                  Z_DEFAULT_STRATEGY),
                     Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)two_lines;
    z.avail_in = (uInt)strlen(two_lines);
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&z), Z_OK);
    return room - z.avail_out;
}

/*
 * A file that is still written ends in the middle of a member for as long as
 * its writer takes, however often it is asked.
 */
static void check_growing(const char *name, const unsigned char *packed,
                          size_t n)
{
    char *path = file(name);
    struct err err = {0};
    struct line line;
    struct lines *l;

    append(path, packed, n / 2);
    l = opened(path);
    for (int i = 0; i < 100; i++) {
        int rc = lines_next(l, &line, &err);

        if (rc != ERR_END)
            fail_msg("asked %d times: %s", i, err.msg);
    }
    assert_int_equal(lines_rest(l, &line, &err), ERR_CORRUPT);
    append(path, packed + n / 2, n - n / 2);
    expect_line(l, "a first line", false);
    expect_line(l, "a second line", false);
    expect_end(l);
    append(path, packed, n); /* another member */
    expect_line(l, "a first line", false);
    expect_line(l, "a second line", false);
    expect_end(l);
    assert_int_equal(lines_rest(l, &line, &err), ERR_END);
    lines_close(l);
    unlink(path);
    free(path);
}

static void test_growing_zstd(void **state)
{
    unsigned char packed[256];

    (void)state;
    check_growing("grows.zst", packed, pack_zstd(packed, sizeof packed));
}

static void test_growing_gzip(void **state)
{
    unsigned char packed[256];

    (void)state;
    check_growing("grows.gz", packed, pack_gzip(packed, sizeof packed));
}

static void expect_both(struct lines *l)
{
    expect_line(l, "a first line", false);
    expect_line(l, "a second line", false);
}

static void expect_rest(struct lines *l, int want)
{
    struct err err = {0};
    struct line line;

    assert_int_equal(lines_rest(l, &line, &err), want);
}

/* Zeros behind a member, more than a buffer of them; another member; a head
 * that arrives byte by byte; and bytes that are none. */
static void check_padding(const char *name, const unsigned char *packed,
                          size_t n)
{
    char *path = file(name);
    size_t n_zeros = (size_t)300 << 10;
    char *zeros = xcalloc(n_zeros, 1);
    struct lines *l;

    append(path, packed, n);
    append(path, zeros, n_zeros);
    l = opened(path);
    expect_both(l);
    expect_end(l);
    expect_rest(l, ERR_END);
    append(path, packed, n);
    expect_both(l);
    expect_end(l);
    for (size_t i = 0; i < n; i++) {
        append(path, packed + i, 1);
        if (i < 8)
            expect_end(l);
    }
    expect_both(l);
    expect_end(l);
    expect_rest(l, ERR_END);
    assert_int_equal(lines_ignored(l), 0);
    append(path, zeros, 3);
    append(path, packed, 1);
    append(path, "trailing garbage\n", 17);
    append(path, packed, n);
    expect_end(l);
    expect_rest(l, ERR_END);
    assert_int_equal(lines_ignored(l), 18 + n);
    lines_close(l);

    l = opened(path); /* all of it at once */
    for (int i = 0; i < 3; i++)
        expect_both(l);
    expect_end(l);
    assert_int_equal(lines_ignored(l), 18 + n);
    lines_close(l);
    unlink(path);

    append(path, packed, n); /* ends in what might have been a head */
    append(path, packed, 1);
    l = opened(path);
    expect_both(l);
    expect_end(l);
    expect_rest(l, ERR_END);
    assert_int_equal(lines_ignored(l), 1);
    lines_close(l);
    unlink(path);
    free(zeros);
    free(path);
}

static void test_padding(void **state)
{
    unsigned char packed[256];

    (void)state;
    check_padding("pad.zst", packed, pack_zstd(packed, sizeof packed));
    check_padding("pad.gz", packed, pack_gzip(packed, sizeof packed));
}

/* Frames without text between others belong to zstd's format. */
static void test_skippable_frame(void **state)
{
    static const unsigned char frame[] = {0x53, 0x2a, 0x4d, 0x18, 2,
                                          0,    0,    0,    'a',  'b'};
    unsigned char packed[256];
    size_t n = pack_zstd(packed, sizeof packed);
    char *path = file("skippable.zst");
    struct lines *l;

    (void)state;
    append(path, packed, n);
    append(path, frame, sizeof frame);
    append(path, packed, n);
    l = opened(path);
    expect_both(l);
    expect_both(l);
    expect_end(l);
    assert_int_equal(lines_ignored(l), 0);
    lines_close(l);
    unlink(path);
    free(path);
}

static void test_capitals(void **state)
{
    unsigned char packed[256];
    size_t n = pack_gzip(packed, sizeof packed);
    char *path = file("OLD.GZ");
    struct lines *l;

    (void)state;
    append(path, packed, n);
    l = opened(path);
    expect_both(l);
    lines_close(l);
    unlink(path);
    free(path);
}

/* What stands before the damage is read. */
static void test_damage_behind_lines(void **state)
{
    unsigned char packed[256];
    size_t n = pack_gzip(packed, sizeof packed);
    char *path = file("damaged.gz");
    struct err err = {0};
    struct line line;
    struct lines *l;

    (void)state;
    packed[n - 8] ^= 1; /* the check sum */
    append(path, packed, n);
    l = opened(path);
    expect_both(l);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lines_next(l, &line, &err), ERR_CORRUPT);
    lines_close(l);
    unlink(path);
    free(path);
}

static void test_large_window(void **state)
{
    /* A frame's header that asks for a window of 2 GiB. */
    static const unsigned char frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8,
                                          0x01, 0x00, 0x00};
    char *path = file("window.zst");
    struct err err = {0};
    struct line line;
    struct lines *l;

    (void)state;
    append(path, frame, sizeof frame);
    l = opened(path);
    assert_int_equal(lines_next(l, &line, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "128 MiB"));
    assert_non_null(strstr(err.msg, "--long=27"));
    lines_close(l);
    unlink(path);
    free(path);
}

static void write_anew(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb"); /* the same inode */

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Shorter, as long, longer; and one that only grew. */
static void test_written_anew(void **state)
{
    static const char *const texts[] = {"", "uno\n", "uno\ndos\n",
                                        "uno\ndos\ntres\n"};
    char *path = file("anew");

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err = {0};
        struct line line;
        struct lines *l;

        write_anew(path, "one\ntwo\n");
        l = opened(path);
        expect_line(l, "one", false);
        expect_line(l, "two", false);
        expect_end(l);
        assert_false(lines_is_behind(l));
        write_anew(path, texts[i]);
        for (int k = 0; k < 2; k++)
            assert_int_equal(lines_next(l, &line, &err), ERR_STATE);
        assert_non_null(strstr(err.msg, "anew"));
        lines_close(l);

        write_anew(path, "one\ntw");
        l = opened(path);
        expect_line(l, "one", false);
        expect_end(l);
        append(path, "o\n", 2);
        expect_line(l, "two", false);
        expect_end(l);
        lines_close(l);
    }
    unlink(path);
    free(path);
}

/* Far more text than the buffer holds comes out of a few bytes. */
static void test_unpacks_more_than_fits(void **state)
{
    char *path = file("much.zst");
    size_t n = (size_t)4 << 20, room = ZSTD_compressBound(n);
    char *text = xmalloc(n), *packed = xmalloc(room);
    struct lines *l;

    (void)state;
    for (size_t i = 0; i < n; i++)
        text[i] = i % 8 == 7 ? '\n' : 'y';
    append(path, packed, ZSTD_compress(packed, room, text, n, 1));
    l = opened(path);
    for (size_t i = 0; i < n / 8; i++)
        expect_line(l, "yyyyyyy", false);
    expect_end(l);
    lines_close(l);
    unlink(path);
    free(packed);
    free(text);
    free(path);
}

static void test_damage_and_no_file(void **state)
{
    char *path = file("bad.gz");
    struct err err = {0};
    struct line line;
    struct lines *l;

    (void)state;
    append(path, "no gzip at all\n", 15);
    l = opened(path);
    assert_int_equal(lines_next(l, &line, &err), ERR_CORRUPT);
    lines_close(l);
    unlink(path);
    assert_null(lines_open(path, MOST, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_null(lines_open(dir, MOST, &err));
    assert_int_equal(err.code, ERR_IO);
    free(path);
}

static void test_skip(void **state)
{
    char *path = file("skip");
    struct err err = {0};
    struct lines *l;

    (void)state;
    append(path, "1\n2\n3", 5);
    l = opened(path);
    assert_int_equal(lines_skip(l, 1, &err), 0);
    expect_line(l, "2", false);
    assert_int_equal(lines_skip(l, 1, &err), 0);
    assert_int_equal(lines_skip(l, 1, &err), ERR_END);
    assert_int_equal(lines_bytes_read(l), 5);
    lines_close(l);
    unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_growing_zstd),
        cmocka_unit_test(test_growing_gzip),
        cmocka_unit_test(test_unpacks_more_than_fits),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_skippable_frame),
        cmocka_unit_test(test_capitals),
        cmocka_unit_test(test_damage_behind_lines),
        cmocka_unit_test(test_large_window),
        cmocka_unit_test(test_written_anew),
        cmocka_unit_test(test_damage_and_no_file),
        cmocka_unit_test(test_skip),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
