/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions and chats: whole, as a stream, refused.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "tests/http_util.h"

static void test_completion(void **state)
{
    const char *body = "{\"prompt\":\"ab\",\"max_tokens\":9,\"seed\":7}";
    struct util_answer a = util_post("/v1/completions", body);
    struct util_answer b = util_post("/v1/completions", body);
    struct util_answer c = util_post(
        "/v1/completions", "{\"prompt\":[[97,98],[99]],\"max_tokens\":9,"
                           "\"seed\":7,\"n\":2}");

    (void)state;
    assert_string_equal(util_text_at(&a, "object"), "text_completion");
    assert_string_equal(util_text_at(&a, "choices.0.text"),
                        util_text_at(&b, "choices.0.text"));
    assert_string_equal(util_text_at(&a, "choices.0.text"),
                        util_text_at(&c, "choices.0.text"));
    assert_int_equal(json_array_size(util_at(c.json, "choices")), 4);
    assert_int_equal(util_number_at(&c, "choices.3.index"), 3);
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 2);
    assert_int_equal(util_number_at(&a, "seed"), 7);
    util_release(&a);
    util_release(&b);
    util_release(&c);
    a = util_post("/v1/completions", "{}"); /* the beginning of a record */
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 0);
    util_number_at(&a, "seed");
    util_release(&a);
}

/* As lm-evaluation-harness scores a prompt: the last entry is left out. */
static void test_echo(void **state)
{
    struct util_answer a = util_post(
        "/v1/completions", "{\"prompt\":[97,226,130,172],\"max_tokens\":1,"
                           "\"echo\":true,\"logprobs\":2,\"temperature\":0}");
    struct util_answer s = util_post("/v1/score", "{\"text\":\"a\xe2\x82\xac\","
                                                  "\"tokens\":true}");

    (void)state;
    assert_int_equal(
        json_array_size(util_at(a.json, "choices.0.logprobs.tokens")), 5);
    assert_string_equal(util_text_at(&a, "choices.0.logprobs.tokens.1"),
                        "bytes:\\xe2");
    assert_int_equal(util_number_at(&a, "choices.0.logprobs.text_offset.1"), 1);
    assert_int_equal(util_number_at(&a, "choices.0.logprobs.text_offset.4"), 2);
    assert_true(json_object_size(
                    util_at(a.json, "choices.0.logprobs.top_logprobs.0")) >= 2);
    for (int i = 0; i < 4; i++) {
        char *echoed = xasprintf("choices.0.logprobs.token_logprobs.%d", i);
        char *scored = xasprintf("results.0.logprobs.%d.logprob", i);

        assert_float_equal(json_real_value(util_at(a.json, echoed)),
                           json_real_value(util_at(s.json, scored)), 1e-4);
        free(echoed);
        free(scored);
    }
    util_release(&a);
    util_release(&s);
    a = util_post("/v1/completions",
                  "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true}");
    assert_string_equal(util_text_at(&a, "choices.0.text"), "abc");
    assert_int_equal(util_number_at(&a, "usage.completion_tokens"), 0);
    util_release(&a);
}

static void test_chat(void **state)
{
    struct util_answer a = util_post(
        "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":"
                                "[{\"type\":\"text\",\"text\":\"ab\"}]}],"
                                "\"max_completion_tokens\":9,\"seed\":7}");
    struct util_answer b =
        util_post("/v1/completions", "{\"prompt\":\"ab\",\"max_tokens\":9,"
                                     "\"seed\":7}");

    (void)state;
    assert_string_equal(util_text_at(&a, "choices.0.message.content"),
                        util_text_at(&b, "choices.0.text"));
    util_release(&a);
    util_release(&b);
    util_check_error(util_post("/v1/chat/completions", "{}"), 400, "messages");
    util_check_error(
        util_post("/v1/chat/completions", "{\"messages\":[{\"content\":5}]}"),
        400, "messages[0].content");
}

/* The pieces of a stream are the text, each whole characters, none of a stop
 * string. */
static void check_stream(const char *settings)
{
    char *plain = xasprintf("{%s}", settings);
    char *streamed = xasprintf("{%s,\"stream\":true}", settings);
    struct util_answer a = util_post("/v1/completions", plain);
    struct util_answer s = util_post("/v1/completions", streamed);
    struct buf body = BUF_INIT, text = BUF_INIT;
    char *save = NULL, *line, *events;
    bool done = false;

    assert_non_null(strstr(s.text, "text/event-stream"));
    assert_non_null(strstr(s.text, "X-Mneme-Version: 2"));
    /* Chunks of the transfer begin anywhere in an event: take them apart. */
    for (const char *p = s.body; *p;) {
        char *end;
        size_t n = strtoul(p, &end, 16);

        if (n == 0)
            break;
        buf_add(&body, end + 2, n);
        p = end + 2 + n + 2;
    }
    events = buf_detach(&body);
    for (line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *j = json_loads(line + 6, 0, NULL);

        assert_memory_equal(line, "data: ", 6);
        if (j)
            buf_adds(&text, json_string_value(util_at(j, "choices.0.text")));
        done = strcmp(line, "data: [DONE]") == 0;
        json_decref(j);
    }
    assert_true(done);
    assert_string_equal(text.data, util_text_at(&a, "choices.0.text"));
    buf_release(&text);
    free(events);
    free(plain);
    free(streamed);
    util_release(&a);
    util_release(&s);
}

static void test_stream(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 6; seed++) {
        char *settings = xasprintf("\"prompt\":\"ab\",\"max_tokens\":60,"
                                   "\"seed\":%d",
                                   seed);
        char *stopped =
            xasprintf("%s,\"stop\":[\"e\",\"ab\",\" t\"]", settings);

        check_stream(settings);
        check_stream(stopped);
        free(settings);
        free(stopped);
    }
}

static void test_completion_refused(void **state)
{
    static const char *const bodies[][2] = {
        {"{\"prompt\":5}", "prompt"},
        {"{\"prompt\":[]}", "prompt"},
        {"{\"prompt\":[\"a\",5]}", "prompt"},
        {"{\"prompt\":[5,\"a\"]}", "prompt"},
        {"{\"prompt\":[[1],\"a\"]}", "prompt"},
        {"{\"prompt\":[257]}", "prompt"},
        {"{\"prompt\":[-1]}", "prompt"},
        {"{\"prompt\":[1e300]}", "prompt"},
        {"{\"max_tokens\":-1}", "max_tokens"},
        {"{\"max_tokens\":\"5\"}", "max_tokens"},
        {"{\"max_tokens\":1000000000}", "max_tokens"},
        {"{\"prompt\":[\"a\",\"b\"],\"n\":16,\"max_tokens\":16384}",
         "max_tokens"},
        {"{\"temperature\":-0.1}", "temperature"},
        {"{\"temperature\":1e9}", "temperature"},
        {"{\"top_p\":1.5}", "top_p"},
        {"{\"top_k\":-2}", "top_k"},
        {"{\"n\":0}", "n"},
        {"{\"n\":1000}", "n"},
        {"{\"logprobs\":1000}", "logprobs"},
        {"{\"logprobs\":true}", "logprobs"},
        {"{\"stop\":5}", "stop"},
        {"{\"stop\":\"\"}", "stop"},
        {"{\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", "stop"},
        {"{\"stop\":\"a\\u0000b\"}", "stop"},
        {"{\"seed\":1.5}", "seed"},
        {"{\"stream\":1}", "stream"},
        {"{\"stream\":true,\"logprobs\":1}", "logprobs"},
        {"{\"echo\":\"yes\"}", "echo"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        util_check_error(util_post("/v1/completions", bodies[i][0]), 400,
                         bodies[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completion),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_completion_refused),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}
