/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each field of OpenAI's requests is honoured, has no effect, or is refused by
 * its name. docs/OPENAI.md is the table; with MNEME_WRITE_DOCS=1 the program
 * writes it instead of comparing it.
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
#include "daemon/http/completion/api_fields.h"
#include "tests/util/conf_util.h"
#include "tests/util/http_util.h"

#define CHAT                                                                   \
    "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":1"
#define TEXT "\"prompt\":\"a\",\"max_tokens\":1"
#define RESPONSE "\"input\":\"a\",\"max_output_tokens\":1"
#define VECTOR "\"input\":\"a\""

/* All fields of OpenAI's reference, with a value that asks for something. */
static const struct {
    const char *kinds; /* c, h, r, e: an endpoint that has the field */
    const char *name, *value;
    bool accepted;
} fields[] = {
    {"chre", "model", "\"mneme@1\"", true},
    {"ch", "frequency_penalty", "1.5", true},
    {"ch", "presence_penalty", "-2", true},
    {"ch", "logit_bias", "{\"97\":-100,\"256\":3.5}", true},
    {"ch", "n", "2", true},
    {"ch", "stop", "[\"a\",\"b\"]", true},
    {"ch", "seed", "-7", true},
    {"chr", "temperature", "0.5", true},
    {"chr", "top_p", "0.5", true},
    {"chr", "stream", "true", true},
    {"chre", "user", "\"u\"", true},
    {"hr", "safety_identifier", "\"u\"", true},
    {"hr", "metadata", "{\"a\":\"b\"}", true},
    {"hr", "store", "true", true},
    {"hr", "prompt_cache_key", "\"k\"", true},
    {"hr", "prompt_cache_options", "{\"mode\":\"implicit\"}", true},
    {"hr", "prompt_cache_retention", "\"24h\"", true},
    {"hr", "parallel_tool_calls", "true", true},
    {"h", "prediction", "{\"type\":\"content\",\"content\":\"a\"}", true},
    {"h", "max_completion_tokens", "2", true},
    {"h", "logprobs", "true", true},
    {"c", "logprobs", "2", true},
    {"c", "echo", "true", true},
    {"r", "instructions", "\"b\"", true},
    {"r", "max_tool_calls", "3", true},
    {"r", "truncation", "\"auto\"", true},
    {"r", "include", "[\"message.output_text.logprobs\"]", true},
    {"e", "encoding_format", "\"base64\"", true},
    {"e", "dimensions", "32", true},

    {"c", "suffix", "\"b\"", false},
    {"c", "best_of", "2", false},
    {"e", "dimensions", "8", false},
    {"hr", "tools", "[{\"type\":\"function\"}]", false},
    {"hr", "tool_choice", "\"required\"", false},
    {"h", "functions", "[{\"name\":\"f\"}]", false},
    {"h", "function_call", "{\"name\":\"f\"}", false},
    {"h", "response_format", "{\"type\":\"json_object\"}", false},
    {"h", "modalities", "[\"text\",\"audio\"]", false},
    {"h", "audio", "{\"voice\":\"ash\"}", false},
    {"h", "verbosity", "\"low\"", false},
    {"h", "reasoning_effort", "\"high\"", false},
    {"h", "web_search_options", "{}", false},
    {"hr", "moderation", "{\"model\":\"m\"}", false},
    {"hr", "service_tier", "\"flex\"", false},
    {"r", "text", "{\"format\":{\"type\":\"json_object\"}}", false},
    {"r", "reasoning", "{\"effort\":\"low\"}", false},
    {"r", "background", "true", false},
    {"r", "background_options", "{}", false},
    {"r", "conversation", "\"c\"", false},
    {"r", "previous_response_id", "\"resp_1\"", false},
    {"r", "prompt", "{\"id\":\"p\"}", false},
    {"r", "context_management", "[{\"type\":\"compaction\"}]", false},
    {"r", "access_programs", "{}", false},
    {"r", "image", "{}", false},
    {"r", "include", "[\"reasoning.encrypted_content\"]", false},
    {"r", "top_logprobs", "2", false}, /* without include */
    {"h", "top_logprobs", "2", false}, /* without logprobs */
    {"ch", "stream_options", "{\"include_usage\":true}", false}, /* no stream */
    {"ch", "min_p", "0.1", false},
    {"ch", "repetition_penalty", "1.1", false},
    {"ch", "ignore_eos", "true", false},
};

/* What asks for nothing. */
static const char *const neutral[][2] = {
    {"h", "\"tools\":[],\"tool_choice\":\"none\",\"functions\":[],"
          "\"function_call\":\"auto\",\"response_format\":{\"type\":\"text\"},"
          "\"modalities\":[\"text\"],\"service_tier\":\"auto\","
          "\"reasoning_effort\":null,\"verbosity\":\"medium\""},
    {"c", "\"suffix\":null,\"best_of\":1,\"logit_bias\":{},\"stop\":[]"},
    {"r", "\"tools\":[],\"tool_choice\":\"auto\",\"background\":false,"
          "\"text\":{\"format\":{\"type\":\"text\"}},\"reasoning\":{},"
          "\"previous_response_id\":null,\"service_tier\":\"default\""},
    {"e", "\"dimensions\":null,\"encoding_format\":null,\"user\":null"},
};

static struct util_answer send_to(char kind, const char *more)
{
    static const struct {
        char kind;
        const char *path, *body;
    } endpoints[] = {{'c', "/v1/completions", TEXT},
                     {'h', "/v1/chat/completions", CHAT},
                     {'r', "/v1/responses", RESPONSE},
                     {'e', "/v1/embeddings", VECTOR}};
    size_t i = 0;
    struct util_answer a;
    char *body;

    while (endpoints[i].kind != kind)
        i++;
    body = xasprintf("{%s,%s}", endpoints[i].body, more);
    a = util_post(endpoints[i].path, body);
    free(body);
    return a;
}

static void test_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (const char *k = fields[i].kinds; *k; k++) {
            char *more =
                xasprintf("\"%s\":%s", fields[i].name, fields[i].value);
            struct util_answer a = send_to(*k, more);

            if (a.status != (fields[i].accepted ? 200 : 400))
                fail_msg("%c %s: %s", *k, more, a.text);
            if (fields[i].accepted)
                util_release(&a);
            else
                util_check_error(a, 400, fields[i].name);
            free(more);
        }
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        struct util_answer a = send_to(neutral[i][0][0], neutral[i][1]);

        if (a.status != 200)
            fail_msg("%s: %s", neutral[i][1], a.text);
        util_release(&a);
    }
}

/* A field has its type; and one of another endpoint is ignored. */
static void test_types(void **state)
{
    static const char *const wrong[][3] = {
        {"c", "\"user\":7", "user"},
        {"h", "\"store\":\"yes\"", "store"},
        {"h", "\"metadata\":[]", "metadata"},
        {"h", "\"frequency_penalty\":2.5", "frequency_penalty"},
        {"c", "\"presence_penalty\":\"1\"", "presence_penalty"},
        {"c", "\"logit_bias\":[]", "logit_bias"},
        {"c", "\"logit_bias\":{\"97\":101}", "logit_bias"},
        {"c", "\"logit_bias\":{\"97\":\"1\"}", "logit_bias"},
        {"c", "\"logit_bias\":{\"257\":1}", "logit_bias"},
        {"c", "\"logit_bias\":{\"097\":1}", "logit_bias"},
        {"c", "\"logit_bias\":{\"a\":1}", "logit_bias"},
        {"c", "\"stream\":true,\"stream_options\":7", "stream_options"},
        {"c", "\"stream\":true,\"stream_options\":{\"include_usage\":1}",
         "stream_options"},
        {"h",
         "\"stream\":true,\"stream_options\":"
         "{\"include_obfuscation\":true}",
         "stream_options"},
        {"e", "\"encoding_format\":\"x\"", "encoding_format"},
        {"r", "\"truncation\":\"middle\"", "truncation"},
        {"r", "\"include\":\"a\"", "include"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        util_check_error(send_to(wrong[i][0][0], wrong[i][1]), 400,
                         wrong[i][2]);
    util_check_ok(send_to('c', "\"tools\":[{}],\"unheard_of\":{\"a\":1}"));
}

static void test_document(void **state)
{
    struct buf made = BUF_INIT;
    char *kept;

    (void)state;
    api_fields_document(&made);
    kept = util_document("docs/OPENAI.md", made.data);
    assert_string_equal(kept, made.data);
    buf_release(&made);
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_types),
        cmocka_unit_test_setup_teardown(test_document, util_enter_temp,
                                        util_leave_temp),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}
