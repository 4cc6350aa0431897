/* SPDX-License-Identifier: Apache-2.0 */
/* Parses values in each format, and compares the reasons of bad records. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/record.h"
#include "daemon/stream/record_reason.h"

#define MAX_BYTES 4096

static struct record_maker maker, hashing;

static struct record *parse_bytes(enum conf_format format, const char *value,
                                  size_t n_bytes, const char *domain)
{
    struct record *r = record_create_data(&maker, value, n_bytes);

    r->topic = "topic";
    r->time_ms = 7;
    record_parse(&maker, r, format, MAX_BYTES, domain);
    return r;
}

static struct record *parse(enum conf_format format, const char *value)
{
    return parse_bytes(format, value, value ? strlen(value) : 0, NULL);
}

struct verdict {
    const char *value, *json, *automatic, *text; /* reason, or NULL: good */
};

static const struct verdict verdicts[] = {
    {NULL, "null", "null", "null"},
    {"", "empty", "empty", "empty"},
    {" \t\r\n\v\f ", "empty", "empty", "empty"},
    {"\xff\xfe", "utf16", "utf16", "utf16"},
    {"\xfe\xff\x01", "utf16", "utf16", "utf16"},
    {"\xff\xff", "not_utf8", "not_utf8", "not_utf8"},
    {"{\"text\":\"\xed\xa0\x80\"}", "not_utf8", "not_utf8", "not_utf8"},
    {"plain text", "not_json", NULL, NULL},
    {"{not json}", "not_json", NULL, NULL},
    {"[\"text\"]", "not_json", NULL, NULL},
    {"\"text\"", "not_json", NULL, NULL},
    {"{\"text\":\"a\"} b", "not_json", "broken_json", NULL},
    {"{\"text\":\"a\",\"text\":\"b\"}", NULL, NULL, NULL},
    {"{\"text\":\"\\ud800\"}", NULL, NULL, NULL},
    {"{\"x\":\"\\udc00\",\"text\":\"a\"}", NULL, NULL, NULL},
    {"{\"text\":\"\\ud8zz\"}", "not_json", "broken_json", NULL},
    {"\xef\xbb\xbf{\"text\":\"a\"}", NULL, NULL, NULL},
    {"\xef\xbb\xbf\xef\xbb\xbf{\"text\":\"a\"}", "not_json", "broken_json",
     NULL},
    {"\xef\xbb\xbf", "empty", "empty", "empty"},
    {"\xef\xbb\xbfplain", "not_json", NULL, NULL},
    {"{\"score\":NaN,\"text\":\"a\"}", "not_json", "broken_json", NULL},
    {"{\"score\":-Infinity,\"text\":\"a\"}", "not_json", "broken_json", NULL},
    {"{\"text\":\"a\tb\"}", "not_json", "broken_json", NULL},
    {"  {\"text\":\"a\"},", "not_json", "broken_json", NULL},
    {"{\"text\":\"a\",}", "not_json", "broken_json", NULL},
    {"{\"text\":\"a\"", "not_json", "broken_json", NULL},
    {"{\"id\":\"x\", \"text\" : \"a", "not_json", "broken_json", NULL},
    {"{\"\\u0074ext\":\"a\"", "not_json", "broken_json", NULL},
    {"{'text': 'a', 'id': 'x'}", "not_json", "broken_json", NULL},
    {"{text: 'a'}", "not_json", "broken_json", NULL},
    {"{ \"id\": 1, text : \"a\" }", "not_json", "broken_json", NULL},
    {"{\"text\" \"a\"}", "not_json", "broken_json", NULL},
    {"{\"text\"=>\"a\"}", "not_json", "broken_json", NULL},
    {"{\"\"text\"\": \"\"a\"\"}", "not_json", "broken_json", NULL},
    {"{\\\"text\\\": \\\"a\\\"}", "not_json", "broken_json", NULL},
    {"{\xe2\x80\x9ctext\xe2\x80\x9d: \"a\"}", "not_json", "broken_json", NULL},
    {"\xc2\xa0{\"text\":\"a\"}", "not_json", "broken_json", NULL},
    {"\xe2\x80\x8b{\"text\":\"a\"}", "not_json", "broken_json", NULL},
    {"[{\"text\":\"a\"}]", "not_json", "broken_json", NULL},
    {"[ {\"text\":\"a\"},", "not_json", "broken_json", NULL},
    {"{\"prompt\":\"a\",\"completion\":\"b\"", "not_json", "broken_json", NULL},
    {"{\"text\":\"a\"}{\"text\":\"b\"}", "not_json", "broken_json", NULL},
    {"\x1e{\"text\":\"a\"}", "record_separator", "record_separator", NULL},
    {"\x1e plain", "record_separator", NULL, NULL},
    /* Prose and code that begin with a brace, without a key `text`. */
    {"{ return text; }", "not_json", NULL, NULL},
    {"{see the text: a}", "not_json", NULL, NULL},
    {"{ context: 1 }", "not_json", NULL, NULL},
    {"{text-align: left}", "not_json", NULL, NULL},
    {"{\"type\": \"text\", \"a\": 1", "not_json", NULL, NULL},
    {"{\"texts\": [1, 2}", "not_json", NULL, NULL},
    {"{\"message\":\"a\",}", "not_json", NULL, NULL},
    {"{{ template }} \"text\"", "not_json", NULL, NULL},
    {"see {\"text\":\"a\"", "not_json", NULL, NULL},
    {"[{\"type\":1}]", "not_json", NULL, NULL},
    {"{\"message\":\"a\"}", "no_text", NULL, NULL},
    {"{\"data\":{\"text\":\"a\"}}", "no_text", NULL, NULL},
    {"{\"prompt\":\"a\"}", "no_text", "no_text", NULL},
    {"{\"completion\":\"a\"}", "no_text", "no_text", NULL},
    {"{\"text\":null,\"message\":\"a\"}", "no_text", "no_text", NULL},
    {"{\"text\":\"a\",\"text\":null}", "no_text", "no_text", NULL},
    {"{\"text\":7}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"\"}", "empty", "empty", NULL},
    {"{\"text\":\" \\n\\u0020\"}", "empty", "empty", NULL},
    {"{\"text\":\"a\",\"label\":7}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"a\",\"domain\":[]}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"a\",\"id\":{}}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"a\",\"id\":\"x\\u0000y\"}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"a\",\"ts\":\"now\"}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"a\",\"ts\":1e300}", "bad_field", "bad_field", NULL},
    {"{\"text\":\"a\",\"label\":null,\"domain\":\"\"}", NULL, NULL, NULL},
    {"{\"text\":\"a\",\"hash\":18446744073709551615}", NULL, NULL, NULL},
    {" \n{\"text\":\"a\"}\n", NULL, NULL, NULL},
    {"{\"prompt\":\"\",\"completion\":\"b\"}", NULL, NULL, NULL},
};

static void check(const struct verdict *v, enum conf_format format,
                  const char *expected)
{
    struct record *r = parse(format, v->value);

    if (!expected != !r->reason ||
        (expected && strcmp(expected, r->reason) != 0))
        fail_msg("%s as %d: %s, not %s", v->value ? v->value : "null",
                 (int)format, r->reason ? r->reason : "good",
                 expected ? expected : "good");
    if (!r->reason) {
        assert_non_null(r->text);
        assert_true(r->text_bytes > 0);
        assert_string_equal(r->domain, "topic");
    }
    record_free(r);
}

static void test_verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
        check(&verdicts[i], CONF_FORMAT_JSON, verdicts[i].json);
        check(&verdicts[i], CONF_FORMAT_AUTO, verdicts[i].automatic);
        check(&verdicts[i], CONF_FORMAT_TEXT, verdicts[i].text);
    }
}

/* Times in the future are replaced by the present time. */
static void test_times(void **state)
{
    static const char *const values[] = {
        "{\"text\":\"a\",\"ts\":1800000030000}",
        "{\"text\":\"a\",\"ts\":1800000061000}",
        "{\"text\":\"a\",\"ts\":1800000000000000}",
        "{\"text\":\"a\",\"ts\":4611686018427387000}",
    };
    _Atomic int64_t now = INT64_C(1800000000000);

    (void)state;
    timing_set_fake(&now);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct record *r = parse(CONF_FORMAT_AUTO, values[i]);

        assert_null(r->reason);
        assert_int_equal(r->time_cut, i > 0);
        assert_true(r->time_ms == (i ? now : now + 30000));
        record_free(r);
    }
    now += 1000; /* later, the same time is not in the future */
    for (int i = 0; i < 2; i++) {
        struct record *r = parse(CONF_FORMAT_AUTO, values[1]);

        assert_false(r->time_cut);
        record_free(r);
    }
    timing_set_fake(NULL);
}

struct binary {
    const char *bytes;
    size_t n;
    const char *reason;
};

/* Binary data gets a specific reason in every format. */
static void test_binary(void **state)
{
    static const struct binary values[] = {
        {"\xff\xfe{\0\"\0t\0", 8, "utf16"},
        {"{\0\"\0t\0e\0", 8, "utf16"},
        {"\0{\0\"\0t\0e", 8, "utf16"},
        {"\0a\0b\0\r\0", 7, "utf16"},
        {"\0\0\0\0\x2a{\"text\":\"a\"}", 17, "schema_registry"},
        {"\0\0\0\1\0\0\2a", 8, "schema_registry"},
        {"\0\0\0\0\0\0\0\0", 8, "nul_bytes"},
        {"\0\0\0\0\0\0line", 10, "nul_bytes"},
        {"\0", 1, "nul_bytes"},
        {"\0not a header", 13, "nul_bytes"},
        {"{\"text\":\"a\0b\"}", 14, "nul_bytes"},
        {"a line with one\0in it", 21, "nul_bytes"},
        {"\xff\0\xff\xfe", 4, "utf16"},
        {"caf\xe9 \xff", 6, "not_utf8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (int format = 0; format < 3; format++) {
            struct record *r =
                parse_bytes((enum conf_format)format, values[i].bytes,
                            values[i].n, NULL);

            if (!r->reason || strcmp(r->reason, values[i].reason) != 0)
                fail_msg("value %zu as %d: %s", i, format,
                         r->reason ? r->reason : "good");
            assert_non_null(record_reason_clause(r->reason));
            record_free(r);
        }
}

static void expect_text(const char *value, const char *text)
{
    struct record *r = parse(CONF_FORMAT_AUTO, value);

    assert_null(r->reason);
    assert_int_equal(r->text_bytes, strlen(text));
    assert_memory_equal(r->text, text, strlen(text));
    record_free(r);
}

/* Valid JSON that parsers treat differently. */
static void test_grammar(void **state)
{
    static const char same[] =
        "{\"id\":\"a\",\"text\":\"x\",\"id\":\"\\u0062\","
        "\"text\":\"y\\n\"}";
    struct record *r = parse(CONF_FORMAT_AUTO, same);

    (void)state;
    assert_null(r->reason); /* the last one counts */
    assert_string_equal(r->id, "b");
    assert_memory_equal(r->text, "y\n", 2);
    record_free(r);
    expect_text("{\"text\":\"a \\ud83d\"}", "a \xef\xbf\xbd");
    expect_text("{\"text\":\"\\ud83d\\u0041\"}", "\xef\xbf\xbd" "A");
    expect_text("{\"text\":\"\\ud83d\\ud83d\\ude00\"}",
                "\xef\xbf\xbd\xf0\x9f\x98\x80");
    expect_text("{\"text\":\"\\udc00\\n\"}", "\xef\xbf\xbd\n");
    expect_text("\xef\xbb\xbf{\"text\":\"a\"}", "a");
    expect_text("\xef\xbb\xbfplain", "plain");
}

/* Ids of records that are learned as plain text, or are refused. */
static void test_ids(void **state)
{
    struct record *r = parse(CONF_FORMAT_AUTO,
                             "{\"message\":\"a\",\"id\":\"x\\u0031\"}");

    (void)state;
    assert_null(r->reason);
    assert_string_equal(r->id, "x1");
    record_free(r);
    r = parse(CONF_FORMAT_AUTO, "{\"text\":\"a\",\"label\":7,\"id\":\"x1\"}");
    assert_string_equal(r->reason, "bad_field");
    assert_string_equal(r->id, "x1");
    record_free(r);
}

struct holder {
    const char *value;
    bool has;
};

static void test_has_id(void **state)
{
    static const struct holder values[] = {
        {"{\"id\":\"a/b\"}", true},
        {"{\"id\":\"a\\/b\"}", true},
        {"{\"id\":\"\\u0061\\u002fb\"}", true},
        {"{\"\\u0069d\" : \"a/b\"}", true},
        {"\xef\xbb\xbf{\"id\":\"a/b\"}", true},
        {"{\"id\":\"c\",\"id\":\"a/b\"}", true},
        {"{\"id\":\"a/b\",\"id\":\"c\"}", false},
        {"{\"text\":\"a/b\",\"ref\":\"a/b\"}", false},
        {"{\"user\":{\"id\":\"a/b\"}}", false},
        {"{\"id\":\"a/bc\"}", false},
        {"{\"id\":\"a/\"}", false},
        {"{\"text\":\"\\\"id\\\":\\\"a/b\\\"\"}", false},
        /* In invalid JSON, a member at any depth counts. */
        {"{\"text\":\"x\",\"id\":\"a\\/b\"", true},
        {"{\"text\":\"x\ty\",\"id\":\"a/b\"}", true},
        {"{\"text\":\"5\" tall\",\"id\": \"a/b\"}", true},
        {"{\"user\":{\"id\":\"a/b\"},}", true},
        {"{'id': 'a/b', 'text': 'x'}", true},
        {"\xff{\"id\":\"a/b\"}", true},
        {"{\"text\":\"a/b\",\"ref\":\"a/b\"", false},
        {"{\"text\":\"x\",\"id\":\"a/bc\"", false},
        {"{\"text\":\"x\",\"id\":\"a/", false},
        {"{\"text\":\"the \\\"id\\\": \\\"a/b\\\" of", false},
        {"\"a/b\"", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (record_has_id(values[i].value, strlen(values[i].value), "a/b") !=
            values[i].has)
            fail_msg("%s", values[i].value);
    assert_true(record_has_id("\0\0\0\0\1{\"id\":\"x\"}", 15, "x"));
    assert_false(record_has_id(NULL, 0, "x"));
    assert_true(record_text_has_id(" {\"id\":\"x\"}", 11, true, "x"));
    assert_false(record_text_has_id("as in {\"id\":\"x\"}", 16, true, "x"));
    assert_false(record_text_has_id("{\"a\":{\"id\":\"x\"}}", 16, true,
                                    "x"));
    assert_true(record_text_has_id("b\", \"id\":\"x\"}", 13, false, "x"));
    assert_false(record_text_has_id("b\", \"id\":\"xy\"}", 14, false, "x"));
}

static void test_fields(void **state)
{
    struct record *r = parse(
        CONF_FORMAT_AUTO,
        "{\"text\":\"gr\\u00fc\\u0000n \\ud83d\\ude00\",\"label\":\"l\","
        "\"domain\":\"d\",\"id\":\"i\",\"ts\":-1.5,\"more\":[1,{}]}");

    (void)state;
    assert_null(r->reason);
    assert_int_equal(r->text_bytes, 11);
    assert_memory_equal(r->text, "gr\xc3\xbc\0n \xf0\x9f\x98\x80", 11);
    assert_string_equal(r->label, "l");
    assert_string_equal(r->domain, "d");
    assert_string_equal(r->id, "i");
    assert_int_equal(r->time_ms, -2);
    assert_null(r->prompt);
    assert_true(record_memory(r) > sizeof *r + r->n_bytes + r->text_bytes);
    record_free(r);
}

static void test_pair(void **state)
{
    struct record *r = parse(CONF_FORMAT_JSON,
                             "{\"prompt\":\"ab\",\"completion\":\"c\"}");

    (void)state;
    assert_null(r->reason);
    assert_int_equal(r->prompt_bytes, 2);
    assert_memory_equal(r->prompt, "ab", 2);
    assert_int_equal(r->text_bytes, 1);
    assert_memory_equal(r->text, "c", 1);
    assert_int_equal(r->time_ms, 7);
    record_free(r);
}

/* The domain comes from the field, else the header, else the topic. */
static void test_domain(void **state)
{
    const char *with = "{\"text\":\"a\",\"domain\":\"field\"}";
    struct record *r;

    (void)state;
    r = parse_bytes(CONF_FORMAT_AUTO, with, strlen(with), "header");
    assert_string_equal(r->domain, "field");
    record_free(r);
    r = parse_bytes(CONF_FORMAT_AUTO, "a", 1, "header");
    assert_string_equal(r->domain, "header");
    record_free(r);
    r = parse_bytes(CONF_FORMAT_AUTO, "a", 1, "");
    assert_string_equal(r->domain, "topic");
    record_free(r);
    r = parse_bytes(CONF_FORMAT_AUTO, "a", 1, "\xff");
    assert_string_equal(r->reason, "bad_field");
    record_free(r);
}

static void test_lengths(void **state)
{
    char value[MAX_BYTES + 2], json[RECORD_NAME_MAX + 64], name[300];
    struct record *r;

    (void)state;
    memset(value, 'a', sizeof value);
    r = parse_bytes(CONF_FORMAT_AUTO, value, MAX_BYTES, NULL);
    assert_null(r->reason);
    record_free(r);
    r = parse_bytes(CONF_FORMAT_AUTO, value, MAX_BYTES + 1, NULL);
    assert_string_equal(r->reason, "too_long");
    record_free(r);
    memset(name, 'n', sizeof name);
    for (int extra = 0; extra < 2; extra++) {
        snprintf(json, sizeof json, "{\"text\":\"a\",\"label\":\"%.*s\"}",
                 RECORD_NAME_MAX + extra, name);
        r = parse(CONF_FORMAT_AUTO, json);
        assert_int_equal(!r->reason, !extra);
        record_free(r);
    }
}

/* Fills the room completely: all strings are decoded, names have their maximal
 * length, and the topic follows a value that turns out to be no JSON. */
static void test_room(void **state)
{
    static const char *const ends[] = {"}", ",", "\\"};
    char topic[RECORD_NAME_MAX + 2], value[3 * 6 * RECORD_NAME_MAX + 64];

    (void)state;
    memset(topic, 't', RECORD_NAME_MAX + 1);
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        size_t n = (size_t)sprintf(value, "{\"text\":\"\\n");
        struct record *r;

        for (int i = 0; i < RECORD_NAME_MAX; i++)
            value[n++] = 'x';
        n += (size_t)sprintf(value + n, "\",\"label\":\"");
        for (int i = 0; i < RECORD_NAME_MAX; i++)
            value[n++] = k ? 'l' : '/';
        n += (size_t)sprintf(value + n, "\",\"id\":\"\\/");
        for (int i = 1; i < RECORD_NAME_MAX; i++)
            value[n++] = 'i';
        n += (size_t)sprintf(value + n, "\"%s", ends[k]);
        topic[RECORD_NAME_MAX] = '\0';
        r = record_create_data(&maker, value, n);
        r->topic = topic;
        record_parse(&maker, r, CONF_FORMAT_AUTO, MAX_BYTES, NULL);
        assert_int_equal(r->reason == NULL, k == 0);
        assert_string_equal(r->domain, topic);
        assert_int_equal(r->label != NULL, k == 0);
        if (k == 0)
            assert_int_equal(strlen(r->id), RECORD_NAME_MAX);
        record_free(r);
        topic[RECORD_NAME_MAX] = 't';
        r = record_create_data(&maker, value, n);
        topic[RECORD_NAME_MAX + 1] = '\0';
        r->topic = topic;
        record_parse(&maker, r, CONF_FORMAT_AUTO, MAX_BYTES, NULL);
        assert_string_equal(r->reason, k ? "broken_json" : "bad_field");
        record_free(r);
    }
}

/* The n-grams are hashes of the decoded text. */
static void test_grams(void **state)
{
    const char *json = "{\"text\":\"one\\ttwo\",\"label\":\"l\"}";
    struct gram_list expected = GRAM_LIST_INIT;
    struct record *r;

    (void)state;
    gram_list_add_text(&expected, "one two", 7);
    assert_int_equal(expected.n, 3);
    for (int again = 0; again < 2; again++) {
        r = record_create_data(&hashing, json, strlen(json));
        record_parse(&hashing, r, CONF_FORMAT_AUTO, MAX_BYTES, "d");
        assert_null(r->reason);
        assert_int_equal(r->n_grams, expected.n);
        assert_memory_equal(r->grams, expected.items,
                            expected.n * sizeof *r->grams);
        record_free(r);
    }
    r = record_create_data(&hashing, "{\"text\":7}", 10);
    record_parse(&hashing, r, CONF_FORMAT_JSON, MAX_BYTES, "d");
    assert_non_null(r->reason);
    assert_null(r->grams);
    record_free(r);
    gram_list_release(&expected);
}

static void check_numbered(struct record *r, int i, size_t n_bytes)
{
    assert_null(r->reason);
    assert_int_equal(r->n_bytes, n_bytes);
    assert_int_equal(r->value[0], 'a' + i % 26);
    assert_int_equal(r->value[n_bytes - 1], 'a' + i % 26);
    assert_int_equal(r->n_grams, 1);
    assert_string_equal(r->domain, "topic");
    record_free(r);
}

/* Records of many blocks, small and large, are freed in any order, and after
 * their maker. */
static void test_blocks(void **state)
{
    enum { N = 500 };
    static const size_t lengths[] = {1, 300, 4000, 70000};
    struct record_maker m;
    struct record *held[N];
    char *value = xmalloc(70000);

    (void)state;
    record_maker_init(&m, true);
    for (int i = 0; i < N; i++) {
        size_t n = lengths[i * 7 % 4];

        memset(value, 'a' + i % 26, n);
        held[i] = record_create_data(&m, value, n);
        held[i]->topic = "topic";
        record_parse(&m, held[i], CONF_FORMAT_TEXT, 70000, NULL);
        if (i % 3 == 0) {
            check_numbered(held[i], i, n);
            held[i] = NULL;
        }
    }
    record_maker_release(&m);
    for (int i = N - 1; i >= 0; i--)
        if (held[i])
            check_numbered(held[i], i, lengths[i * 7 % 4]);
    free(value);
}

static int make_makers(void **state)
{
    (void)state;
    record_maker_init(&maker, false);
    record_maker_init(&hashing, true);
    return 0;
}

static int release_makers(void **state)
{
    (void)state;
    record_maker_release(&maker);
    record_maker_release(&hashing);
    return 0;
}

/* Deep nesting is refused. It would exhaust the stack of a recursive parser. */
static void test_depth(void **state)
{
    char value[MAX_BYTES];
    int n = snprintf(value, sizeof value, "{\"text\":\"a\",\"b\":");
    struct record *r;

    (void)state;
    memset(value + n, '[', 1000);
    memset(value + n + 1000, ']', 1000);
    value[n + 2000] = '}';
    value[n + 2001] = '\0';
    for (int format = CONF_FORMAT_AUTO; format <= CONF_FORMAT_JSON; format++) {
        r = parse((enum conf_format)format, value);
        assert_string_equal(r->reason, "too_deep");
        record_free(r);
    }
    memset(value + n + 64, ' ', 1000 - 64);
    memset(value + n + 1000 + 64, ' ', 1000 - 64);
    r = parse(CONF_FORMAT_JSON, value);
    assert_null(r->reason);
    record_free(r);
    memset(value + n, '[', 1000);
    memset(value + n + 1000, ']', 1000);
    memcpy(value, "{\"code\":\"a\"", 11);
    r = parse(CONF_FORMAT_AUTO, value);
    assert_null(r->reason); /* no record, so plain text */
    record_free(r);
    r = parse(CONF_FORMAT_JSON, "{\"text\":\"[[[{{{ \\\" [[[\"}");
    assert_null(r->reason);
    record_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts), cmocka_unit_test(test_fields),
        cmocka_unit_test(test_pair),     cmocka_unit_test(test_domain),
        cmocka_unit_test(test_lengths),  cmocka_unit_test(test_depth),
        cmocka_unit_test(test_room),     cmocka_unit_test(test_grams),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_binary),   cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_ids),      cmocka_unit_test(test_has_id),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, make_makers, release_makers);
}
