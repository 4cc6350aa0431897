/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a request for completions: settings, prompts, and that all of it
 * together is not too much.
 *
 * A chat has no template, since nothing that is learned has one: its messages'
 * contents, joined by line ends, are the prompt. One message alone is thus
 * exactly the `prompt` of an instruction pair.
 */
#include "config.h"

#include "daemon/http/completion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/rng.h"
#include "base/timing.h"
#include "base/xalloc.h"

#define MOST_PROMPTS 256
#define MOST_N 16
#define MOST_CHOICES 256 /* prompts times n */
#define MOST_MESSAGES 1024
#define MOST_TOKENS 16384              /* max_tokens */
#define MOST_TOKENS_TOGETHER (1 << 18) /* minutes, not hours */
#define MOST_LOGPROBS 20
#define MOST_ALTERNATIVES (1 << 18) /* of a whole answer */
#define COMPLETION_TOKENS 16        /* OpenAI's default */
#define CHAT_TOKENS 256
#define SEED_BITS 0x1fffffffffffff /* what every JSON reader can hold */

/* --- reading: settings -------------------------------------------------- */

static bool read_stops(struct http_request *rq, struct completion_job *j)
{
    json_t *given = json_object_get(rq->body, "stop"), *list = NULL;

    if (!given || json_is_null(given) ||
        (json_is_array(given) && json_array_size(given) == 0))
        return true;
    if (!http_get_strings(rq, "stop", COMPLETION_MOST_STOPS, &list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *s = json_array_get(list, i);

        if (json_string_length(s) == 0 ||
            strlen(json_string_value(s)) != json_string_length(s)) {
            http_fail(rq, 400, "invalid_value", "stop",
                      "'stop' must not be empty or hold a NUL");
            json_decref(list);
            return false;
        }
        j->stops[i] = xstrdup(json_string_value(s));
        j->sampling.n_stop = i + 1;
    }
    json_decref(list);
    return true;
}

static bool read_sampling(struct http_request *rq, struct completion_job *j)
{
    int64_t max_tokens = j->chat ? CHAT_TOKENS : COMPLETION_TOKENS;
    int64_t top_k = 0;
    double temperature = 1, top_p = 1;

    if (!http_get_integer(rq, "max_tokens", 0, MOST_TOKENS, &max_tokens) ||
        (j->chat && !http_get_integer(rq, "max_completion_tokens", 0,
                                      MOST_TOKENS, &max_tokens)) ||
        !http_get_integer(rq, "top_k", -1, MODEL_MAX_VOCAB, &top_k) ||
        !http_get_number(rq, "temperature", 0, 2, &temperature) ||
        !http_get_number(rq, "top_p", 0, 1, &top_p) || !read_stops(rq, j))
        return false;
    j->sampling.max_tokens = (int)max_tokens;
    j->sampling.top_k = top_k > 0 ? (int)top_k : 0; /* -1: off, as in vLLM */
    j->sampling.temperature = (float)temperature;
    j->sampling.top_p = (float)top_p;
    return true;
}

static bool draw_seed(struct http_request *rq, struct completion_job *j)
{
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        http_fail(rq, 503, "unavailable", NULL, "no random bytes to be had");
        return false;
    }
    snprintf(j->id, sizeof j->id, "%s-%016llx", j->chat ? "chatcmpl" : "cmpl",
             (unsigned long long)random);
    j->seed = (int64_t)(rng_u64(random, RNG_SAMPLE, 0, 0) & SEED_BITS);
    return http_get_integer(rq, "seed", INT64_MIN, INT64_MAX, &j->seed);
}

static bool read_stream_options(struct http_request *rq,
                                struct completion_job *j)
{
    const json_t *o = json_object_get(rq->body, "stream_options");

    if (!http_get_bool(rq, "stream", &j->stream))
        return false;
    j->want_usage = json_is_true(json_object_get(o, "include_usage"));
    return true;
}

static bool read_chat_logprobs(struct http_request *rq,
                               struct completion_job *j)
{
    int64_t top = -1;
    bool wanted = false;

    if (!http_get_bool(rq, "logprobs", &wanted) ||
        !http_get_integer(rq, "top_logprobs", 0, MOST_LOGPROBS, &top))
        return false;
    if (top > 0 && !wanted) {
        http_fail(rq, 400, "invalid_value", "top_logprobs",
                  "'top_logprobs' needs 'logprobs': true");
        return false;
    }
    if (wanted)
        j->logprobs = top > 0 ? top : 0;
    return true;
}

/* Only completions have these; in a chat `logprobs` is another thing. */
static bool read_echo(struct http_request *rq, struct completion_job *j)
{
    if (j->chat)
        return read_chat_logprobs(rq, j);
    if (!http_get_bool(rq, "echo", &j->echo) ||
        !http_get_integer(rq, "logprobs", 0, MOST_LOGPROBS, &j->logprobs))
        return false;
    if (j->stream && j->logprobs >= 0) {
        http_fail(rq, 400, "invalid_value", "logprobs",
                  "'logprobs' cannot be streamed: ask without 'stream'");
        return false;
    }
    return true;
}

static bool read_settings(struct http_request *rq, struct completion_job *j)
{
    infer_sampling_default(&j->sampling);
    j->n = 1;
    j->logprobs = -1;
    if (!http_get_integer(rq, "n", 1, MOST_N, &j->n) || !draw_seed(rq, j) ||
        !read_stream_options(rq, j) || !read_echo(rq, j) ||
        !read_sampling(rq, j))
        return false;
    j->sampling.n_logprobs = (int)j->logprobs;
    return true;
}

/* --- reading: prompts --------------------------------------------------- */

static struct token_list *add_prompt(struct completion_job *j)
{
    j->prompts =
        xreallocarray(j->prompts, j->n_prompts + 1, sizeof *j->prompts);
    j->prompts[j->n_prompts] = (struct token_list)TOKEN_LIST_INIT;
    return &j->prompts[j->n_prompts++];
}

static bool add_text(struct http_request *rq, struct completion_job *j,
                     const json_t *text)
{
    return api_text_encode(rq, j->f, json_string_value(text),
                           json_string_length(text), add_prompt(j));
}

static bool wrong_prompt(struct http_request *rq)
{
    http_fail(rq, 400, "invalid_type", "prompt",
              "'prompt' must be a string, an array of 1 to %d strings, an "
              "array of token ids, or an array of such arrays",
              MOST_PROMPTS);
    return false;
}

/* An array of strings or of arrays of ids. */
static bool add_prompts(struct http_request *rq, struct completion_job *j,
                        const json_t *list)
{
    bool texts = json_is_string(json_array_get(list, 0));

    if (json_array_size(list) > MOST_PROMPTS)
        return wrong_prompt(rq);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        char name[32];

        snprintf(name, sizeof name, "prompt[%zu]", i);
        if (texts ? !json_is_string(one) : !json_is_array(one)) {
            http_fail(rq, 400, "invalid_type", "prompt",
                      "'%s' must be %s, as 'prompt[0]' is", name,
                      texts ? "a string" : "an array of token ids");
            return false;
        }
        if (texts ? !add_text(rq, j, one)
                  : !api_text_ids(rq, "prompt", name, j->f, one, add_prompt(j)))
            return false;
    }
    return true;
}

static bool read_prompt(struct http_request *rq, struct completion_job *j)
{
    const json_t *given = json_object_get(rq->body, "prompt");
    const json_t *first = json_array_get(given, 0);

    if (!given || json_is_null(given))
        add_prompt(j); /* the beginning of a record */
    else if (json_is_string(given))
        return add_text(rq, j, given);
    else if (json_is_integer(first))
        return api_text_ids(rq, "prompt", "prompt", j->f, given, add_prompt(j));
    else if (json_is_string(first) || json_is_array(first))
        return add_prompts(rq, j, given);
    else
        return wrong_prompt(rq);
    return true;
}

/* --- reading: messages -------------------------------------------------- */

/* Fails the request, naming the message and the field; `field` may be "". */
static bool wrong_message(struct http_request *rq, size_t i, const char *field,
                          const char *must)
{
    char name[64];

    snprintf(name, sizeof name, "messages[%zu]%s", i, field);
    http_fail(rq, 400, "invalid_type", name, "'%s' must be %s", name, must);
    return false;
}

/* A part of a message: {"type": "text", "text": T}, or an assistant's
 * {"type": "refusal", "refusal": T}. */
static bool add_part(struct http_request *rq, size_t i, size_t at,
                     const json_t *part, struct buf *out)
{
    const json_t *text = json_object_get(part, "text");
    char field[40];

    if (!text)
        text = json_object_get(part, "refusal");
    if (json_is_string(text)) {
        buf_add(out, json_string_value(text), json_string_length(text));
        return true;
    }
    snprintf(field, sizeof field, ".content[%zu]", at);
    return wrong_message(rq, i, field,
                         "{\"type\": \"text\", \"text\": a string}: this "
                         "model reads text only");
}

/* Appends the text of a message. The message of an assistant that called a tool
 * has none. */
static bool add_message(struct http_request *rq, size_t i,
                        const json_t *message, struct buf *out)
{
    const json_t *content = json_object_get(message, "content");
    const char *role = json_string_value(json_object_get(message, "role"));

    if (!json_is_object(message))
        return wrong_message(rq, i, "", "an object");
    if (json_is_string(content)) {
        buf_add(out, json_string_value(content), json_string_length(content));
        return true;
    }
    if (json_is_array(content)) {
        for (size_t k = 0; k < json_array_size(content); k++)
            if (!add_part(rq, i, k, json_array_get(content, k), out))
                return false;
        return true;
    }
    if (json_is_null(content) ||
        (!content && role && strcmp(role, "assistant") == 0))
        return true;
    return wrong_message(rq, i, ".content",
                         "a string or an array of {\"type\": \"text\", "
                         "\"text\"}; only an assistant's may be left out");
}

static bool read_messages(struct http_request *rq, struct completion_job *j)
{
    const json_t *list = json_object_get(rq->body, "messages");
    size_t n = json_array_size(list);
    struct buf text = BUF_INIT;
    bool good = true;

    if (n < 1 || n > MOST_MESSAGES) {
        http_fail(rq, 400, list ? "invalid_type" : "missing_parameter",
                  "messages", "'messages' must be an array of 1 to %d messages",
                  MOST_MESSAGES);
        return false;
    }
    for (size_t i = 0; good && i < n; i++) {
        if (i)
            buf_addc(&text, '\n');
        good = add_message(rq, i, json_array_get(list, i), &text);
    }
    if (good)
        good = api_text_encode(rq, j->f, text.data ? text.data : "", text.len,
                               add_prompt(j));
    buf_release(&text);
    return good;
}

/* --- reading: the whole ------------------------------------------------- */

static bool check_size(struct http_request *rq, const struct completion_job *j)
{
    size_t n_ids = 0;

    if (j->n_prompts * (size_t)j->n > MOST_CHOICES) {
        http_fail(rq, 400, "limit_exceeded", "n",
                  "%zu prompts times 'n' %lld are more than %d choices",
                  j->n_prompts, (long long)j->n, MOST_CHOICES);
        return false;
    }
    if (j->n_prompts * (size_t)j->n * (size_t)j->sampling.max_tokens >
        MOST_TOKENS_TOGETHER) {
        http_fail(rq, 400, "limit_exceeded", "max_tokens",
                  "'max_tokens' of all choices together are more than %d",
                  MOST_TOKENS_TOGETHER);
        return false;
    }
    for (size_t i = 0; i < j->n_prompts; i++)
        n_ids +=
            (j->echo ? j->prompts[i].n : 0) + (size_t)j->sampling.max_tokens;
    if (j->logprobs >= 0 &&
        n_ids * (size_t)(j->logprobs + 1) * (size_t)j->n > MOST_ALTERNATIVES) {
        http_fail(rq, 400, "limit_exceeded", "logprobs",
                  "'logprobs' of so many tokens: send fewer prompts at once, "
                  "or ask for fewer");
        return false;
    }
    return true;
}

struct completion_job *completion_read(struct http_request *rq, bool chat)
{
    struct completion_job *j = xcalloc(1, sizeof *j);

    j->cancel = &rq->cancel;
    j->serving = rq->context->serving;
    j->chat = chat;
    j->created = timing_wall_ms() / 1000;
    if (!read_settings(rq, j))
        goto failed;
    j->f = http_get_model(rq, &j->version);
    if (!j->f || !http_need_text_model(rq, j->f))
        goto failed;
    snprintf(j->model, sizeof j->model, "mneme@%lld", (long long)j->version);
    if (!(chat ? read_messages(rq, j) : read_prompt(rq, j)) ||
        !check_size(rq, j))
        goto failed;
    return j;
failed:
    completion_free(j);
    return NULL;
}
