/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is read in three parts: its settings, its prompts, and a check that
 * all of it together is not too much work.
 *
 * A chat has no template, since no record that is learned has one. Its prompt
 * is the contents of its messages, joined by line ends. So a chat of one
 * message is exactly the `prompt` of an instruction pair.
 */
#include "config.h"

#include "daemon/http/completion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/json_value.h"
#include "base/rng.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/http/api_tokenizer.h"
#include "daemon/http/api_versions.h"

#define MAX_PROMPTS 256
#define MAX_N 16
#define MAX_CHOICES 256 /* prompts times n */
#define MAX_MESSAGES 1024
#define MAX_TOKENS 16384         /* max_tokens */
#define MAX_ALL_TOKENS (1 << 18) /* of all choices: minutes, not hours */
#define MAX_LOGPROBS 20
#define MAX_ALTERNATIVES (1 << 18) /* of an answer */
#define COMPLETION_TOKENS 16       /* OpenAI's default */
#define CHAT_TOKENS 256
#define SEED_BITS 0x1fffffffffffff /* 53 bits fit a JSON number */

/* --- settings ----------------------------------------------------------- */

static bool read_stops(struct http_request *rq, struct completion *job)
{
    json_t *given = json_object_get(rq->body, "stop"), *list = NULL;

    if (!given || json_is_null(given) ||
        (json_is_array(given) && json_array_size(given) == 0))
        return true;
    if (!http_get_strings(rq, "stop", COMPLETION_MAX_STOPS, &list))
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
        job->stops[i] = xstrdup(json_string_value(s));
        job->sampling.n_stop = i + 1;
    }
    json_decref(list);
    return true;
}

static bool read_sampling(struct http_request *rq, struct completion *job)
{
    int64_t max_tokens = job->chat ? CHAT_TOKENS : COMPLETION_TOKENS;
    int64_t top_k = 0;
    double temperature = 1, top_p = 1;

    if (!http_get_integer(rq, "max_tokens", 0, MAX_TOKENS, &max_tokens) ||
        (job->chat && !http_get_integer(rq, "max_completion_tokens", 0,
                                        MAX_TOKENS, &max_tokens)) ||
        !http_get_integer(rq, "top_k", -1, MODEL_MAX_VOCAB, &top_k) ||
        !http_get_number(rq, "temperature", 0, 2, &temperature) ||
        !http_get_number(rq, "top_p", 0, 1, &top_p) || !read_stops(rq, job))
        return false;
    job->sampling.max_tokens = (int)max_tokens;
    job->sampling.top_k = top_k > 0 ? (int)top_k : 0; /* -1: off, as in vLLM */
    job->sampling.temperature = (float)temperature;
    job->sampling.top_p = (float)top_p;
    return true;
}

static bool read_seed(struct http_request *rq, struct completion *job)
{
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        http_fail(rq, 503, "unavailable", NULL,
                  "the system has no random bytes");
        return false;
    }
    snprintf(job->id, sizeof job->id, "%s-%016llx",
             job->chat ? "chatcmpl" : "cmpl", (unsigned long long)random);
    job->seed = (int64_t)(rng_u64(random, RNG_SAMPLE, 0, 0) & SEED_BITS);
    return http_get_integer(rq, "seed", INT64_MIN, INT64_MAX, &job->seed);
}

static bool read_chat_logprobs(struct http_request *rq, struct completion *job)
{
    int64_t top = -1;
    bool wanted = false;

    if (!http_get_bool(rq, "logprobs", &wanted) ||
        !http_get_integer(rq, "top_logprobs", 0, MAX_LOGPROBS, &top))
        return false;
    if (top > 0 && !wanted) {
        http_fail(rq, 400, "invalid_value", "top_logprobs",
                  "'top_logprobs' needs 'logprobs': true");
        return false;
    }
    if (wanted)
        job->logprobs = top > 0 ? top : 0;
    return true;
}

/* In a chat `logprobs` is a bool, and there is no `echo`. */
static bool read_logprobs(struct http_request *rq, struct completion *job)
{
    if (job->chat)
        return read_chat_logprobs(rq, job);
    if (!http_get_bool(rq, "echo", &job->echo) ||
        !http_get_integer(rq, "logprobs", 0, MAX_LOGPROBS, &job->logprobs))
        return false;
    if (job->stream && job->logprobs >= 0) {
        http_fail(rq, 400, "invalid_value", "logprobs",
                  "'logprobs' cannot be streamed: omit 'stream'");
        return false;
    }
    return true;
}

/* A chat that needs tools or JSON must not get plain text without an error. */
static bool check_chat(struct http_request *rq)
{
    const json_t *tools = json_object_get(rq->body, "tools");
    const json_t *format = json_object_get(rq->body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    const char *name = NULL;

    if (tools && !json_is_null(tools) &&
        !(json_is_array(tools) && json_array_size(tools) == 0))
        name = "tools";
    else if (format && !json_is_null(format) &&
             !(type && strcmp(type, "text") == 0))
        name = "response_format";
    if (name)
        http_fail(rq, 400, "unsupported_parameter", name,
                  "'%s' is not supported: this model writes plain text", name);
    return !name;
}

static bool read_settings(struct http_request *rq, struct completion *job)
{
    const json_t *options = json_object_get(rq->body, "stream_options");

    infer_sampling_default(&job->sampling);
    job->want_usage = json_is_true(json_object_get(options, "include_usage"));
    job->n = 1;
    job->logprobs = -1;
    if ((job->chat && !check_chat(rq)) ||
        !http_get_integer(rq, "n", 1, MAX_N, &job->n) || !read_seed(rq, job) ||
        !http_get_bool(rq, "stream", &job->stream) || !read_logprobs(rq, job) ||
        !read_sampling(rq, job))
        return false;
    job->sampling.n_logprobs = (int)job->logprobs;
    return true;
}

/* --- prompts ------------------------------------------------------------ */

static struct token_list *add_prompt(struct completion *job)
{
    job->prompts =
        xreallocarray(job->prompts, job->n_prompts + 1, sizeof *job->prompts);
    job->prompts[job->n_prompts] = (struct token_list)TOKEN_LIST_INIT;
    return &job->prompts[job->n_prompts++];
}

static bool add_text(struct http_request *rq, struct completion *job,
                     const json_t *text)
{
    return api_tokenizer_encode(rq, job->f, json_string_value(text),
                                json_string_length(text), add_prompt(job));
}

static bool fail_prompt(struct http_request *rq)
{
    http_fail(rq, 400, "invalid_type", "prompt",
              "'prompt' must be a string, an array of 1 to %d strings, an "
              "array of token ids, or an array of such arrays",
              MAX_PROMPTS);
    return false;
}

static bool add_prompts(struct http_request *rq, struct completion *job,
                        const json_t *list)
{
    bool texts = json_is_string(json_array_get(list, 0));

    if (json_array_size(list) > MAX_PROMPTS)
        return fail_prompt(rq);
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
        if (texts ? !add_text(rq, job, one)
                  : !api_tokenizer_ids(rq, "prompt", name, job->f, one,
                                       add_prompt(job)))
            return false;
    }
    return true;
}

static bool read_prompt(struct http_request *rq, struct completion *job)
{
    const json_t *given = json_object_get(rq->body, "prompt");
    const json_t *first = json_array_get(given, 0);

    if (!given || json_is_null(given))
        add_prompt(job); /* empty: the text begins a record */
    else if (json_is_string(given))
        return add_text(rq, job, given);
    else if (json_is_integer(first))
        return api_tokenizer_ids(rq, "prompt", "prompt", job->f, given,
                                 add_prompt(job));
    else if (json_is_string(first) || json_is_array(first))
        return add_prompts(rq, job, given);
    else
        return fail_prompt(rq);
    return true;
}

/* --- messages ----------------------------------------------------------- */

/* Fails with the number of the message and the field, which may be "". */
static bool fail_message(struct http_request *rq, size_t i, const char *field,
                         const char *must)
{
    char name[64];

    snprintf(name, sizeof name, "messages[%zu]%s", i, field);
    http_fail(rq, 400, "invalid_type", name, "'%s' must be %s", name, must);
    return false;
}

/* Appends a part of a message: {"type": "text", "text": T}, or an assistant's
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
    return fail_message(rq, i, field,
                        "{\"type\": \"text\", \"text\": a string}: this "
                        "model reads text only");
}

/* Appends the text of a message. An assistant's message that calls a tool has
 * no text. */
static bool add_message(struct http_request *rq, size_t i,
                        const json_t *message, struct buf *out)
{
    const json_t *content = json_object_get(message, "content");
    const char *role = json_string_value(json_object_get(message, "role"));

    if (!json_is_object(message))
        return fail_message(rq, i, "", "an object");
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
    return fail_message(rq, i, ".content",
                        "a string or an array of {\"type\": \"text\", "
                        "\"text\"}; only an assistant may omit it");
}

static bool read_messages(struct http_request *rq, struct completion *job)
{
    const json_t *list = json_object_get(rq->body, "messages");
    size_t n = json_array_size(list);
    struct buf text = BUF_INIT;
    bool good = true;

    if (n < 1 || n > MAX_MESSAGES) {
        http_fail(rq, 400, list ? "invalid_type" : "missing_parameter",
                  "messages", "'messages' must be an array of 1 to %d messages",
                  MAX_MESSAGES);
        return false;
    }
    for (size_t i = 0; good && i < n; i++) {
        if (i)
            buf_addc(&text, '\n');
        good = add_message(rq, i, json_array_get(list, i), &text);
    }
    if (good)
        good = api_tokenizer_encode(rq, job->f, text.data ? text.data : "",
                                    text.len, add_prompt(job));
    buf_release(&text);
    return good;
}

/* --- the whole request -------------------------------------------------- */

static bool check_size(struct http_request *rq, const struct completion *job)
{
    size_t n_ids = 0;

    if (job->n_prompts * (size_t)job->n > MAX_CHOICES) {
        http_fail(rq, 400, "limit_exceeded", "n",
                  "%zu prompts times 'n' %lld are more than %d choices",
                  job->n_prompts, (long long)job->n, MAX_CHOICES);
        return false;
    }
    if (job->n_prompts * (size_t)job->n * (size_t)job->sampling.max_tokens >
        MAX_ALL_TOKENS) {
        http_fail(rq, 400, "limit_exceeded", "max_tokens",
                  "'max_tokens' of all choices add up to more than %d",
                  MAX_ALL_TOKENS);
        return false;
    }
    for (size_t i = 0; i < job->n_prompts; i++)
        n_ids += (job->echo ? job->prompts[i].n : 0) +
                 (size_t)job->sampling.max_tokens;
    if (job->logprobs >= 0 &&
        n_ids * (size_t)(job->logprobs + 1) * (size_t)job->n >
            MAX_ALTERNATIVES) {
        http_fail(rq, 400, "limit_exceeded", "logprobs",
                  "'logprobs' of so many tokens are too many: send fewer "
                  "prompts in one request, or lower 'logprobs'");
        return false;
    }
    return true;
}

struct completion *completion_create(struct http_request *rq, bool chat)
{
    struct completion *job = xcalloc(1, sizeof *job);

    job->cancel = &rq->cancel;
    job->serving = rq->context->serving;
    job->chat = chat;
    job->created = timing_wall_ms() / 1000;
    if (!read_settings(rq, job))
        goto failed;
    job->f = api_versions_get_text(rq, &job->version);
    if (!job->f)
        goto failed;
    snprintf(job->model, sizeof job->model, "mneme@%lld",
             (long long)job->version);
    if (!(chat ? read_messages(rq, job) : read_prompt(rq, job)) ||
        !check_size(rq, job))
        goto failed;
    return job;
failed:
    completion_free(job);
    return NULL;
}

void completion_free(void *arg)
{
    struct completion *job = arg;

    if (!job)
        return;
    for (size_t i = 0; i < job->n_prompts; i++)
        token_list_release(&job->prompts[i]);
    free(job->prompts);
    for (size_t i = 0; i < COMPLETION_MAX_STOPS; i++)
        free(job->stops[i]);
    if (job->f)
        serving_put(job->serving, job->f);
    free(job);
}

struct infer_sampling completion_sampling(const struct completion *job,
                                          int64_t choice)
{
    struct infer_sampling s = job->sampling;

    s.stop = (const char *const *)job->stops;
    s.seed = (uint64_t)job->seed;
    if (choice)
        s.seed = rng_u64(s.seed, RNG_SAMPLE, 1, (uint64_t)choice);
    return s;
}

void completion_text(const struct completion *job, const struct token_list *ids,
                     struct buf *out)
{
    struct buf raw = BUF_INIT;

    tokenizer_decode(infer_tokenizer(job->f), ids->items, ids->n, &raw);
    utf8_repair(raw.data ? raw.data : "", raw.len, out);
    buf_release(&raw);
}

/* --- logprobs of a chat ------------------------------------------------- */

static json_t *token_json(const struct tokenizer *t, uint16_t id, float logprob)
{
    json_t *o = json_object(), *list = json_array();
    size_t n;
    const char *bytes = tokenizer_bytes(t, id, &n);

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    json_object_set_new(o, "token", api_tokenizer_token(t, id));
    json_object_set_new(o, "logprob", json_value_real(logprob));
    json_object_set_new(o, "bytes", list);
    return o;
}

json_t *completion_logprob(const struct completion *job,
                           const struct infer_token *token, size_t n_best)
{
    const struct tokenizer *t = infer_tokenizer(job->f);
    json_t *o = token_json(t, token->id, token->logprob);
    json_t *list = json_array();

    for (size_t i = 0; i < n_best; i++)
        json_array_append_new(
            list, token_json(t, token->best[i].id, token->best[i].logprob));
    json_object_set_new(o, "top_logprobs", list);
    return o;
}

json_t *completion_chat_logprobs(const struct completion *job,
                                 const struct infer_completion *c, size_t i)
{
    size_t n_best = (size_t)job->logprobs;
    json_t *list = json_array();

    for (; i < c->tokens.n; i++) {
        struct infer_token token = {c->tokens.items[i], c->logprobs[i],
                                    n_best ? c->alternatives + i * n_best
                                           : NULL};

        json_array_append_new(list, completion_logprob(job, &token, n_best));
    }
    return list;
}

/* --- answers ------------------------------------------------------------ */

json_t *completion_usage(const struct completion *job)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens",
                     (json_int_t)job->prompt_tokens, "completion_tokens",
                     (json_int_t)job->completion_tokens, "total_tokens",
                     (json_int_t)(job->prompt_tokens + job->completion_tokens));
}

json_t *completion_head(const struct completion *job, const char *object)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I}", "id", job->id, "object",
                     object, "created", (json_int_t)job->created, "model",
                     job->model, "version", (json_int_t)job->version, "seed",
                     (json_int_t)job->seed);
}

json_t *completion_string(const struct buf *b)
{
    return json_stringn(b->data ? b->data : "", b->len);
}
