/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refusals.h: one line a minute for a reason, whose counts add up; the summary
 * of a file; the warning when all records are refused. And record_reason_explain,
 * which describes a bad record.
 */
#include "config.h"

#include "daemon/intake/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "daemon/stream/record_reason.h"

static FILE *captured;
static int real_stderr;

static void capture_begin(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    real_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

/* The log since capture_begin; the caller frees it. */
static char *capture_end(void)
{
    struct buf b = BUF_INIT;
    int c;

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    rewind(captured);
    buf_adds(&b, "");
    while ((c = getc(captured)) != EOF)
        buf_addc(&b, (char)c);
    fclose(captured);
    return buf_detach(&b);
}

static int count(const char *text, const char *word)
{
    int n = 0;

    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

/* The sum of count=N in all lines of a reason. */
static long long sum_of_counts(const char *text, const char *reason)
{
    long long sum = 0;
    char word[64];

    snprintf(word, sizeof word, "refused reason=%s count=", reason);
    for (; (text = strstr(text, word)); text++)
        sum += atoll(text + strlen(word));
    return sum;
}

static void decide(struct refusals *r, char kind, const char *reason,
                   const char *value, int64_t offset, int64_t now_ms)
{
    struct record_maker m;
    struct record *rec;

    record_maker_init(&m, false);
    rec = record_create_data(&m, value, strlen(value));
    rec->topic = "news";
    rec->offset = offset;
    rec->reason = reason;
    refusals_count(r, kind, reason, rec, now_ms);
    record_free(rec);
    record_maker_release(&m);
}

#define LABEL "{\"text\":\"a\",\"label\":7}"

static void begin(struct refusals *r)
{
    refusals_init(r);
    r->logs = true;
    capture_begin();
}

static void test_once_a_minute(void **state)
{
    struct refusals r;
    char *log;

    (void)state;
    begin(&r);
    for (int i = 0; i < 1000; i++) /* 190 seconds */
        decide(&r, 'q', i % 10 ? "bad_field" : "not_json", LABEL, i,
               5000 + 190 * i);
    refusals_log(&r, true, 5000 + 190 * 1000);
    log = capture_end();
    assert_int_equal(count(log, "reason=bad_field"), 5);
    assert_int_equal(count(log, "reason=not_json"), 5);
    assert_int_equal(sum_of_counts(log, "bad_field"), 900);
    assert_int_equal(sum_of_counts(log, "not_json"), 100);
    assert_non_null(strstr(log, "reason=bad_field count=1 topic=news "
                                "partition=0 offset=1 detail=\"field label is "
                                "a number, and must be a string\""));
    free(log);
    refusals_release(&r);
}

static void test_held_back(void **state)
{
    struct refusals r;
    char *log;

    (void)state;
    begin(&r);
    decide(&r, 'q', "null", "", 0, 1000);
    decide(&r, 'q', "null", "", 1, 1001);
    refusals_log(&r, false, 60999);
    log = capture_end();
    assert_int_equal(sum_of_counts(log, "null"), 1);
    free(log);
    capture_begin();
    refusals_log(&r, false, 61000); /* no new record */
    refusals_log(&r, false, 200000);
    refusals_log(&r, true, 200000);
    log = capture_end();
    assert_int_equal(count(log, "\n"), 1);
    assert_int_equal(sum_of_counts(log, "null"), 1);
    free(log);
    refusals_release(&r);
}

static void test_summary(void **state)
{
    struct refusals r;
    char *log;

    (void)state;
    begin(&r);
    decide(&r, 'l', NULL, "a", 0, 1000);
    decide(&r, 'h', NULL, "b", 1, 1000);
    decide(&r, 's', NULL, "c", 2, 1000);
    decide(&r, 's', "no_text", "{}", 3, 1000);
    for (int i = 4; i < 10; i++)
        decide(&r, 'q', "bad_field", LABEL, i, 1000);
    refusals_end(&r, 1000);
    log = capture_end();
    assert_non_null(strstr(
        log, "info end records=10 learned=1 held_out=1 skipped=2 "
             "quarantined=6 refused=\"no_text 1, bad_field 6\""));
    assert_int_equal(sum_of_counts(log, "bad_field"), 6);
    assert_null(strstr(log, "nothing_learned"));
    free(log);
    capture_begin();
    refusals_end(&r, 2000);
    log = capture_end();
    assert_non_null(strstr(log, "end records=0 learned=0 held_out=0 skipped=0 "
                                "quarantined=0 refused=\"\""));
    assert_int_equal(count(log, "\n"), 1);
    free(log);
    refusals_release(&r);
}

static void test_all_refused(void **state)
{
    struct refusals r;
    char *log;

    (void)state;
    for (int at_end = 0; at_end < 2; at_end++) {
        begin(&r);
        for (int i = 0; i < (at_end ? 50 : REFUSALS_FIRST + 20); i++)
            decide(&r, 'q', "bad_field", LABEL, i, 1000);
        if (at_end)
            refusals_end(&r, 1000);
        log = capture_end();
        assert_int_equal(count(log, "warn nothing_learned"), 1);
        assert_non_null(
            strstr(log, at_end ? "records=50 refused=\"bad_field 50\" detail="
                                 "\"field label is a number"
                               : "records=100 refused=\"bad_field 100\""));
        free(log);
        refusals_release(&r);
    }
    begin(&r);
    decide(&r, 's', "bad_field", LABEL, 0, 1000); /* bad_record: skip */
    refusals_end(&r, 1000);
    log = capture_end();
    assert_non_null(strstr(log, "nothing_learned records=1"));
    assert_non_null(strstr(log, "source.bad_record is skip"));
    free(log);
    refusals_release(&r);

    begin(&r);
    decide(&r, 's', NULL, "a", 0, 1000); /* a skipped range */
    refusals_end(&r, 1000);
    /* The skipped record may have been a good one. */
    decide(&r, 's', NULL, "a", 0, 1000);
    decide(&r, 'q', "bad_field", LABEL, 1, 1000);
    refusals_end(&r, 1000);
    decide(&r, 'l', NULL, "a", 0, 1000);
    for (int i = 1; i < 200; i++)
        decide(&r, 'q', "bad_field", LABEL, i, 1000);
    refusals_end(&r, 1000);
    log = capture_end();
    assert_null(strstr(log, "nothing_learned"));
    free(log);
    refusals_release(&r);
}

/* verify --retrain does not log the refused records. */
static void test_silent(void **state)
{
    struct refusals r;
    char *log;

    (void)state;
    begin(&r);
    r.logs = false;
    for (int i = 0; i < 200; i++)
        decide(&r, 'q', "bad_field", LABEL, i, 1000);
    refusals_preview(&r, NULL);
    refusals_end(&r, 1000);
    log = capture_end();
    assert_string_equal(log, "");
    free(log);
    refusals_release(&r);
}

static void preview(struct refusals *r, const char *reason)
{
    struct record *rec = record_create(RECORD_DATA);

    rec->reason = reason;
    refusals_preview(r, rec);
    record_free(rec);
}

static void test_before_the_vocabulary(void **state)
{
    static const struct {
        int n, n_good;
        bool ends;
        int warnings;
    } cases[] = {
        {REFUSALS_FIRST + 50, 0, true, 1}, {REFUSALS_FIRST - 1, 0, false, 0},
        {3, 0, true, 1},                   {3, 1, true, 0},
        {REFUSALS_FIRST, 1, false, 0},     {0, 0, true, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct refusals r;
        char *log;

        begin(&r);
        for (int k = 0; k < cases[i].n; k++)
            preview(&r, k < cases[i].n_good ? NULL : "not_json");
        if (cases[i].ends)
            refusals_preview(&r, NULL);
        log = capture_end();
        assert_int_equal(count(log, "nothing_learned"), cases[i].warnings);
        free(log);
        refusals_release(&r);
    }
}

#define MANY_50 "01234567890123456789012345678901234567890123456789"
#define MANY_300 MANY_50 MANY_50 MANY_50 MANY_50 MANY_50 MANY_50

static void test_words(void **state)
{
    static const struct {
        const char *reason, *bytes, *words;
    } cases[] = {
        {"bad_field", LABEL, "field label is a number, and must be a string"},
        {"bad_field", "{\"text\":[1]}",
         "field text is an array, and must be a string"},
        {"bad_field", "{\"text\":\"a\",\"label\":null,\"domain\":{}}",
         "field domain is an object, and must be a string"},
        {"bad_field", "{\"text\":\"a\",\"id\":true}",
         "field id is true, and must be a string"},
        {"bad_field", "{\"text\":\"a\",\"ts\":\"now\"}",
         "field ts is a string, and must be a number"},
        {"bad_field", "{\"text\":\"a\",\"ts\":1e300}",
         "field ts is out of range"},
        {"bad_field", "{\"text\":\"a\",\"ts\":1,\"id\":\"" MANY_300 "\"}",
         "field id has 300 bytes, and at most 255 are allowed"},
        {"bad_field", "{\"text\":\"a\",\"label\":\"x\\u0000y\"}",
         "field label has a NUL character"},
        {"bad_field", "{\"text\":\"a\"}",
         "the name of its topic or file, which is its domain, is not UTF-8 or "
         "too long"},
        {"bad_field", "a",
         "one of its fields has the wrong type or is too long"},
        {"not_utf8", "\x1f\x8b\x08",
         "it is gzip data: a file is unpacked when its name ends in .gz"},
        {"nul_bytes", "\x1f\x8b\x08",
         "it is gzip data: a file is unpacked when its name ends in .gz"},
        {"utf16", "\x1f\x8b\x08",
         "it is gzip data: a file is unpacked when its name ends in .gz"},
        {"not_utf8", "\x28\xb5\x2f\xfd",
         "it is zstd data: a file is unpacked when its name ends in .zst"},
        {"too_long", "BZh91AY",
         "it is bzip2 data: unpack it first, with bzip2 -d"},
        {"not_utf8", "\xfd" "7zXZ", "it is xz data: unpack it first, with xz "
                                    "-d"},
        {"not_utf8", "\xff", "it is not UTF-8"},
        {"nul_bytes", "a", "it has NUL bytes"},
        {"empty", "BZh", "it has no text"},
        {"near_duplicate", "a", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char detail[160];

        record_reason_explain(cases[i].reason, cases[i].bytes,
                              strlen(cases[i].bytes), detail, sizeof detail);
        assert_string_equal(detail, cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_a_minute),
        cmocka_unit_test(test_held_back),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_all_refused),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_before_the_vocabulary),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
