/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions and chats: as one answer, as a stream, and wrong requests.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/http/completion/completion_stream.h"
#include "tests/util/http_util.h"

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
    a = util_post("/v1/completions", "{}"); /* an empty prompt */
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 0);
    util_number_at(&a, "seed");
    util_release(&a);
}

/* lm-evaluation-harness scores a prompt with such a request. */
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
        400, "messages[0].role");
}

/* An error names the wrong message. */
static void test_messages(void **state)
{
#define FIRST "{\"messages\":[{\"role\":\"user\",\"content\":\"w\"},"
    static const char *const wrong[][2] = {
        {FIRST "{\"role\":\"user\"}]}", "messages[1].content"},
        {FIRST "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"4\"}]}",
         "messages[1].role"},
        {FIRST "{\"role\":\"function\",\"content\":\"4\"}]}",
         "messages[1].role"},
        {FIRST "{\"role\":\"User\",\"content\":\"4\"}]}", "messages[1].role"},
        {FIRST "{\"content\":\"4\"}]}", "messages[1].role"},
        {FIRST "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]}]}",
         "messages[1].tool_calls"},
        {FIRST "{\"role\":\"user\",\"content\":\"4\",\"name\":\"Ann\"}]}",
         "messages[1].name"},
        {FIRST "{\"role\":\"user\",\"content\":5}]}", "messages[1].content"},
        {FIRST "{\"role\":\"user\",\"content\":[{\"type\":\"text\","
               "\"text\":\"a\"},{\"type\":\"image_url\"}]}]}",
         "messages[1].content[1]"},
        {FIRST "7]}", "messages[1]"},
        {FIRST "7],\"tools\":[{\"type\":\"function\"}]}", "tools"},
        {FIRST "7],\"response_format\":{\"type\":\"json_object\"}}",
         "response_format"},
        {"{\"messages\":[]}", "messages"},
        {"{\"messages\":\"a\"}", "messages"},
    };
    struct util_answer a = util_post(
        "/v1/chat/completions",
        FIRST "{\"role\":\"assistant\",\"tool_calls\":[],\"audio\":null},"
              "{\"role\":\"system\",\"content\":\"\"},"
              "{\"role\":\"developer\",\"content\":\"4\"}],\"max_tokens\":1,"
              "\"tools\":[],\"response_format\":{\"type\":\"text\"}}");

    (void)state;
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 5);
    util_release(&a);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        util_check_error(util_post("/v1/chat/completions", wrong[i][0]), 400,
                         wrong[i][1]);
}

#define CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}],"

/* The events of a stream, without the framing of chunks. A chunk may begin in
 * the middle of an event. */
static char *events_of(const struct util_answer *s)
{
    struct buf body = BUF_INIT;

    for (const char *p = s->body; *p;) {
        char *end;
        size_t n = strtoul(p, &end, 16);

        if (n == 0)
            break;
        buf_add(&body, end + 2, n);
        p = end + 2 + n + 2;
    }
    return buf_detach(&body);
}

/* Appends the logprobs of a stream's first choice to list. */
static void add_logprobs(const struct util_answer *s, json_t *list)
{
    char *events = events_of(s), *save = NULL;

    for (char *line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *j = json_loads(line + 6, JSON_ALLOW_NUL, NULL);

        json_array_extend(list, (json_t *)util_at(j, "choices.0.logprobs."
                                                     "content"));
        json_decref(j);
    }
    free(events);
}

/* A chat has the logprobs of a completion with the same seed, and of a stream,
 * with and without stop strings. */
static void test_chat_logprobs(void **state)
{
    static const char *const stops[] = {"[]", "[\"e\"]", "[\"ab\",\" t\"]"};
    int compared = 0;

    (void)state;
    for (int seed = 1; seed <= 9 || compared < 3; seed++) {
        char *rest = xasprintf("\"max_tokens\":40,\"seed\":%d,\"stop\":%s",
                               seed, stops[seed % 3]);
        char *chat =
            xasprintf(CHAT "\"logprobs\":true,\"top_logprobs\":2,%s}", rest);
        char *streamed = xasprintf(CHAT "\"logprobs\":true,\"top_logprobs\":2,"
                                        "\"stream\":true,%s}",
                                   rest);
        char *legacy = xasprintf("{\"prompt\":\"ab\",\"logprobs\":2,%s}", rest);
        struct util_answer a = util_post("/v1/chat/completions", chat);
        struct util_answer s = util_post("/v1/chat/completions", streamed);
        struct util_answer l = util_post("/v1/completions", legacy);
        const json_t *list = util_at(a.json, "choices.0.logprobs.content");
        const json_t *wanted =
            util_at(l.json, "choices.0.logprobs.token_logprobs");
        json_t *pieces = json_array();

        /* jansson cannot read a NUL in a key of top_logprobs. */
        compared += l.json != NULL;
        if (l.json)
            assert_int_equal(json_array_size(list), json_array_size(wanted));
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *one = json_array_get(list, i);

            assert_true(!l.json || json_equal(json_object_get(one, "logprob"),
                                              json_array_get(wanted, i)));
            assert_int_equal(
                json_array_size(json_object_get(one, "top_logprobs")), 2);
            assert_int_equal(json_array_size(json_object_get(one, "bytes")), 1);
        }
        add_logprobs(&s, pieces);
        assert_int_equal(json_array_size(pieces), json_array_size(list));
        for (size_t i = 0; i < json_array_size(pieces); i++)
            assert_true(
                json_equal(json_object_get(json_array_get(pieces, i), "bytes"),
                           json_object_get(json_array_get(list, i), "bytes")));
        json_decref(pieces);
        util_release(&a);
        util_release(&s);
        util_release(&l);
        free(rest);
        free(chat);
        free(streamed);
        free(legacy);
    }
    util_check_error(
        util_post("/v1/chat/completions", CHAT "\"top_logprobs\":2}"), 400,
        "top_logprobs");
    util_check_error(util_post("/v1/chat/completions", CHAT "\"logprobs\":5}"),
                     400, "logprobs");
}

/* A text and its pieces. */
static void join_stream(const struct util_answer *s, struct buf *text,
                        json_t *lists[4], int *n_usages)
{
    static const char *const names[] = {"tokens", "token_logprobs",
                                        "top_logprobs", "text_offset"};
    char *events = events_of(s), *save = NULL;

    for (char *line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *j = json_loads(line + 6, JSON_ALLOW_NUL, NULL);
        const json_t *piece = util_at(j, "choices.0.text");

        buf_add(text, json_string_value(piece), json_string_length(piece));
        for (int i = 0; i < 4; i++)
            json_array_extend(
                lists[i],
                json_object_get(util_at(j, "choices.0.logprobs"), names[i]));
        *n_usages += json_object_get(j, "usage") != NULL;
        json_decref(j);
    }
    free(events);
}

/* The streamed logprobs of a completion are those of the plain answer, with and
 * without the prompt, also when the completion is empty. */
static void test_streamed_logprobs(void **state)
{
    static const char *const settings[] = {
        "\"max_tokens\":20,\"logprobs\":1",
        "\"max_tokens\":20,\"logprobs\":0,\"stop\":[\"e\",\"ab\"]",
        "\"max_tokens\":6,\"logprobs\":2,\"echo\":true",
        "\"max_tokens\":0,\"logprobs\":0,\"echo\":true",
        "\"max_tokens\":3,\"logprobs\":0,\"echo\":true,"
        "\"logit_bias\":{\"256\":100}"};
    static const char *const names[] = {"tokens", "token_logprobs",
                                        "top_logprobs", "text_offset"};
    int compared = 0;

    (void)state;
    for (int seed = 1; seed <= 10 || compared < 8; seed++) {
        char *rest = xasprintf("{\"prompt\":\"a\xe2\x82\xac\",\"seed\":%d,%s",
                               seed, settings[seed % 5]);
        char *plain = xasprintf("%s}", rest);
        char *streamed = xasprintf("%s,\"stream\":true}", rest);
        struct util_answer a = util_post("/v1/completions", plain);
        struct util_answer s = util_post("/v1/completions", streamed);
        json_t *lists[4];
        struct buf text = BUF_INIT;
        int n_usages = 0;

        for (int i = 0; i < 4; i++)
            lists[i] = json_array();
        join_stream(&s, &text, lists, &n_usages);
        assert_int_equal(n_usages, 0);
        /* jansson cannot read a NUL in a key of top_logprobs. */
        for (int i = 0; a.json && !strstr(s.text, "\"\\u0000") && i < 4; i++) {
            json_t *whole = json_object_get(
                util_at(a.json, "choices.0.logprobs"), names[i]);

            if (!json_equal(whole, lists[i]))
                fail_msg("%s: %s\n%s", names[i], a.text, s.text);
            compared += i == 0;
        }
        for (int i = 0; i < 4; i++)
            json_decref(lists[i]);
        buf_release(&text);
        util_release(&a);
        util_release(&s);
        free(rest);
        free(plain);
        free(streamed);
    }
}

/* With include_usage every event has `usage`; only the last one has a value. */
static void test_streamed_usage(void **state)
{
    struct util_answer s = util_post(
        "/v1/chat/completions",
        CHAT "\"max_tokens\":4,\"logit_bias\":{\"97\":100},\"stream\":true,"
             "\"stream_options\":{\"include_usage\":true}}");
    char *events = events_of(&s), *save = NULL, *last = NULL;
    int n = 0, n_null = 0;

    (void)state;
    assert_non_null(strstr(events, "{\"role\":\"assistant\",\"content\":\"\""));
    for (char *line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        n_null += strstr(line, "\"usage\":null") != NULL;
        n++;
        if (strstr(line, "\"usage\":{"))
            last = line;
    }
    assert_int_equal(n, 1 + 4 + 1 + 1 + 1); /* role, text, end, usage, DONE */
    assert_int_equal(n_null, 6);
    assert_non_null(strstr(last, "\"choices\":[]"));
    assert_non_null(strstr(last, "\"completion_tokens\":4"));
    free(events);
    util_release(&s);
}

/* The settings reach the sampling, whose formula test_infer_generate checks. */
static void test_penalties(void **state)
{
    static const char *const texts[] = {"aaaaaa", NULL, NULL, "bbbbbb"};
    static const char *const more[] = {
        "\"logit_bias\":{\"97\":100,\"98\":90}",
        "\"logit_bias\":{\"97\":99,\"98\":95},\"frequency_penalty\":1.5",
        "\"logit_bias\":{\"97\":99,\"98\":98.9},\"frequency_penalty\":2",
        "\"logit_bias\":{\"98\":100}"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char *body = xasprintf("{\"prompt\":\"\",\"max_tokens\":6,"
                               "\"temperature\":0,%s}",
                               more[i]);
        struct util_answer a = util_post("/v1/completions", body);
        const char *text = util_text_at(&a, "choices.0.text");

        if (texts[i])
            assert_string_equal(text, texts[i]);
        else
            assert_true(strchr(text, 'a') && strchr(text, 'b'));
        util_release(&a);
        free(body);
    }
}

/* 16 tokens are the context. */
static void test_context(void **state)
{
#define SEVENTEEN "abcdefghijklmnopq"
#define IDS "[97,97,97,97,97,97,97,97,97,97,97,97,97,97,97,97,97]"
    static const char *const refused[][3] = {
        {"/v1/completions", "{\"prompt\":\"" SEVENTEEN "\"}", "prompt"},
        {"/v1/completions", "{\"prompt\":[\"a\",\"" SEVENTEEN "\"]}", "prompt"},
        {"/v1/completions", "{\"prompt\":" IDS "}", "prompt"},
        {"/v1/completions", "{\"prompt\":[[97]," IDS "],\"echo\":true}",
         "prompt"},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"abcdefgh\"},"
         "{\"role\":\"user\",\"content\":\"abcdefgh\"}]}",
         "messages"},
        {"/v1/responses", "{\"input\":\"" SEVENTEEN "\"}", "input"},
        {"/v1/responses",
         "{\"input\":\"abcdefgh\",\"instructions\":\"abcdefgh\"}", "input"},
    };
    struct util_answer a, b;

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        a = util_post(refused[i][0], refused[i][1]);
        if (a.status != 400)
            fail_msg("%s: %s", refused[i][1], a.text);
        assert_string_equal(util_text_at(&a, "error.code"),
                            "context_length_exceeded");
        util_check_error(a, 400, refused[i][2]);
    }
    /* What fits, what is only scored, and an embedding. */
    util_check_ok(util_post("/v1/completions",
                            "{\"prompt\":\"abcdefghijklmnop\","
                            "\"max_tokens\":40}"));
    util_check_ok(util_post("/v1/completions",
                            "{\"prompt\":" IDS ",\"echo\":true,\"logprobs\":0,"
                            "\"max_tokens\":1}"));
    util_check_ok(util_post("/v1/embeddings", "{\"input\":\"" SEVENTEEN "\"}"));

    /* The end of a prompt stays. */
    a = util_post("/v1/completions",
                  "{\"prompt\":\"" SEVENTEEN "\",\"echo\":true,"
                  "\"max_tokens\":0,"
                  "\"truncate_prompt_tokens\":-1}");
    assert_string_equal(util_text_at(&a, "choices.0.text"), SEVENTEEN + 1);
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 16);
    util_release(&a);
    a = util_post("/v1/completions", "{\"prompt\":[\"" SEVENTEEN "\",\"b\"],"
                                     "\"echo\":true,\"max_tokens\":0,"
                                     "\"truncate_prompt_tokens\":3}");
    assert_string_equal(util_text_at(&a, "choices.0.text"), "opq");
    assert_string_equal(util_text_at(&a, "choices.1.text"), "b");
    util_release(&a);
    a = util_post("/v1/embeddings", "{\"input\":\"" SEVENTEEN "\","
                                    "\"truncate_prompt_tokens\":2}");
    b = util_post("/v1/embeddings", "{\"input\":\"pq\"}");
    assert_true(json_equal(util_at(a.json, "data"), util_at(b.json, "data")));
    util_release(&a);
    util_release(&b);
    util_check_ok(util_post("/v1/responses", "{\"input\":\"" SEVENTEEN
                                             "\",\"truncation\":\"auto\","
                                             "\"max_output_tokens\":1}"));
    util_check_error(
        util_post("/v1/completions",
                  "{\"prompt\":\"a\",\"truncate_prompt_tokens\":17}"),
        400, "truncate_prompt_tokens");
}

/* --- responses ---------------------------------------------------------- */

/* A response has the text of a chat; a list of messages may replace the string.
 */
static void test_response(void **state)
{
    struct util_answer c = util_post(
        "/v1/chat/completions",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"x\"},"
        "{\"role\":\"user\",\"content\":\"ab\"}],\"max_tokens\":9,\"seed\":7}");
    struct util_answer a = util_post(
        "/v1/responses",
        "{\"input\":\"ab\",\"instructions\":\"x\",\"max_output_tokens\":9,"
        "\"seed\":7,\"metadata\":{\"k\":\"v\"}}");
    struct util_answer b = util_post(
        "/v1/responses",
        "{\"input\":[{\"role\":\"system\",\"content\":\"x\"},{\"type\":"
        "\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\","
        "\"text\":\"a\"},{\"type\":\"input_text\",\"text\":\"b\"}]}],"
        "\"max_output_tokens\":9,\"seed\":7}");
    const char *text = util_text_at(&c, "choices.0.message.content");
    bool cut =
        strcmp(util_text_at(&c, "choices.0.finish_reason"), "length") == 0;

    (void)state;
    assert_string_equal(util_text_at(&a, "output.0.content.0.text"), text);
    assert_string_equal(util_text_at(&b, "output.0.content.0.text"), text);
    assert_string_equal(util_text_at(&a, "object"), "response");
    assert_string_equal(util_text_at(&a, "status"),
                        cut ? "incomplete" : "completed");
    assert_string_equal(util_text_at(&a, "metadata.k"), "v");
    assert_int_equal(util_number_at(&a, "usage.input_tokens"), 4);
    assert_int_equal(util_number_at(&a, "usage.output_tokens"),
                     util_number_at(&c, "usage.completion_tokens"));
    assert_string_equal(util_text_at(&a, "system_fingerprint"),
                        util_text_at(&c, "system_fingerprint"));
    assert_int_equal(strlen(util_text_at(&c, "system_fingerprint")), 13);
    util_release(&a);
    util_release(&b);
    util_release(&c);
    util_check_error(util_post("/v1/responses", "{}"), 400, "input");
    util_check_error(util_post("/v1/responses", "{\"input\":[]}"), 400,
                     "input");
    util_check_error(util_post("/v1/responses",
                               "{\"input\":[{\"type\":\"item_reference\","
                               "\"id\":\"a\"}]}"),
                     400, "input[0].type");
    util_check_error(
        util_post("/v1/responses", "{\"input\":[{\"role\":\"user\"}]}"), 400,
        "input[0].content");
}

/* The text of the events is that of the plain answer; the events come in
 * OpenAI's order, with their numbers. */
static void test_response_stream(void **state)
{
    static const char *const order[] = {
        "response.created",           "response.in_progress",
        "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done",
        "response.content_part.done", "response.output_item.done",
        "response.incomplete"};
    struct util_answer a = util_post(
        "/v1/responses",
        "{\"input\":\"ab\",\"max_output_tokens\":9,\"seed\":7,"
        "\"logit_bias\":{},\"include\":[\"message.output_text.logprobs\"],"
        "\"top_logprobs\":2}");
    struct util_answer s = util_post(
        "/v1/responses",
        "{\"input\":\"ab\",\"max_output_tokens\":9,\"seed\":7,\"stream\":true,"
        "\"include\":[\"message.output_text.logprobs\"],\"top_logprobs\":2}");
    char *events = events_of(&s), *save = NULL;
    struct buf text = BUF_INIT;
    json_t *logprobs = json_array();
    const json_t *whole = util_at(a.json, "output.0.content.0.text");
    size_t at = 0;
    int n = 0;

    (void)state;
    assert_string_equal(util_text_at(&a, "status"), "incomplete");
    assert_string_equal(util_text_at(&a, "incomplete_details.reason"),
                        "max_output_tokens");
    for (char *line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *j;
        const char *type;

        if (strncmp(line, "event: ", 7) == 0) {
            if (strcmp(line + 7, order[at]) != 0)
                assert_string_equal(line + 7, order[++at]);
            continue;
        }
        j = json_loads(line + 6, JSON_ALLOW_NUL, NULL);
        type = json_string_value(json_object_get(j, "type"));
        assert_string_equal(type, order[at]);
        assert_int_equal(
            json_integer_value(json_object_get(j, "sequence_number")), n++);
        if (at == 4) {
            const json_t *delta = json_object_get(j, "delta");

            buf_add(&text, json_string_value(delta), json_string_length(delta));
            json_array_extend(logprobs, json_object_get(j, "logprobs"));
        }
        if (at == 8)
            assert_true(json_equal(util_at(j, "response.output.0.content"),
                                   util_at(a.json, "output.0.content")));
        json_decref(j);
    }
    assert_int_equal(at, 8);
    assert_null(strstr(events, "[DONE]"));
    assert_int_equal(text.len, json_string_length(whole));
    assert_memory_equal(text.data, json_string_value(whole), text.len);
    assert_int_equal(json_array_size(logprobs), 9);
    assert_true(
        json_equal(logprobs, util_at(a.json, "output.0.content.0.logprobs")));
    json_decref(logprobs);
    buf_release(&text);
    free(events);
    util_release(&a);
    util_release(&s);
}

/* An unknown field may hold a number of any size; a known one has a range. */
static void test_big_numbers(void **state)
{
    (void)state;
    util_check_ok(util_post("/v1/completions",
                            "{\"max_tokens\":1,\"a\":1e400,\"b\":[-1e999,"
                            "123456789012345678901234567890]}"));
    util_check_error(util_post("/v1/completions", "{\"temperature\":1e400}"),
                     400, "temperature");
    util_check_error(
        util_post("/v1/completions", "{\"seed\":123456789012345678901}"), 400,
        "seed");
    util_check_error(util_post("/v1/completions", "{\"seed\":1e400-1}"), 400,
                     NULL);
}

/* Few bytes stay unsent, and the pieces make up the repaired whole. */
static void test_unsent(void **state)
{
    static const char *const stop[] = {"stop it", "zz"};
    static const char pieces[][8] = {"a",  "\xe2", "\x82", "\xac", "\xff",
                                     "st", "o",    "z",    " sto", "\xf0\x9f"};
    struct buf unsent = BUF_INIT, sent = BUF_INIT;
    struct buf raw = BUF_INIT, whole = BUF_INIT;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        const char *piece = pieces[i * i % 10];

        completion_stream_add(&unsent, piece, strlen(piece), stop, 2, &sent);
        buf_adds(&raw, piece);
        assert_true(unsent.len <= 6 + 3);
    }
    assert_true(unsent.cap < 64);
    utf8_repair(raw.data, raw.len, &whole);
    assert_true(sent.len + 3 * 9 >= whole.len && sent.len <= whole.len);
    assert_memory_equal(sent.data, whole.data, sent.len);
    buf_release(&unsent);
    buf_release(&sent);
    buf_release(&raw);
    buf_release(&whole);
}

/* --- cancelled requests ------------------------------------------------- */

/* Some 60,000 tokens: seconds of work for the model of main(). The client's
 * socket is first checked after 0.2 s. */
#define LONG_WORK                                                              \
    "\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\","             \
    "\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"],\"n\":16,"               \
    "\"max_tokens\":1024"

static int send_long(const char *more)
{
    char *body = xasprintf("{" LONG_WORK "%s}", more);
    char *request =
        xasprintf("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                  "Connection: close\r\nContent-Length: %zu\r\n"
                  "\r\n%s",
                  strlen(body), body);
    int fd = util_dial();

    util_send_all(fd, request, strlen(request));
    free(body);
    free(request);
    return fd;
}

static long cancelled(const char *cause)
{
    struct util_answer a = util_get("/metrics");
    char *line = xasprintf("mneme_http_cancelled_total{cause=\"%s\"} ", cause);
    const char *at = strstr(a.text, line);
    long n;

    assert_non_null(at);
    n = strtol(at + strlen(line), NULL, 10);
    free(line);
    util_release(&a);
    return n;
}

/* Sends requests, leaves after leave_ms, and waits for the count to rise. */
static bool is_cancelled(int64_t leave_ms, long before)
{
    enum { N = 2 };
    bool counted = false;
    int fds[N];

    for (int i = 0; i < N; i++)
        fds[i] = send_long("");
    timing_sleep_ms(leave_ms);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    for (int i = 0; i < 40 && !counted; i++) {
        timing_sleep_ms(50);
        counted = cancelled("client_left") > before;
    }
    return counted;
}

/* A client that leaves before its request is read cancels nothing. So a busy
 * machine may need more than one try, each with a longer wait. */
static void test_abandoned(void **state)
{
    long before = cancelled("client_left");
    bool counted = false;

    (void)state;
    for (int i = 0; i < 8 && !counted; i++)
        counted = is_cancelled(20 << i, before);
    assert_true(counted);
    util_check_ok(util_post("/v1/completions", "{\"max_tokens\":1}"));
}

/* Every endpoint that computes has a time limit. The reply says that the same
 * request would fail again. */
static void test_time_limit(void **state)
{
    static const char *const asked[][2] = {
        {"/v1/completions", "{\"prompt\":\"ab\"}"},
        {"/v1/chat/completions", CHAT "\"n\":2}"},
        {"/v1/responses", "{\"input\":\"ab\"}"},
        {"/v1/completions", "{\"prompt\":\"ab\",\"max_tokens\":0,"
                            "\"echo\":true,\"logprobs\":1}"},
        {"/v1/score", "{\"text\":[\"a\",\"b\"]}"},
        {"/v1/classify", "{\"text\":[\"a\",\"b\"]}"},
        {"/v1/embeddings", "{\"input\":\"a\"}"},
    };
    struct util_answer a;
    char *events;

    (void)state;
    util_stop();
    util_most_seconds = 0;
    util_start("127.0.0.1:0", NULL);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        a = util_post(asked[i][0], asked[i][1]);
        if (a.status != 503)
            fail_msg("%s: %s", asked[i][0], a.text);
        assert_string_equal(util_text_at(&a, "error.code"), "time_limit");
        assert_non_null(strstr(util_text_at(&a, "error.message"),
                               "http.max_request_seconds"));
        assert_non_null(strstr(a.text, "X-Should-Retry: false"));
        assert_null(strstr(a.text, "Retry-After"));
        util_release(&a);
    }
    a = util_post("/v1/completions", "{\"prompt\":\"ab\",\"stream\":true}");
    events = events_of(&a);
    assert_non_null(strstr(events, "data: {\"error\":{"));
    assert_non_null(strstr(events, "\"code\":\"time_limit\""));
    assert_non_null(strstr(events, "}\n\ndata: [DONE]\n\n"));
    free(events);
    util_release(&a);
    assert_int_equal(cancelled("time_limit"), 8);
    util_stop();
    util_most_seconds = 120;
    util_start("127.0.0.1:0", NULL);
}

struct reading {
    int fd;
    struct util_answer answer;
};

static void *read_answer(void *arg)
{
    struct reading *r = arg;

    r->answer = util_read_answer(r->fd);
    return NULL;
}

/* A stop waits for answers that end within the grace period. */
static void test_stop_waits(void **state)
{
    struct reading r[2];
    pthread_t threads[2];
    char *events, first;

    (void)state;
    r[0].fd = send_long("");
    r[1].fd = send_long(",\"stream\":true");
    assert_int_equal(recv(r[1].fd, &first, 1, MSG_PEEK), 1); /* it streams */
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, read_answer, &r[i]);
    timing_sleep_ms(400); /* for the server to read both requests */
    util_stop();
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    /* On a slow machine the grace period ends first, with 503. */
    if (r[0].answer.status != 503)
        assert_int_equal(json_array_size(util_at(r[0].answer.json, "choices")),
                         256);
    assert_non_null(r[0].answer.json);
    events = events_of(&r[1].answer);
    assert_non_null(strstr(events, "\n\ndata: [DONE]\n\n"));
    free(events);
    for (int i = 0; i < 2; i++)
        util_release(&r[i].answer);
    util_start("127.0.0.1:0", NULL);
}

/* The pieces of a stream make up the text of the plain answer. */
static void check_stream(const char *settings)
{
    char *plain = xasprintf("{%s}", settings);
    char *streamed = xasprintf("{%s,\"stream\":true}", settings);
    struct util_answer a = util_post("/v1/completions", plain);
    struct util_answer s = util_post("/v1/completions", streamed);
    struct buf text = BUF_INIT;
    char *save = NULL, *line, *events;
    const json_t *whole;
    bool done = false;

    assert_non_null(strstr(s.text, "text/event-stream"));
    assert_non_null(strstr(s.text, "X-Mneme-Version: 2"));
    events = events_of(&s);
    for (line = strtok_r(events, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *j = json_loads(line + 6, JSON_ALLOW_NUL, NULL);

        assert_memory_equal(line, "data: ", 6);
        if (j) {
            const json_t *piece = util_at(j, "choices.0.text");

            buf_add(&text, json_string_value(piece), json_string_length(piece));
        }
        done = strcmp(line, "data: [DONE]") == 0;
        json_decref(j);
    }
    assert_true(done);
    whole = util_at(a.json, "choices.0.text");
    assert_int_equal(text.len, json_string_length(whole));
    assert_memory_equal(text.data, json_string_value(whole), text.len);
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
        {"{\"echo\":\"yes\"}", "echo"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        util_check_error(util_post("/v1/completions", bodies[i][0]), 400,
                         bodies[i][1]);
}

/* The usage tells how many tokens of a prompt were known. The text of a known
 * prompt is the same. */
static void test_cached(void **state)
{
    static const char completion[] =
        "{\"prompt\":[\"zyxwvuts\",\"zyxwv?\"],\"max_tokens\":4,\"seed\":1,"
        "\"n\":2,\"logprobs\":1,\"echo\":true}";
    static const char chat[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"qpqpqp\"}],"
        "\"max_tokens\":4}";
    static const char response[] =
        "{\"input\":\"qpqp\",\"max_output_tokens\":4}";
    static const char cached[] = "usage.prompt_tokens_details.cached_tokens";
    static const char response_cached[] =
        "usage.input_tokens_details.cached_tokens";
    struct util_answer a = util_post("/v1/completions", completion);
    struct util_answer b = util_post("/v1/completions", completion);

    (void)state;
    assert_int_equal(util_number_at(&a, "usage.prompt_tokens"), 14);
    /* The last token that is known is read again, in each prompt. */
    assert_int_equal(util_number_at(&a, cached), 4); /* of the second one */
    assert_int_equal(util_number_at(&b, cached), 12);
    assert_true(json_equal(util_at(a.json, "choices"),
                           util_at(b.json, "choices")));
    util_release(&a);
    util_release(&b);
    a = util_post("/v1/chat/completions", chat);
    assert_int_equal(util_number_at(&a, cached), 0);
    util_release(&a);
    a = util_post("/v1/chat/completions", chat);
    assert_int_equal(util_number_at(&a, cached), 5);
    util_release(&a);
    a = util_post("/v1/responses", response);
    assert_int_equal(util_number_at(&a, response_cached), 3);
    util_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completion),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_completion_refused),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_chat_logprobs),
        cmocka_unit_test(test_streamed_logprobs),
        cmocka_unit_test(test_streamed_usage),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_response),
        cmocka_unit_test(test_cached),
        cmocka_unit_test(test_response_stream),
        cmocka_unit_test(test_big_numbers),
        cmocka_unit_test(test_unsent),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_stop_waits),
    };

    util_shape.layers = 4; /* see LONG_WORK */
    util_shape.ffn_dim = 1024;
    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}
