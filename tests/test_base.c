/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole base layer in one program: each function at its edges.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/err.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/model_shape.h"
#include "base/names.h"
#include "base/rng.h"
#include "base/segment.h"
#include "base/tensor.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- help --------------------------------------------------------------- */

/* A directory for one test; *state is its path. */
static int make_temp(void **state)
{
    const char *top = getenv("TMPDIR");
    char *path = xasprintf("%s/mneme-base-XXXXXX", top ? top : "/tmp");

    if (!mkdtemp(path))
        return -1;
    *state = path;
    return 0;
}

static int remove_temp(void **state)
{
    int rc;

    fileio_fault = NULL;
    timing_set_fake(NULL);
    log_configure(LOG_INFO, LOG_TEXT);
    rc = fileio_remove_dir(*state, NULL);
    free(*state);
    return rc;
}

/* What the file holds, to be freed. */
static char *content(const char *path)
{
    struct buf b = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 20, &b, NULL), 0);
    return buf_detach(&b);
}

static void assert_content(const char *path, const char *expected)
{
    char *text = content(path);

    assert_string_equal(text, expected);
    free(text);
}

/* True when f, in a process of its own, ends by abort(). */
static bool aborts(void (*f)(void))
{
    struct rlimit no_core = {0, 0};
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(3);
        f();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* --- err ---------------------------------------------------------------- */

static void test_err_set(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set(&e, ERR_CORRUPT, "%s: %d", "x", 7), ERR_CORRUPT);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "x: 7");
    assert_int_equal(err_set(NULL, ERR_STATE, "nobody asks"), ERR_STATE);
}

static void test_err_set_cuts_long_messages(void **state)
{
    struct err e = ERR_INIT;
    char text[2 * ERR_MSG_MAX];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    err_set_errno(&e, ERR_IO, EIO, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    assert_int_equal(err_prefix(&e, "%s", text), ERR_IO);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
}

static void test_err_set_errno(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set_errno(&e, ERR_IO, EACCES, "%s", "f"), ERR_IO);
    assert_string_equal(e.msg, "f: Permission denied");
    assert_int_equal(err_set_errno(&e, ERR_IO, ENOSPC, "f"), ERR_FULL);
    assert_int_equal(e.code, ERR_FULL);
    assert_string_equal(e.msg, "f: No space left on device");
    assert_int_equal(err_set_errno(&e, ERR_CORRUPT, EDQUOT, "f"), ERR_FULL);
    assert_int_equal(err_set_errno(NULL, ERR_IO, ENOSPC, "f"), ERR_FULL);
}

static void test_err_prefix(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    err_set(&e, ERR_LIMIT, "too long");
    assert_int_equal(err_prefix(&e, "line %d", 3), ERR_LIMIT);
    assert_string_equal(e.msg, "line 3: too long");
    assert_true(err_prefix(NULL, "x") < 0);
}

static void test_err_exit_status(void **state)
{
    (void)state;
    assert_int_equal(err_exit_status(ERR_OK), 0);
    assert_int_equal(err_exit_status(ERR_IO), 1);
    assert_int_equal(err_exit_status(ERR_CORRUPT), 1);
    assert_int_equal(err_exit_status(ERR_FULL), 1);
    assert_int_equal(err_exit_status(ERR_INVALID), 2);
    assert_int_equal(err_exit_status(ERR_NOTFOUND), 3);
    assert_int_equal(err_exit_status(ERR_STATE), 3);
}

static void break_invariant(void)
{
    BUG_ON(1 + 1 == 2);
}

static void keep_invariant(void)
{
    BUG_ON(1 + 1 == 3);
}

static void test_bug_aborts(void **state)
{
    (void)state;
    assert_true(aborts(break_invariant));
    assert_false(aborts(keep_invariant));
}

/* --- xalloc ------------------------------------------------------------- */

#define LARGE_PAGE ((size_t)2 << 20)

static void allocate_too_much(void)
{
    free(xreallocarray(NULL, SIZE_MAX / 2, 4));
}

static void calloc_too_much(void)
{
    free(xcalloc(SIZE_MAX / 2, 4));
}

static void float_too_much(void)
{
    free(xfloats(SIZE_MAX / 2));
}

static void large_too_much(void)
{
    free(xalloc_large(SIZE_MAX));
}

static void test_xalloc_overflow_aborts(void **state)
{
    (void)state;
    assert_true(aborts(allocate_too_much));
    assert_true(aborts(calloc_too_much));
    assert_true(aborts(float_too_much));
    assert_true(aborts(large_too_much));
    assert_null(xalloc_aligned(SIZE_MAX));
    assert_null(xalloc_aligned(SIZE_MAX - 63));
}

static void test_xalloc_of_nothing(void **state)
{
    void *blocks[] = {xmalloc(0),         xcalloc(0, 8),   xcalloc(8, 0),
                      xmemdup("", 0),     xalloc_aligned(0), xalloc_large(0),
                      xrealloc(NULL, 0)};

    (void)state;
    for (size_t i = 0; i < COUNT(blocks); i++) {
        assert_non_null(blocks[i]);
        free(blocks[i]);
    }
}

static void test_xalloc_aligned_is_zeroed(void **state)
{
    (void)state;
    for (size_t n = 1; n < 300; n += 37) {
        float *f = xfloats(n);

        assert_int_equal((uintptr_t)f % 64, 0);
        for (size_t i = 0; i < n; i++)
            assert_true(f[i] == 0.0F);
        free(f);
    }
    for (size_t n = LARGE_PAGE - 1; n < 2 * LARGE_PAGE; n += LARGE_PAGE / 2) {
        unsigned char *p = xalloc_large(n);

        assert_int_equal((uintptr_t)p % (n < LARGE_PAGE ? 64 : LARGE_PAGE), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        free(p);
    }
}

static void test_xalloc_strings(void **state)
{
    char *a = xstrdup("abc"), *b = xstrndup("abcdef", 2);
    char *c = xasprintf("%d-%s", 5, "x"), *d = xmemdup("ab\0c", 4);

    (void)state;
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "5-x");
    assert_memory_equal(d, "ab\0c", 4);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void test_xgrow(void **state)
{
    size_t n = 0, cap = 0;
    int *numbers = NULL;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        XGROW(numbers, n, cap);
        assert_true(n < cap);
        numbers[n++] = i;
    }
    assert_int_equal(cap, 1024);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(numbers[i], i);
    free(numbers);
}

/* --- buf ---------------------------------------------------------------- */

static void test_buf_grows(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        buf_addc(&b, (char)('a' + i % 26));
        assert_int_equal(b.len, i + 1);
        assert_true(b.len < b.cap);
        assert_int_equal(b.data[b.len], '\0');
    }
    for (int i = 0; i < 5000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buf_release(&b);
    assert_null(b.data);
    assert_int_equal(b.len + b.cap, 0);
}

static void test_buf_add(void **state)
{
    struct buf b = BUF_INIT;
    size_t cap;

    (void)state;
    buf_clear(&b); /* never used: still nothing */
    assert_null(b.data);
    buf_add(&b, NULL, 0);
    assert_string_equal(b.data, "");
    buf_add(&b, "a\0b", 3);
    buf_adds(&b, "cd");
    buf_addf(&b, "%03d%s", 7, "");
    assert_int_equal(b.len, 8);
    assert_memory_equal(b.data, "a\0bcd007", 9);
    cap = b.cap;
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    assert_string_equal(b.data, "");
    buf_addf(&b, "%300d", 1); /* longer than what is there */
    assert_int_equal(b.len, 300);
    assert_int_equal(b.data[299], '1');
    buf_release(&b);
}

static void test_buf_detach(void **state)
{
    struct buf b = BUF_INIT;
    char *s;

    (void)state;
    s = buf_detach(&b);
    assert_string_equal(s, "");
    free(s);
    buf_adds(&b, "kept");
    s = buf_detach(&b);
    assert_string_equal(s, "kept");
    assert_null(b.data);
    assert_int_equal(b.len + b.cap, 0);
    free(s);
}

static void reserve_too_much(void)
{
    struct buf b = BUF_INIT;

    buf_addc(&b, 'x');
    buf_reserve(&b, SIZE_MAX - 1);
}

static void test_buf_overflow_aborts(void **state)
{
    (void)state;
    assert_true(aborts(reserve_too_much));
}

/* --- rng ---------------------------------------------------------------- */

/* Computed by another program from the definition in rng.h. What has been
 * learned depends on them: they never change. */
static void test_rng_is_what_it_was(void **state)
{
    static const struct {
        uint64_t seed;
        int purpose;
        uint64_t step, index, value;
        double unit;
        uint64_t below_10;
    } known[] = {
        {0, 1, 0, 0, 0xd1c0270687984b37, 0x1.a3804e0d0f309p-1, 8},
        {1, 1, 0, 0, 0xc965d6348c188782, 0x1.92cbac6918310p-1, 7},
        {1, 2, 0, 0, 0x75693551cf81461c, 0x1.d5a4d5473e050p-2, 4},
        {1, 1, 1, 0, 0x3ea0a76395d91588, 0x1.f5053b1caec88p-3, 2},
        {1, 1, 0, 1, 0x2de5a4e32ae6d264, 0x1.6f2d271957368p-3, 1},
        {42, 6, 7, 8, 0xbc2d97d3d39923ee, 0x1.785b2fa7a7324p-1, 7},
        {UINT64_MAX, 8, UINT64_MAX, UINT64_MAX, 0x5ebcb8f2c9933e56,
         0x1.7af2e3cb264cep-2, 3},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        uint64_t seed = known[i].seed, step = known[i].step;
        uint64_t index = known[i].index;
        enum rng_purpose p = (enum rng_purpose)known[i].purpose;

        assert_true(rng_u64(seed, p, step, index) == known[i].value);
        assert_true(rng_unit(seed, p, step, index) == known[i].unit);
        assert_true(rng_below(10, seed, p, step, index) == known[i].below_10);
    }
}

static void test_rng_normal_is_what_it_was(void **state)
{
    double a = rng_normal(1, RNG_INIT, 0, 0);
    double b = rng_normal(1, RNG_INIT, 0, 1);
    double c = rng_normal(42, RNG_INIT, 7, 8);

    (void)state;
    assert_true(fabs(a - 0.7556114369211409) < 1e-14);
    assert_true(fabs(b - 0.6930581591732636) < 1e-14);
    assert_true(fabs(c - 0.5473523420897295) < 1e-14);
}

static void test_rng_purposes_keep_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(RNG_INIT, 1);
    assert_int_equal(RNG_REPLAY, 2);
    assert_int_equal(RNG_RESERVOIR, 3);
    assert_int_equal(RNG_FISHER, 4);
    assert_int_equal(RNG_GATE, 5);
    assert_int_equal(RNG_SAMPLE, 6);
    assert_int_equal(RNG_HOLDOUT, 7);
    assert_int_equal(RNG_BEHIND, 8);
}

static void test_rng_below_bounds(void **state)
{
    static const uint64_t ns[] = {1, 2, 3, 7, 1000, UINT64_C(1) << 40};

    (void)state;
    for (size_t k = 0; k < COUNT(ns); k++)
        for (uint64_t i = 0; i < 2000; i++)
            assert_true(rng_below(ns[k], 5, RNG_REPLAY, 9, i) < ns[k]);
    assert_true(rng_below(UINT64_MAX, 5, RNG_REPLAY, 9, 0) < UINT64_MAX);
}

/* 60,000 draws in 6 boxes: chi-squared with 5 degrees of freedom is above
 * 20.5 in one case of a thousand, and the seed is fixed. */
static void test_rng_below_is_even(void **state)
{
    int boxes[6] = {0};
    double chi = 0;

    (void)state;
    for (uint64_t i = 0; i < 60000; i++)
        boxes[rng_below(6, 11, RNG_GATE, 3, i)]++;
    for (int i = 0; i < 6; i++)
        chi += (boxes[i] - 1e4) * (boxes[i] - 1e4) / 1e4;
    assert_true(chi < 20.5);
}

static void test_rng_moments(void **state)
{
    enum { N = 50000 };
    double sum = 0, squares = 0, unit = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double x = rng_normal(3, RNG_INIT, 2, i);
        double u = rng_unit(3, RNG_INIT, 2, i);

        assert_true(isfinite(x));
        assert_true(u >= 0.0 && u < 1.0);
        sum += x;
        squares += x * x;
        unit += u;
    }
    /* Four standard deviations of each mean. */
    assert_true(fabs(sum / N) < 4.0 / sqrt(N));
    assert_true(fabs(squares / N - 1.0) < 4.0 * sqrt(2.0 / N));
    assert_true(fabs(unit / N - 0.5) < 4.0 / sqrt(12.0 * N));
}

/* --- checksum ----------------------------------------------------------- */

#define SHA_EMPTY                                                              \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC                                                                \
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA_MILLION_A                                                          \
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

/* The vectors of FIPS 180. */
static void test_checksum_sha256(void **state)
{
    char hex[SHA256_HEX];

    (void)state;
    checksum_sha256("abc", 3, hex);
    assert_string_equal(hex, SHA_ABC);
    checksum_sha256("", 0, hex);
    assert_string_equal(hex, SHA_EMPTY);
}

static void test_checksum_sha256_file(void **state)
{
    char *path = fileio_join(*state, "file");
    char *million = xmalloc(1000000);
    char hex[SHA256_HEX] = "untouched";
    struct err e = ERR_INIT;

    assert_int_equal(checksum_sha256_file(path, hex, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(checksum_sha256_file(*state, hex, &e), ERR_IO);
    assert_string_equal(hex, "untouched");

    assert_int_equal(fileio_write_sync(path, "", 0, &e), 0);
    assert_int_equal(checksum_sha256_file(path, hex, &e), 0);
    assert_string_equal(hex, SHA_EMPTY);
    memset(million, 'a', 1000000);
    assert_int_equal(fileio_write_sync(path, million, 1000000, &e), 0);
    assert_int_equal(checksum_sha256_file(path, hex, &e), 0);
    assert_string_equal(hex, SHA_MILLION_A);
    free(million);
    free(path);
}

/* Stored in files: the function may not change. */
static void test_checksum_xxh3(void **state)
{
    (void)state;
    assert_true(checksum_xxh3("", 0, 0) == 0x2d06800538d394c2);
    assert_true(checksum_xxh3("abc", 3, 0) == 0x78af5f94892f3950);
    assert_true(checksum_xxh3("abc", 3, 1) != checksum_xxh3("abc", 3, 0));
    assert_true(checksum_xxh3("abd", 3, 0) != checksum_xxh3("abc", 3, 0));
}

/* --- timing ------------------------------------------------------------- */

static void test_timing_iso8601(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } known[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59.000Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1795482123456, "2026-11-24T01:02:03.456Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "1000-01-01T00:00:00.000Z"},
    };
    char out[TIMING_ISO_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        timing_iso8601(known[i].ms, out);
        assert_string_equal(out, known[i].text);
    }
}

static void test_timing_clocks(void **state)
{
    int64_t start = timing_mono_ns();

    (void)state;
    timing_sleep_ms(0);
    timing_sleep_ms(-5);
    timing_sleep_ms(12);
    assert_true(timing_mono_ns() - start >= 12000000);
    assert_true(timing_seconds_since(start) >= 0.012);
    assert_true(timing_mono_ms() >= start / 1000000 + 12);
    assert_true(timing_wall_ms() / 1000 - (int64_t)time(NULL) <= 1);
}

static void test_timing_fake(void **state)
{
    int64_t now = 5000;
    int64_t start;

    (void)state;
    timing_set_fake(&now);
    start = timing_mono_ns();
    assert_true(start == INT64_C(5000000000));
    now += 1500;
    assert_int_equal(timing_mono_ms(), 6500);
    assert_int_equal(timing_wall_ms(), 6500);
    assert_true(fabs(timing_seconds_since(start) - 1.5) < 1e-12);
    timing_set_fake(NULL);
    assert_true(timing_wall_ms() > INT64_C(1500000000000));
}

static void test_timing_deadline(void **state)
{
    static const int64_t waits[] = {-7, 0, 1, 999, 1000, 123456};

    (void)state;
    for (size_t i = 0; i < COUNT(waits); i++) {
        int64_t wait = waits[i] > 0 ? waits[i] : 0;
        int64_t before = timing_wall_ms();
        struct timespec ts = timing_deadline(waits[i]);
        int64_t at = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;

        assert_true(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
        assert_true(at >= before + wait);
        assert_true(at <= timing_wall_ms() + wait);
    }
}

/* --- utf8 --------------------------------------------------------------- */

/* By hand, from RFC 3629. */
static const char *const good_utf8[] = {
    "",
    "plain",
    "\x7f",
    "\xc2\x80",         /* U+0080, the first of two bytes */
    "\xdf\xbf",         /* U+07FF, the last of two */
    "\xe0\xa0\x80",     /* U+0800, the first of three */
    "\xed\x9f\xbf",     /* U+D7FF, just below the surrogates */
    "\xee\x80\x80",     /* U+E000, just above them */
    "\xef\xbf\xbf",     /* U+FFFF, the last of three */
    "\xf0\x90\x80\x80", /* U+10000, the first of four */
    "\xf4\x8f\xbf\xbf", /* U+10FFFF, the last of all */
    "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x8c\xb1!",
};

static const char *const bad_utf8[] = {
    "\x80",             /* a continuation alone */
    "a\xbf",            /* another */
    "\xc0\x80",         /* NUL, overlong */
    "\xc1\xbf",         /* DEL, overlong */
    "\xe0\x80\x80",     /* overlong in three */
    "\xe0\x9f\xbf",     /* U+07FF, overlong in three */
    "\xf0\x80\x80\x80", /* overlong in four */
    "\xf0\x8f\xbf\xbf", /* U+FFFF, overlong in four */
    "\xed\xa0\x80",     /* U+D800, the first surrogate */
    "\xed\xbf\xbf",     /* U+DFFF, the last */
    "\xf4\x90\x80\x80", /* U+110000 */
    "\xf5\x80\x80\x80",
    "\xf8\x88\x80\x80\x80",
    "\xfe",
    "\xff",
    "\xc3",          /* cut */
    "\xe2\x82",      /* cut */
    "\xf0\x9f\x8c",  /* cut */
    "\xc3(",         /* the second byte is none */
    "\xe2\x82(",     /* the third */
    "\xf0\x9f\x8c(", /* the fourth */
    "\xc3\xc3\xa9",  /* a first byte after a first byte */
};

static void test_utf8_valid(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_utf8); i++)
        assert_true(utf8_valid(good_utf8[i], strlen(good_utf8[i])));
    for (size_t i = 0; i < COUNT(bad_utf8); i++)
        assert_false(utf8_valid(bad_utf8[i], strlen(bad_utf8[i])));
    assert_true(utf8_valid("a\0b", 3));
}

/* Each code point as it should be, and no other three bytes. */
static void test_utf8_valid_three_bytes(void **state)
{
    char s[3];
    int n_valid = 0;

    (void)state;
    for (int a = 0xe0; a < 0xf0; a++)
        for (int b = 0; b < 256; b++)
            for (int c = 0; c < 256; c++) {
                s[0] = (char)a;
                s[1] = (char)b;
                s[2] = (char)c;
                n_valid += utf8_valid(s, 3);
            }
    assert_int_equal(n_valid, 0x10000 - 0x800 - 0x800);
}

static void test_utf8_whole(void **state)
{
    static const struct {
        const char *s;
        size_t n_cut;
    } known[] = {
        {"", 0},
        {"abc", 0},
        {"ab\xc3", 1},
        {"ab\xc3\xa9", 0},
        {"ab\xe2", 1},
        {"ab\xe2\x82", 2},
        {"ab\xe2\x82\xac", 0},
        {"\xf0", 1},
        {"\xf0\x9f", 2},
        {"\xf0\x9f\x8c", 3},
        {"\xf0\x9f\x8c\xb1", 0},
        {"\xed\xa0", 0}, /* a surrogate: never a character */
        {"\xe0\x9f", 0}, /* overlong: never */
        {"\xf4\x90", 0}, /* above U+10FFFF: never */
        {"\xc0", 0},     /* never */
        {"\xff", 0},     /* never */
        {"\x80", 0},     /* nothing that it could belong to */
        {"\x80\x80", 0},
        {"\xf0\x9f\x8c\xb1\x80", 0}, /* more than a character holds */
        {"\xff\xe2\x82", 2},         /* what is before does not matter */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        size_t n = strlen(known[i].s);

        assert_int_equal(utf8_whole(known[i].s, n), n - known[i].n_cut);
    }
}

#define FFFD "\xef\xbf\xbd"

static void test_utf8_repair(void **state)
{
    static const struct {
        const char *in, *out;
    } known[] = {
        {"", ""},
        {"ok \xe2\x82\xac", "ok \xe2\x82\xac"},
        {"\xff", FFFD},
        {"a\x80z", "a" FFFD "z"},
        {"\xe2\x82", FFFD FFFD},
        {"\xed\xa0\x80", FFFD FFFD FFFD},
        {"\xc3(", FFFD "("},
        {"\xe2\x82\xe2\x82\xac", FFFD FFFD "\xe2\x82\xac"},
    };
    struct buf b = BUF_INIT;

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        buf_clear(&b);
        buf_adds(&b, "+");
        utf8_repair(known[i].in, strlen(known[i].in), &b);
        assert_string_equal(b.data + 1, known[i].out);
        assert_true(utf8_valid(b.data, b.len));
    }
    buf_release(&b);
}

/* --- tensor ------------------------------------------------------------- */

static void test_tensor_sizes(void **state)
{
    struct tensor scalar = {.type = TENSOR_F64};
    struct tensor none = {.type = TENSOR_F32, .n_dims = 3, .shape = {2, 0, 5}};
    struct tensor some = {
        .type = TENSOR_U16, .n_dims = 4, .shape = {2, 3, 4, 5}};

    (void)state;
    assert_int_equal(tensor_type_size(TENSOR_F32), 4);
    assert_int_equal(tensor_type_size(TENSOR_F64), 8);
    assert_int_equal(tensor_type_size(TENSOR_I64), 8);
    assert_int_equal(tensor_type_size(TENSOR_U16), 2);
    assert_int_equal(tensor_type_size(TENSOR_U8), 1);
    assert_int_equal(tensor_count(&scalar), 1);
    assert_int_equal(tensor_bytes(&scalar), 8);
    assert_int_equal(tensor_count(&none), 0);
    assert_int_equal(tensor_bytes(&none), 0);
    assert_int_equal(tensor_count(&some), 120);
    assert_int_equal(tensor_bytes(&some), 240);
}

static void count_overflow(void)
{
    struct tensor t = {
        .name = (char[]){"t"}, .n_dims = 2, .shape = {SIZE_MAX / 2, 3}};

    (void)tensor_count(&t);
}

static void bytes_overflow(void)
{
    struct tensor t = {
        .name = (char[]){"t"}, .n_dims = 1, .shape = {SIZE_MAX / 2}};

    (void)tensor_bytes(&t);
}

static void five_dims(void)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    size_t shape[5] = {1, 1, 1, 1, 1};

    tensor_add_borrowed(&l, "x", TENSOR_U8, 5, shape, NULL);
}

static void test_tensor_overflow_aborts(void **state)
{
    (void)state;
    assert_true(aborts(count_overflow));
    assert_true(aborts(bytes_overflow));
    assert_true(aborts(five_dims));
}

static void test_tensor_list(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    float borrowed[6] = {1, 2, 3, 4, 5, 6};
    int64_t whole[2] = {INT64_MIN, 7};
    double real[1] = {0.5};
    char name[] = "weights";
    const struct tensor *t;
    float *copy, *zeros;

    (void)state;
    tensor_add_borrowed(&l, name, TENSOR_F32, 2, (size_t[]){2, 3}, borrowed);
    name[0] = 'x'; /* the list has its own */
    copy = tensor_add_copy(&l, "copy", TENSOR_F32, 1, (size_t[]){6}, borrowed);
    zeros = tensor_add_copy(&l, "zeros", TENSOR_F32, 1, (size_t[]){9}, NULL);
    tensor_add_i64(&l, "whole", whole, 2);
    tensor_add_f64(&l, "real", real, 1);
    tensor_add_i64(&l, "none", NULL, 0);

    t = tensor_find(&l, "weights");
    assert_ptr_equal(t->data, borrowed);
    assert_false(t->owned);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[1], 3);
    assert_memory_equal(copy, borrowed, sizeof borrowed);
    assert_ptr_equal(tensor_find(&l, "copy")->data, copy);
    assert_int_equal((uintptr_t)copy % 64, 0);
    for (int i = 0; i < 9; i++)
        assert_true(zeros[i] == 0.0F);
    t = tensor_find(&l, "whole");
    assert_int_equal(t->type, TENSOR_I64);
    assert_memory_equal(t->data, whole, sizeof whole);
    t = tensor_find(&l, "real");
    assert_int_equal(t->type, TENSOR_F64);
    assert_memory_equal(t->data, real, sizeof real);
    assert_int_equal(tensor_bytes(tensor_find(&l, "none")), 0);
    assert_null(tensor_find(&l, "xeights"));
    tensor_list_release(&l);
    assert_null(l.items);
    tensor_list_release(&l);
}

/* Growth moves the items, never the blocks. */
static void test_tensor_blocks_stay(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    int64_t *first;
    char name[16];

    (void)state;
    first = tensor_add_copy(&l, "0", TENSOR_I64, 0, NULL, &(int64_t){42});
    for (int i = 1; i < 100; i++) {
        snprintf(name, sizeof name, "%d", i);
        tensor_add_i64(&l, name, &(int64_t){i}, 1);
    }
    assert_int_equal(l.n, 100);
    assert_int_equal(*first, 42);
    assert_ptr_equal(tensor_find(&l, "0")->data, first);
    assert_int_equal(*(int64_t *)tensor_find(&l, "99")->data, 99);
    tensor_list_release(&l);
}

static void test_tensor_expect(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    const struct tensor *t = NULL;
    struct err e = ERR_INIT;
    int64_t v[3] = {1, 2, 3};

    (void)state;
    tensor_add_i64(&l, "v", v, 3);
    assert_int_equal(tensor_expect(&l, "w", TENSOR_I64, 3, &t, &e),
                     ERR_CORRUPT);
    assert_string_equal(e.msg, "tensor w is missing");
    assert_int_equal(tensor_expect(&l, "v", TENSOR_F32, 3, &t, &e),
                     ERR_CORRUPT);
    assert_string_equal(e.msg, "tensor v is I64, expected F32");
    assert_int_equal(tensor_expect(&l, "v", TENSOR_I64, 4, &t, &e),
                     ERR_CORRUPT);
    assert_string_equal(e.msg, "tensor v has 3 elements, expected 4");
    assert_null(t);
    e = (struct err)ERR_INIT;
    assert_int_equal(tensor_expect(&l, "v", TENSOR_I64, 3, &t, &e), 0);
    assert_ptr_equal(t, &l.items[0]);
    assert_int_equal(tensor_expect(&l, "v", TENSOR_I64, SIZE_MAX, &t, &e), 0);
    assert_int_equal(e.code, ERR_OK);
    tensor_list_release(&l);
}

/* --- names -------------------------------------------------------------- */

static void test_names_add(void **state)
{
    struct names t = NAMES_INIT;
    char name[16];

    (void)state;
    assert_int_equal(names_find(&t, "0"), -1);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(names_add(&t, name), i);
        assert_int_equal(names_add(&t, name), i);
    }
    assert_int_equal(t.n, 3000);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(names_find(&t, name), i);
        assert_string_equal(t.items[i], name);
    }
    assert_int_equal(names_find(&t, "3000"), -1);
    assert_int_equal(names_find(&t, ""), -1);
    assert_int_equal(names_add(&t, ""), 3000);
    assert_int_equal(names_find(&t, ""), 3000);
    names_release(&t);
    assert_int_equal(names_find(&t, "0"), -1);
}

static void test_names_copy(void **state)
{
    struct names t = NAMES_INIT, copy = NAMES_INIT;

    (void)state;
    names_add(&t, "a");
    names_add(&t, "b");
    names_add(&copy, "other");
    names_copy(&copy, &t);
    assert_int_equal(names_find(&copy, "other"), -1);
    assert_int_equal(names_find(&copy, "b"), 1);
    names_release(&t);
    assert_int_equal(names_find(&copy, "a"), 0);
    names_release(&copy);
}

static void test_names_json(void **state)
{
    static const char text[] = "[\"a\",\"q\\\"\\n\",\"\xc3\xa9\",\"\"]";
    struct names t = NAMES_INIT;
    struct buf b = BUF_INIT;

    (void)state;
    names_to_json(&t, &b);
    assert_string_equal(b.data, "[]");
    assert_int_equal(names_from_json(&t, text, strlen(text), 4, NULL), 0);
    assert_int_equal(t.n, 4);
    assert_int_equal(names_find(&t, "q\"\n"), 1);
    buf_clear(&b);
    names_to_json(&t, &b);
    assert_string_equal(b.data, text);
    assert_int_equal(names_from_json(&t, "[\"z\"]", 5, 4, NULL), 0);
    assert_int_equal(t.n, 1);
    assert_int_equal(names_find(&t, "z"), 0);
    names_release(&t);
    buf_release(&b);
}

static void test_names_json_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        "[",
        "{}",
        "\"a\"",
        "[1]",
        "[\"a\",null]",
        "[\"a\",\"b\",\"a\"]",
        "[\"a\",\"b\",\"c\",\"d\"]",
        "[\"a\"] x",
        "[\"\xff\"]",
        "[\"a\\u0000b\"]",
    };
    struct names t = NAMES_INIT;

    (void)state;
    names_add(&t, "kept");
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err e = ERR_INIT;

        assert_int_equal(names_from_json(&t, bad[i], strlen(bad[i]), 3, &e),
                         ERR_CORRUPT);
        assert_true(strlen(e.msg) > 0);
        assert_int_equal(t.n, 1);
        assert_int_equal(names_find(&t, "kept"), 0);
    }
    names_release(&t);
}

/* --- segment ------------------------------------------------------------ */

static void test_segment_counted(void **state)
{
    struct segment s = {.n_tokens = 7, .n_masked = 3};

    (void)state;
    assert_int_equal(segment_counted(&s), 4);
    /* Token ids are kept in 16 bits. */
    assert_true(MODEL_MAX_VOCAB - 1 <= UINT16_MAX);
}

/* --- fileio ------------------------------------------------------------- */

static void test_fileio_read(void **state)
{
    char *path = fileio_join(*state, "file");
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;

    assert_int_equal(fileio_read(path, 10, &b, &e), ERR_NOTFOUND);
    assert_int_equal(fileio_write_sync(path, "0123456789", 10, &e), 0);
    assert_int_equal(fileio_read(path, 9, &b, &e), ERR_LIMIT);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(b.len, 0);
    buf_adds(&b, "before ");
    assert_int_equal(fileio_read(path, 10, &b, &e), 0);
    assert_string_equal(b.data, "before 0123456789");
    assert_int_equal(fileio_read(path, 9, &b, &e), ERR_LIMIT);
    assert_string_equal(b.data, "before 0123456789");
    assert_int_equal(fileio_read(path, SIZE_MAX, &b, &e), 0);
    assert_int_equal(b.len, 27);
    assert_int_equal(fileio_read(*state, 10, &b, &e), ERR_IO);
    assert_int_equal(b.len, 27);

    assert_int_equal(fileio_write_sync(path, "", 0, &e), 0);
    buf_clear(&b);
    assert_int_equal(fileio_read(path, 0, &b, &e), 0);
    assert_int_equal(b.len, 0);
    buf_release(&b);
    free(path);
}

/* Files that say they are empty and are not, and one without an end. */
static void test_fileio_read_without_size(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_read("/proc/self/maps", 1 << 24, &b, &e), 0);
    assert_true(b.len > 100);
    assert_int_equal(b.data[b.len], '\0');
    buf_clear(&b);
    assert_int_equal(fileio_read("/dev/zero", 100000, &b, &e), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    assert_int_equal(fileio_read("/dev/null", 0, &b, &e), 0);
    assert_int_equal(fileio_read("/dev/null/x", 0, &b, &e), ERR_NOTFOUND);
    buf_release(&b);
}

static void test_fileio_write_atomic(void **state)
{
    char *path = fileio_join(*state, "file");
    char *temporary = fileio_join(*state, "file.tmp");
    char *nowhere = fileio_join(*state, "no/file");
    struct err e = ERR_INIT;

    assert_int_equal(fileio_write_atomic(path, "old", 3, &e), 0);
    assert_content(path, "old");
    assert_int_equal(fileio_write_atomic(path, "newer", 5, &e), 0);
    assert_content(path, "newer");
    assert_false(fileio_exists(temporary));
    /* What a crash left behind is in nobody's way. */
    assert_int_equal(fileio_write_sync(temporary, "half of", 7, &e), 0);
    assert_int_equal(fileio_write_atomic(path, "x", 1, &e), 0);
    assert_content(path, "x");
    assert_false(fileio_exists(temporary));
    assert_int_equal(fileio_write_atomic(nowhere, "x", 1, &e), ERR_IO);
    assert_int_equal(e.code, ERR_IO);
    free(path);
    free(temporary);
    free(nowhere);
}

/* A file name alone is in the directory where we are. */
static void test_fileio_write_atomic_here(void **state)
{
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(here >= 0);
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(fileio_write_atomic("plain", "x", 1, NULL), 0);
    assert_content("plain", "x");
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static struct {
    const char *operation;
    int nth; /* fails when it comes down to 0 */
    int errnum;
    int n_asked;
} fault;

static int fail_nth(const char *operation, const char *path)
{
    assert_non_null(path);
    if (strcmp(operation, fault.operation))
        return 0;
    fault.n_asked++;
    return --fault.nth == 0 ? fault.errnum : 0;
}

static void set_fault(const char *operation, int nth, int errnum)
{
    fault.operation = operation;
    fault.nth = nth;
    fault.errnum = errnum;
    fault.n_asked = 0;
    fileio_fault = fail_nth;
}

static void test_fileio_write_atomic_fails_whole(void **state)
{
    static const char *const operations[] = {"open", "write", "fsync",
                                             "rename"};
    char *path = fileio_join(*state, "file");
    char *temporary = fileio_join(*state, "file.tmp");

    assert_int_equal(fileio_write_atomic(path, "old", 3, NULL), 0);
    for (size_t i = 0; i < COUNT(operations); i++) {
        struct err e = ERR_INIT;

        set_fault(operations[i], 1, EIO);
        assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_IO);
        assert_int_equal(fault.n_asked, 1); /* never tried again */
        assert_non_null(strstr(e.msg, "file"));
        assert_non_null(strstr(e.msg, "Input/output error"));
        set_fault(operations[i], 1, ENOSPC);
        assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_FULL);
        fileio_fault = NULL;
        assert_content(path, "old");
        assert_false(fileio_exists(temporary));
    }
    free(path);
    free(temporary);
}

/* After the rename the new file is there, but nobody may count on it. */
static void test_fileio_write_atomic_directory_fails(void **state)
{
    char *path = fileio_join(*state, "file");
    struct err e = ERR_INIT;

    assert_int_equal(fileio_write_atomic(path, "old", 3, NULL), 0);
    set_fault("fsync", 2, EIO);
    assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_IO);
    set_fault("open", 2, EIO);
    assert_int_equal(fileio_write_atomic(path, "new", 3, &e), ERR_IO);
    fileio_fault = NULL;
    assert_content(path, "new");
    free(path);
}

static void test_fileio_faults_elsewhere(void **state)
{
    char *path = fileio_join(*state, "file");
    char *other = fileio_join(*state, "other");
    struct buf b = BUF_INIT;
    int fd = -1;

    assert_int_equal(fileio_write_sync(path, "x", 1, NULL), 0);
    set_fault("open", 1, EMFILE);
    assert_int_equal(fileio_read(path, 9, &b, NULL), ERR_IO);
    set_fault("open", 1, EACCES);
    assert_int_equal(fileio_sync_dir(*state, NULL), ERR_IO);
    set_fault("open", 1, EACCES);
    assert_int_equal(fileio_lock(other, &fd, NULL), ERR_IO);
    set_fault("write", 1, ENOSPC);
    assert_int_equal(fileio_lock(other, &fd, NULL), ERR_FULL);
    set_fault("write", 1, EINTR); /* asked again, and then it works */
    assert_int_equal(fileio_write_sync(path, "y", 1, NULL), 0);
    set_fault("rename", 1, EXDEV);
    assert_int_equal(fileio_rename(path, other, NULL), ERR_IO);
    fileio_fault = NULL;
    assert_content(path, "y");
    assert_int_equal(fileio_rename(path, other, NULL), 0);
    assert_int_equal(fileio_rename(path, other, NULL), ERR_IO);
    assert_false(fileio_exists(path));
    assert_true(fileio_exists(other));
    buf_release(&b);
    free(path);
    free(other);
}

static void test_fileio_write_all_error(void **state)
{
    struct err e = ERR_INIT;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fileio_write_all(fd, "", 0, "/dev/full", &e), 0);
    assert_int_equal(fileio_write_all(fd, "x", 1, "/dev/full", &e), ERR_FULL);
    close(fd);
    assert_int_equal(fileio_write_all(fd, "x", 1, "closed", &e), ERR_IO);
    assert_int_equal(fileio_fsync(fd, "closed", &e), ERR_IO);
}

static void test_fileio_mkdirs(void **state)
{
    char *top = fileio_join(*state, "a");
    char *deep = fileio_join(*state, "a//b/c/");
    char *file = fileio_join(*state, "file");
    char *under = fileio_join(file, "x");
    char *middle = fileio_join(*state, "a/b");
    char *last = fileio_join(*state, "a/b/c");
    struct stat st;
    struct err e = ERR_INIT;

    assert_int_equal(fileio_mkdirs(deep, &e), 0);
    assert_int_equal(fileio_mkdirs(deep, &e), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fileio_mkdirs("/", &e), 0);
    assert_int_equal(fileio_write_sync(file, "", 0, &e), 0);
    assert_int_equal(fileio_mkdirs(file, &e), ERR_IO);
    assert_int_equal(fileio_mkdirs(under, &e), ERR_IO);
    assert_int_equal(fileio_remove_dir(last, &e), 0);
    assert_int_equal(fileio_remove_dir(middle, &e), 0);
    assert_int_equal(fileio_remove_dir(top, &e), 0);
    free(top);
    free(deep);
    free(file);
    free(under);
    free(middle);
    free(last);
}

static void test_fileio_remove_dir(void **state)
{
    char *dir = fileio_join(*state, "d");
    char *file = fileio_join(dir, "file");
    char *sub = fileio_join(dir, "sub");
    struct err e = ERR_INIT;

    assert_int_equal(fileio_remove_dir(dir, &e), 0); /* not there */
    assert_int_equal(fileio_mkdirs(sub, &e), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, &e), 0);
    assert_int_equal(fileio_remove_dir(dir, &e), ERR_IO); /* one level */
    assert_int_equal(fileio_remove_dir(sub, &e), 0);
    assert_int_equal(fileio_write_sync(file, "x", 1, &e), 0);
    assert_int_equal(symlink("/", sub), 0); /* goes, not what it names */
    assert_int_equal(fileio_remove_dir(sub, &e), ERR_NOTFOUND);
    assert_int_equal(fileio_remove_dir(file, &e), ERR_NOTFOUND);
    assert_int_equal(fileio_remove_dir(dir, &e), 0);
    assert_false(fileio_exists(dir));
    free(dir);
    free(file);
    free(sub);
}

static void test_fileio_join(void **state)
{
    static const char *const known[][3] = {{"a", "b", "a/b"},
                                           {"a/", "b", "a/b"},
                                           {"/", "b", "/b"},
                                           {"a", "b/c", "a/b/c"}};

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char *joined = fileio_join(known[i][0], known[i][1]);

        assert_string_equal(joined, known[i][2]);
        free(joined);
    }
}

/* Tries to lock path in another process. Returns 0 when it could, 1 when it
 * was refused and told that process `holder` has it, 2 otherwise. */
static int lock_elsewhere(const char *path, pid_t holder)
{
    struct err e = ERR_INIT;
    char expected[64];
    int fd, status = -1;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(expected, sizeof expected, "by process %ld", (long)holder);
        switch (fileio_lock(path, &fd, &e)) {
        case ERR_OK:
            _exit(0);
        case ERR_STATE:
            _exit(strstr(e.msg, expected) ? 1 : 2);
        default:
            _exit(2);
        }
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static void test_fileio_lock(void **state)
{
    char *path = fileio_join(*state, "lock");
    char *mine = xasprintf("%ld\n", (long)getpid());
    struct err e = ERR_INIT;
    int first = -1, second = -1;

    /* A pid longer than ours, of a process that is gone. */
    assert_int_equal(fileio_write_sync(path, "123456789012\n", 13, &e), 0);
    assert_int_equal(fileio_lock(path, &first, &e), 0);
    assert_content(path, mine);
    assert_int_equal(lock_elsewhere(path, getpid()), 1);
    assert_int_equal(fileio_lock(path, &second, &e), ERR_STATE);
    assert_int_equal(second, -1);
    assert_content(path, mine);
    fileio_unlock(first);
    assert_int_equal(lock_elsewhere(path, getpid()), 0);
    /* That process ended without unlocking. */
    assert_int_equal(fileio_lock(path, &first, &e), 0);
    fileio_unlock(first);
    free(path);
    free(mine);
}

static void test_fileio_lock_without_pid(void **state)
{
    char *path = fileio_join(*state, "lock");
    struct err e = ERR_INIT;
    int first = -1, second = -1;

    assert_int_equal(fileio_lock(path, &first, &e), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(fileio_lock(path, &second, &e), ERR_STATE);
    assert_non_null(strstr(e.msg, "by another process"));
    fileio_unlock(first);
    free(path);
}

/* --- log ---------------------------------------------------------------- */

static int real_stderr = -1;
static int log_pipe[2];

static void capture_begin(void)
{
    assert_int_equal(pipe(log_pipe), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_true(dup2(log_pipe[1], STDERR_FILENO) >= 0);
}

/* What has been logged since, to be freed. */
static char *capture_end(void)
{
    struct buf b = BUF_INIT;
    char piece[4096];
    ssize_t n;

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(log_pipe[1]);
    while ((n = read(log_pipe[0], piece, sizeof piece)) > 0)
        buf_add(&b, piece, (size_t)n);
    close(log_pipe[0]);
    return buf_detach(&b);
}

static const int64_t log_now = 1795482123456;

static void test_log_text(void **state)
{
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    log_configure(LOG_INFO, LOG_TEXT);
    capture_begin();
    errno = ENOENT;
    log_info("publish", "version=%d seconds=%.2f", 7, 0.123);
    log_error("stop", "%s", "");
    log_warn("odd", "text=%s", "a\nb\tc\r\x1b[2J \"q\" \\ \xc3\xa9");
    out = capture_end();
    assert_int_equal(errno, ENOENT);
    assert_string_equal(
        out, "2026-11-24T01:02:03.456Z info publish version=7 seconds=0.12\n"
             "2026-11-24T01:02:03.456Z error stop\n"
             "2026-11-24T01:02:03.456Z warn odd text=a\\nb\\tc\\r\\u001b[2J "
             "\"q\" \\ \xc3\xa9\n");
    free(out);
}

static void test_log_json(void **state)
{
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    log_configure(LOG_DEBUG, LOG_JSON);
    capture_begin();
    log_debug("skip", "id=%s", "a\"b\\c\n\x01\x7f/\xc3\xa9\xff");
    log_info("idle", "%s", "");
    out = capture_end();
    assert_string_equal(
        out,
        "{\"ts\":\"2026-11-24T01:02:03.456Z\",\"level\":\"debug\","
        "\"event\":\"skip\","
        "\"fields\":\"id=a\\\"b\\\\c\\n\\u0001\\u007f/\xc3\xa9" FFFD "\"}\n"
        "{\"ts\":\"2026-11-24T01:02:03.456Z\",\"level\":\"info\","
        "\"event\":\"idle\",\"fields\":\"\"}\n");
    free(out);
}

static void test_log_levels(void **state)
{
    char *out;

    (void)state;
    timing_set_fake(&log_now);
    for (int l = LOG_ERROR; l <= LOG_DEBUG; l++) {
        int n_lines = 0;

        log_configure((enum log_level)l, LOG_TEXT);
        assert_int_equal(log_level(), l);
        capture_begin();
        log_error("e", "%d", 1);
        log_warn("w", "%d", 1);
        log_info("i", "%d", 1);
        log_debug("d", "%d", 1);
        out = capture_end();
        for (char *p = out; (p = strchr(p, '\n')); p++)
            n_lines++;
        assert_int_equal(n_lines, l + 1);
        free(out);
    }
}

/* A packet socket keeps the writes apart: each line is one of them. */
static void test_log_one_write_a_line(void **state)
{
    char long_value[3000];
    char packet[4096];
    ssize_t n;

    (void)state;
    memset(long_value, 'v', sizeof long_value - 1);
    long_value[sizeof long_value - 1] = '\0';
    log_configure(LOG_INFO, LOG_JSON);
    assert_int_equal(pipe2(log_pipe, O_DIRECT), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(log_pipe[1], STDERR_FILENO) >= 0);
    log_info("one", "value=%s", long_value);
    log_info("two", "value=%s", "short");
    n = read(log_pipe[0], packet, sizeof packet);
    free(capture_end());
    assert_true(n > 3000);
    assert_int_equal(packet[0], '{');
    assert_memory_equal(packet + n - 2, "}\n", 2);
}

/* A closed stderr is no reason to stop. */
static void test_log_nowhere(void **state)
{
    (void)state;
    capture_begin();
    close(STDERR_FILENO);
    log_error("lost", "%d", 1);
    free(capture_end());
}

/* ------------------------------------------------------------------------- */

#define PLAIN(f) cmocka_unit_test(f)
#define IN_TEMP(f) cmocka_unit_test_setup_teardown(f, make_temp, remove_temp)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(test_err_set),
        PLAIN(test_err_set_cuts_long_messages),
        PLAIN(test_err_set_errno),
        PLAIN(test_err_prefix),
        PLAIN(test_err_exit_status),
        PLAIN(test_bug_aborts),
        PLAIN(test_xalloc_overflow_aborts),
        PLAIN(test_xalloc_of_nothing),
        PLAIN(test_xalloc_aligned_is_zeroed),
        PLAIN(test_xalloc_strings),
        PLAIN(test_xgrow),
        PLAIN(test_buf_grows),
        PLAIN(test_buf_add),
        PLAIN(test_buf_detach),
        PLAIN(test_buf_overflow_aborts),
        PLAIN(test_rng_is_what_it_was),
        PLAIN(test_rng_normal_is_what_it_was),
        PLAIN(test_rng_purposes_keep_their_numbers),
        PLAIN(test_rng_below_bounds),
        PLAIN(test_rng_below_is_even),
        PLAIN(test_rng_moments),
        PLAIN(test_checksum_sha256),
        IN_TEMP(test_checksum_sha256_file),
        PLAIN(test_checksum_xxh3),
        PLAIN(test_timing_iso8601),
        PLAIN(test_timing_clocks),
        IN_TEMP(test_timing_fake),
        PLAIN(test_timing_deadline),
        PLAIN(test_utf8_valid),
        PLAIN(test_utf8_valid_three_bytes),
        PLAIN(test_utf8_whole),
        PLAIN(test_utf8_repair),
        PLAIN(test_tensor_sizes),
        PLAIN(test_tensor_overflow_aborts),
        PLAIN(test_tensor_list),
        PLAIN(test_tensor_blocks_stay),
        PLAIN(test_tensor_expect),
        PLAIN(test_names_add),
        PLAIN(test_names_copy),
        PLAIN(test_names_json),
        PLAIN(test_names_json_refuses),
        PLAIN(test_segment_counted),
        IN_TEMP(test_fileio_read),
        PLAIN(test_fileio_read_without_size),
        IN_TEMP(test_fileio_write_atomic),
        IN_TEMP(test_fileio_write_atomic_here),
        IN_TEMP(test_fileio_write_atomic_fails_whole),
        IN_TEMP(test_fileio_write_atomic_directory_fails),
        IN_TEMP(test_fileio_faults_elsewhere),
        PLAIN(test_fileio_write_all_error),
        IN_TEMP(test_fileio_mkdirs),
        IN_TEMP(test_fileio_remove_dir),
        PLAIN(test_fileio_join),
        IN_TEMP(test_fileio_lock),
        IN_TEMP(test_fileio_lock_without_pid),
        IN_TEMP(test_log_text),
        IN_TEMP(test_log_json),
        IN_TEMP(test_log_levels),
        IN_TEMP(test_log_one_write_a_line),
        IN_TEMP(test_log_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
