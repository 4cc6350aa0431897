/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoints' answers about versions and texts, and operations.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "base/fileio.h"
#include "daemon/stream/queue.h"
#include "daemon/stream/source.h"
#include "store/tags.h"
#include "tests/util/http_util.h"
#include "tests/util/store_util.h"

/* --- versions and texts ------------------------------------------------- */

static void test_state(void **state)
{
    struct util_answer a = util_get("/v1/status");

    (void)state;
    assert_string_equal(util_text_at(&a, "state"), "starting");
    util_release(&a);
    util_check_ok(util_get("/healthz"));
    util_check_ok(util_get("/readyz"));
    util_check_ok(util_get("/v1/domains"));
    util_check_ok(util_get("/v1/history"));
    a = util_get("/metrics");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "# TYPE mneme_"));
    util_release(&a);
    a = util_ask("HEAD", "/healthz", NULL, NULL, 0);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "");
    util_release(&a);
}

static void test_versions(void **state)
{
    struct util_answer a = util_get("/v1/versions");

    (void)state;
    assert_int_equal(json_array_size(util_at(a.json, "versions")), 2);
    assert_int_equal(util_number_at(&a, "versions.0.version"), 2);
    assert_int_equal(util_number_at(&a, "versions.0.parent"), 1);
    assert_int_equal(util_number_at(&a, "versions.0.step"), 20);
    assert_int_equal(util_number_at(&a, "versions.0.offsets.0.offset"), 20);
    assert_int_equal(util_number_at(&a, "versions.0.holdout.news.chunks"), 40);
    assert_string_equal(util_text_at(&a, "versions.0.gate.verdict"), "pass");
    assert_string_equal(util_text_at(&a, "versions.0.state"), "passed");
    assert_true(json_is_true(util_at(a.json, "versions.0.serving")));
    assert_true(json_is_false(util_at(a.json, "versions.1.serving")));
    util_release(&a);
    a = util_get("/v1/versions?limit=1&before=2");
    assert_int_equal(json_array_size(util_at(a.json, "versions")), 1);
    assert_int_equal(util_number_at(&a, "versions.0.version"), 1);
    util_release(&a);
    util_check_ok(util_get("/v1/versions/1"));
    util_check_error(util_get("/v1/versions/3"), 404, NULL);
    util_check_error(util_get("/v1/versions/99999999999999999999999"), 404,
                     NULL);
    util_check_error(util_get("/v1/versions?limit=x"), 400, "limit");
}

static void test_models(void **state)
{
    struct util_answer a = util_get("/v1/models");

    (void)state;
    assert_string_equal(util_text_at(&a, "object"), "list");
    assert_string_equal(util_text_at(&a, "data.0.id"), "mneme");
    assert_string_equal(util_text_at(&a, "data.0.quantize"), "none");
    util_release(&a);
    util_check_ok(util_get("/v1/models/mneme"));
    util_check_ok(util_get("/v1/models/mneme@1"));
    util_check_error(util_get("/v1/models/mneme@9"), 404, NULL);
    util_check_error(util_get("/v1/models/gpt"), 404, NULL);
}

/* Each name finds its version, and the answer says which version it was. */
static void test_names(void **state)
{
    static const struct {
        const char *model;
        int version;
    } names[] = {{"\"mneme\"", 2},        {"null", 2},
                 {"\"mneme@1\"", 1},      {"\"mneme@2\"", 2},
                 {"\"mneme@latest\"", 2}, {"\"mneme@previous\"", 1}};
    static const char *const wrong[] = {
        "\"gpt\"",          "\"mneme@\"",
        "\"mneme@0\"",      "\"mneme@9\"",
        "\"mneme@-1\"",     "\"mneme@1x\"",
        "\"mneme\\u0000\"", "\"mneme@99999999999999999999\""};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *body = xasprintf("{\"text\":\"a\",\"model\":%s}", names[i].model);
        char *header = xasprintf("X-Mneme-Version: %d\r\n", names[i].version);
        struct util_answer a = util_post("/v1/score", body);

        assert_int_equal(util_number_at(&a, "version"), names[i].version);
        assert_non_null(strstr(a.text, header));
        util_release(&a);
        free(body);
        free(header);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *body = xasprintf("{\"text\":\"a\",\"model\":%s}", wrong[i]);
        struct util_answer a = util_post("/v1/score", body);

        if (a.status != 404 && a.status != 400)
            fail_msg("%s: %s", wrong[i], a.text);
        util_release(&a);
        free(body);
    }
    util_check_error(util_post("/v1/score", "{\"text\":\"a\",\"model\":3}"),
                     400, "model");
}

static void test_score(void **state)
{
    struct util_answer a =
        util_post("/v1/score", "{\"text\":[\"ab\\u0000c\",\"\"],"
                               "\"tokens\":true,\"x\":{}}");

    (void)state;
    assert_int_equal(util_number_at(&a, "results.0.bytes"), 4);
    assert_int_equal(util_number_at(&a, "results.0.tokens"), 4);
    assert_true(json_real_value(util_at(a.json, "results.0.bits_per_byte")) >
                0);
    assert_int_equal(json_array_size(util_at(a.json, "results.0.logprobs")), 4);
    assert_int_equal(util_number_at(&a, "results.1.bytes"), 0);
    util_release(&a);
    util_check_error(util_post("/v1/score", "{}"), 400, "text");
    util_check_error(util_post("/v1/score", "{\"text\":[]}"), 400, "text");
    util_check_error(util_post("/v1/score", "{\"text\":[1]}"), 400, "text");
    util_check_error(util_post("/v1/score", "{\"text\":\"a\",\"tokens\":1}"),
                     400, "tokens");
}

static void test_classify(void **state)
{
    struct util_answer a =
        util_post("/v1/classify", "{\"text\":\"red rose and red wine\"}");

    (void)state;
    assert_string_equal(util_text_at(&a, "results.0.label"), "red");
    assert_string_equal(util_text_at(&a, "results.0.scores.1.label"), "blue");
    util_release(&a);
    a = util_post("/v1/classify", "{\"text\":[\"a\",\"b\"],\"top_k\":1}");
    assert_int_equal(json_array_size(util_at(a.json, "results")), 2);
    assert_int_equal(json_array_size(util_at(a.json, "results.0.scores")), 1);
    util_release(&a);
    util_check_error(util_post("/v1/classify", "{\"text\":\"a\",\"top_k\":0}"),
                     400, "top_k");
}

static void test_embeddings(void **state)
{
    struct util_answer a =
        util_post("/v1/embeddings", "{\"input\":[\"a\",\"b\"]}");

    (void)state;
    assert_int_equal(json_array_size(util_at(a.json, "data.1.embedding")), 32);
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 2);
    util_release(&a);
    a = util_post("/v1/embeddings",
                  "{\"input\":\"a\",\"encoding_format\":\"base64\"}");
    assert_int_equal(strlen(util_text_at(&a, "data.0.embedding")),
                     (32 * 4 + 2) / 3 * 4);
    util_release(&a);
    util_check_error(util_post("/v1/embeddings",
                               "{\"input\":\"a\",\"encoding_format\":\"x\"}"),
                     400, "encoding_format");
}

/* A text and its token ids have the same embedding; 300 inputs are fine. */
static void test_embeddings_of_ids(void **state)
{
    static const char *const wrong[][2] = {
        {"{}", "input"},
        {"{\"input\":[]}", "input"},
        {"{\"input\":5}", "input"},
        {"{\"input\":[[97],[]]}", "input"},
        {"{\"input\":[[97],\"a\"]}", "input"},
        {"{\"input\":[\"a\",[97]]}", "input"},
        {"{\"input\":[97,\"a\"]}", "input"},
        {"{\"input\":[257]}", "input"},
        {"{\"input\":[[97],[1,-1]]}", "input"},
        {"{\"input\":\"a\",\"dimensions\":8}", "dimensions"},
        {"{\"input\":\"a\",\"dimensions\":\"8\"}", "dimensions"},
    };
    struct util_answer text = util_post(
        "/v1/embeddings", "{\"input\":[\"ab\",\"c\"],\"dimensions\":32}");
    struct util_answer ids =
        util_post("/v1/embeddings", "{\"input\":[[97,98],[99]]}");
    struct util_answer one = util_post("/v1/embeddings", "{\"input\":[97,98]}");
    struct util_answer a;
    struct buf many = BUF_INIT;

    (void)state;
    assert_true(
        json_equal(util_at(text.json, "data"), util_at(ids.json, "data")));
    assert_true(
        json_equal(util_at(text.json, "data.0"), util_at(one.json, "data.0")));
    assert_int_equal(util_number_at(&text, "usage.total_tokens"), 3);
    assert_int_equal(util_number_at(&ids, "usage.total_tokens"), 3);
    assert_int_equal(json_array_size(util_at(one.json, "data")), 1);
    util_release(&text);
    util_release(&ids);
    util_release(&one);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        util_check_error(util_post("/v1/embeddings", wrong[i][0]), 400,
                         wrong[i][1]);

    buf_adds(&many, "{\"input\":[");
    for (int i = 0; i < 299; i++)
        buf_adds(&many, "\"a\",");
    buf_adds(&many, "\"b\"]}");
    a = util_post("/v1/embeddings", many.data);
    assert_int_equal(util_number_at(&a, "data.299.index"), 299);
    util_release(&a);
    buf_release(&many);
}

/* Every endpoint accepts an empty text. */
static void test_empty_text(void **state)
{
    struct util_answer a = util_post("/v1/classify", "{\"text\":\"\"}");

    (void)state;
    assert_int_equal(json_array_size(util_at(a.json, "results.0.scores")), 2);
    util_release(&a);
    util_check_ok(util_post("/v1/score", "{\"text\":\"\"}"));
    util_check_ok(util_post("/v1/embeddings", "{\"input\":\"\"}"));
}

static void test_tokens(void **state)
{
    struct util_answer a =
        util_post("/tokenize", "{\"prompt\":\"a\xe2\x82\xac\"}");

    (void)state;
    assert_int_equal(util_number_at(&a, "count"), 4);
    assert_int_equal(util_number_at(&a, "tokens.1"), 0xe2);
    util_release(&a);
    a = util_post("/tokenize", "{\"prompt\":\"<|endoftext|>\"}");
    assert_int_equal(util_number_at(&a, "count"), 1);
    assert_int_equal(util_number_at(&a, "tokens.0"), 256);
    util_release(&a);
    /* With any byte after it, a NUL too, the name is ordinary text. */
    a = util_post("/tokenize", "{\"prompt\":\"<|endoftext|>\\u0000x\"}");
    assert_int_equal(util_number_at(&a, "count"), 15);
    assert_int_equal(util_number_at(&a, "tokens.0"), '<');
    assert_int_equal(util_number_at(&a, "tokens.13"), 0);
    util_release(&a);
    a = util_post("/tokenize",
                  "{\"prompt\":\"a\",\"add_special_tokens\":true}");
    assert_int_equal(util_number_at(&a, "count"), 2);
    assert_int_equal(util_number_at(&a, "tokens.0"), 256);
    assert_int_equal(util_number_at(&a, "tokens.1"), 97);
    util_release(&a);
    util_check_error(
        util_post("/tokenize",
                  "{\"prompt\":\"a\",\"add_special_tokens\":7}"),
        400, "add_special_tokens");
    a = util_post("/detokenize", "{\"tokens\":[97,226,130,172,255,256]}");
    assert_string_equal(util_text_at(&a, "prompt"),
                        "a\xe2\x82\xac\xef\xbf\xbd");
    util_release(&a);
    util_check_error(util_post("/detokenize", "{\"tokens\":[257]}"), 400,
                     "tokens");
    util_check_error(util_post("/detokenize", "{\"tokens\":\"a\"}"), 400,
                     "tokens");
    util_check_ok(util_get("/tokenizer_info"));
}

/* --- tags --------------------------------------------------------------- */

static void test_tags(void **state)
{
    static const char *const wrong[] = {"latest", "previous", "7",    "a%20b",
                                        "%2e%2e", "-a",       "a%2fb"};
    struct util_answer a =
        util_ask("PUT", "/v1/tags/release", NULL, "{\"version\":1}", 13);
    int64_t before;

    (void)state;
    assert_int_equal(a.status, 200);
    assert_string_equal(util_text_at(&a, "kind"), "tag");
    assert_int_equal(util_number_at(&a, "version"), 1);
    assert_string_equal(util_text_at(&a, "reason"), "release");
    util_release(&a);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *path = xasprintf("/v1/tags/%s", wrong[i]);

        a = util_ask("PUT", path, NULL, "{\"version\":1}", 13);
        if (a.status != 400 && a.status != 404)
            fail_msg("%s: %s", path, a.text);
        util_release(&a);
        free(path);
    }
    util_check_error(util_ask("PUT", "/v1/tags/a", NULL, "{}", 2), 400,
                     "version");
    util_check_error(util_ask("PUT", "/v1/tags/a", NULL, "{\"version\":9}", 13),
                     404, NULL);
    util_check_error(util_ask("DELETE", "/v1/tags/a", NULL, NULL, 0), 404,
                     NULL);
    util_check_error(
        util_post("/v1/score", "{\"text\":\"a\",\"model\":\"mneme@stable\"}"),
        404, "model");

    /* The server of this test has no publisher. */
    assert_int_equal(tags_put(fix.store, "stable", 1, &before, NULL), 0);
    a = util_get("/v1/tags");
    assert_string_equal(util_text_at(&a, "tags.0.name"), "stable");
    assert_string_equal(util_text_at(&a, "tags.0.model"), "mneme@stable");
    assert_int_equal(util_number_at(&a, "tags.0.version"), 1);
    util_release(&a);
    a = util_post("/v1/score", "{\"text\":\"a\",\"model\":\"mneme@stable\"}");
    assert_int_equal(util_number_at(&a, "version"), 1);
    util_release(&a);
    a = util_get("/v1/versions/1");
    assert_string_equal(util_text_at(&a, "tags.0"), "stable");
    util_release(&a);
    a = util_get("/v1/versions/2");
    assert_int_equal(json_array_size(util_at(a.json, "tags")), 0);
    util_release(&a);
    a = util_get("/v1/models");
    assert_string_equal(util_text_at(&a, "data.3.id"), "mneme@stable");
    util_release(&a);
    util_check_ok(util_get("/v1/models/mneme@stable"));
    a = util_get("/v1/history");
    assert_string_equal(util_text_at(&a, "tags.0.name"), "stable");
    assert_int_equal(util_number_at(&a, "tags.0.version"), 1);
    util_release(&a);
    assert_int_equal(tags_remove(fix.store, "stable", &before, NULL), 0);
}

/* --- files of a version ------------------------------------------------- */

/* Asks with a field of the head. */
static struct util_answer get_with(const char *path, const char *field)
{
    char *request = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\n"
                              "Connection: close\r\n%s\r\n\r\n",
                              path, field);
    struct util_answer a = util_ask_raw(request, strlen(request));

    free(request);
    return a;
}

static void check_range(const char *range, int status, const char *content,
                        const char *body)
{
    char *field = xasprintf("Range: %s", range);
    struct util_answer a = get_with("/v1/versions/1/files/labels.json", field);

    assert_int_equal(a.status, status);
    if (content)
        assert_non_null(strstr(a.text, content));
    if (body)
        assert_string_equal(a.body, body);
    util_release(&a);
    free(field);
}

static void test_files(void **state)
{
    static const char *const wrong[] = {
        "/v1/versions/1/files/nothing",
        "/v1/versions/1/files/..",
        "/v1/versions/1/files/../../mneme.db",
        "/v1/versions/1/files/..%2f..%2fmneme.db",
        "/v1/versions/1/files/%2e%2e%2fmneme.db",
        "/v1/versions/1/files/.",
        "/v1/versions/9/files/config.json",
        "/v1/versions/x/files/config.json",
        "/v1/versions/9/files"};
    static const char head[] = "HEAD /v1/versions/1/files/labels.json HTTP/1.1"
                               "\r\nHost: localhost\r\nConnection: close\r\n"
                               "Range: bytes=0-1\r\n\r\n";
    struct util_answer a = util_get("/v1/versions/1/files");
    char *path = util_file_of(fix.dir, 1, "labels.json");
    struct buf bytes = BUF_INIT;
    const json_t *file;
    bool found = false;
    size_t i;

    (void)state;
    assert_int_equal(a.status, 200);
    json_array_foreach(util_at(a.json, "files"), i, file)
    {
        const char *name = json_string_value(json_object_get(file, "name"));

        if (strcmp(name, "labels.json") != 0)
            continue;
        found = true;
        assert_int_equal(json_integer_value(json_object_get(file, "bytes")),
                         14);
        assert_int_equal(
            strlen(json_string_value(json_object_get(file, "sha256"))), 64);
    }
    assert_true(found);
    util_release(&a);
    assert_int_equal(fileio_read(path, 100, &bytes, NULL), 0);
    a = util_get("/v1/versions/1/files/labels.json");
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, bytes.data);
    assert_non_null(strstr(a.text, "Content-Length: 14\r\n"));
    util_release(&a);
    a = util_ask("HEAD", "/v1/versions/1/files/labels.json", NULL, NULL, 0);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "");
    util_release(&a);
    check_range("bytes=0-1", 206, "Content-Range: bytes 0-1/14\r\n", "[\"");
    check_range("bytes=12-", 206, "Content-Range: bytes 12-13/14\r\n", "\"]");
    check_range("bytes=-1", 206, "Content-Range: bytes 13-13/14\r\n", "]");
    check_range("bytes=-99", 206, "bytes 0-13/14\r\n", bytes.data);
    check_range("bytes=3-99", 206, "bytes 3-13/14\r\n", bytes.data + 3);
    check_range("bytes=14-", 416, "Content-Range: bytes */14\r\n", NULL);
    check_range("bytes=-0", 416, NULL, NULL);
    check_range("bytes=5-3", 200, NULL, bytes.data);
    check_range("bytes=0-1,3-4", 200, NULL, bytes.data);
    check_range("lines=1-2", 200, NULL, bytes.data);
    a = get_with("/v1/versions/1/files/labels.json",
                 "If-Range: \"other\"\r\nRange: bytes=0-1");
    assert_int_equal(a.status, 200);
    util_release(&a);
    a = util_ask_raw(head, sizeof head - 1);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.text, "Content-Length: 14\r\n"));
    util_release(&a);
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        a = util_get(wrong[i]);
        if (a.status != 404 && a.status != 400)
            fail_msg("%s: %s", wrong[i], a.text);
        util_release(&a);
    }
    /* A file that was tampered with. */
    assert_int_equal(fileio_write_sync(path, "[]", 2, NULL), 0);
    util_check_error(util_get("/v1/versions/1/files/labels.json"), 409, NULL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    a = util_get("/v1/versions/1/files/labels.json");
    assert_true(a.status >= 400);
    util_release(&a);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fileio_write_sync(path, bytes.data, bytes.len, NULL), 0);
    buf_release(&bytes);
    free(path);
}

/* --- records ------------------------------------------------------------ */

static struct util_answer post_as(const char *type, const char *body)
{
    char *request = xasprintf("POST /v1/records HTTP/1.1\r\n"
                              "Host: localhost\r\nContent-Type: %s\r\n"
                              "Content-Length: %zu\r\n\r\n%s",
                              type, strlen(body), body);
    struct util_answer a = util_ask_raw(request, strlen(request));

    free(request);
    return a;
}

static void check_positions(struct util_answer a, int64_t first, int64_t last)
{
    assert_int_equal(a.status, 200);
    assert_string_equal(util_text_at(&a, "topic"), "http");
    assert_int_equal(util_number_at(&a, "partition"), 0);
    assert_int_equal(util_number_at(&a, "first_offset"), first);
    assert_int_equal(util_number_at(&a, "last_offset"), last);
    assert_int_equal(util_number_at(&a, "records"), last - first + 1);
    util_release(&a);
}

static void check_value(struct queue *q, const char *value)
{
    struct record *r = queue_pop(q, 20000);

    assert_non_null(r);
    assert_string_equal(r->value, value);
    record_free(r);
}

static void test_records(void **state)
{
    struct source_options o = {.data_dir = fix.dir, .store_id = "x"};
    struct err err = ERR_INIT;
    char *log = xasprintf("%s/records", fix.dir);
    struct conf *conf;

    (void)state;
    util_check_error(util_post("/v1/records", "{\"text\":\"a\"}"), 409, NULL);
    fix.conf->source.type = CONF_SOURCE_HTTP;
    o.conf = fix.conf;
    o.queue = queue_create(100, 1 << 20);
    assert_int_equal(source_create(&o, &fix.source, &err), 0);
    conf = fix.conf; /* the source uses it */
    fix.conf = NULL;
    util_restart();
    util_check_error(util_post("/v1/records", "{\"text\":\"a\"}"), 503, NULL);
    assert_int_equal(source_begin(fix.source, NULL, 0, 1, &err), 0);
    check_positions(util_post("/v1/records", "{\"text\":\n\r\"a\"}"), 0, 0);
    check_value(o.queue, "{\"text\":  \"a\"}");
    check_positions(post_as("application/x-ndjson; charset=utf-8",
                            "{\"text\":\"b\"}\r\n\r\n \nplain\n{\"n\":"
                            "12345678901234567890}"),
                    1, 3);
    check_value(o.queue, "{\"text\":\"b\"}");
    check_value(o.queue, "plain");
    check_value(o.queue, "{\"n\":12345678901234567890}");
    check_positions(post_as("application/json", "{\"n\":12345678901234567890}"),
                    4, 4);
    check_value(o.queue, "{\"n\":12345678901234567890}");
    util_check_error(util_post("/v1/records", ""), 400, NULL);
    util_check_error(util_post("/v1/records", "[{}]"), 400, NULL);
    util_check_error(util_post("/v1/records", "{}\n{}"), 400, NULL);
    util_check_error(post_as("text/plain", "\n \n\r\n"), 400, NULL);
    source_free(fix.source);
    fix.source = NULL;
    util_restart();
    queue_free(o.queue);
    conf_free(conf);
    assert_int_equal(fileio_remove_dir(log, NULL), 0);
    free(log);
}

/* --- operations --------------------------------------------------------- */

static void test_operations(void **state)
{
    struct util_answer a = util_post("/v1/versions/1/pin", "");
    char *href;

    (void)state;
    assert_int_equal(a.status, 200);
    assert_string_equal(util_text_at(&a, "state"), "done");
    util_release(&a);
    util_check_ok(util_post("/v1/versions/1/unpin", "{}"));
    util_check_ok(util_post("/v1/versions/latest/promote", ""));
    a = util_post("/v1/rollback", "{\"version\":1,\"reason\":\"bad feed\"}");
    assert_int_equal(a.status, 202);
    href =
        xasprintf("/v1/operations/%" PRId64, util_number_at(&a, "operation"));
    assert_string_equal(util_text_at(&a, "href"), href);
    util_release(&a);
    a = util_get(href);
    assert_string_equal(util_text_at(&a, "kind"), "rollback_rewind");
    assert_string_equal(util_text_at(&a, "state"), "queued");
    assert_string_equal(util_text_at(&a, "reason"), "bad feed");
    util_release(&a);
    free(href);
    util_check_error(util_get("/v1/operations/999"), 404, NULL);
    util_check_error(util_get("/v1/operations/x"), 404, NULL);
    util_check_error(util_post("/v1/versions/9/promote", ""), 404, NULL);
    util_check_error(util_post("/v1/versions/x/pin", ""), 404, NULL);
    util_check_error(util_post("/v1/rollback", "{\"version\":9}"), 404, NULL);
    util_check_error(util_post("/v1/rollback", "{}"), 400, "version");
    util_check_error(util_post("/v1/rollback", "{\"version\":\"1\"}"), 400,
                     "version");
    util_check_error(
        util_post("/v1/rollback", "{\"version\":1,\"stream\":\"x\"}"), 400,
        "stream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_embeddings_of_ids),
        cmocka_unit_test(test_empty_text),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_operations),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}
