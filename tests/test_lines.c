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
        cmocka_unit_test(test_damage_and_no_file),
        cmocka_unit_test(test_skip),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
