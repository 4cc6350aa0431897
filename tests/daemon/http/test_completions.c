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
#include "daemon/http/completion_stream.h"
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
        400, "messages[0].content");
}

/* An error names the wrong message. */
static void test_messages(void **state)
{
#define FIRST "{\"messages\":[{\"role\":\"user\",\"content\":\"w\"},"
    static const char *const wrong[][2] = {
        {FIRST "{\"role\":\"user\"}]}", "messages[1].content"},
        {FIRST "{\"role\":\"tool\",\"tool_call_id\":\"a\"}]}",
         "messages[1].content"},
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
    struct util_answer a =
        util_post("/v1/chat/completions", FIRST
                  "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]},"
                  "{\"role\":\"assistant\",\"content\":null},"
                  "{\"role\":\"tool\",\"content\":\"4\"}],\"max_tokens\":1,"
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
    assert_int_equal(cancelled("time_limit"), 7);
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
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_chat_logprobs),
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
