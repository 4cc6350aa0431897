/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat has no template, since no record that is learned has one. Its prompt
 * is the contents of its messages, joined by line ends. So a chat of one
 * message is exactly the `prompt` of an instruction pair. A response is a chat
 * whose first message is `instructions`.
 */
#include "config.h"

#include "daemon/http/completion/completion.h"

#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"
#include "daemon/http/completion/token_json.h"

#define MAX_PROMPTS 256
#define MAX_MESSAGES 1024

/* --- the length of a prompt --------------------------------------------- */

bool completion_prompt_truncate(struct http_request *rq, enum api_kind kind,
                                const struct infer *f, struct token_list *ids)
{
    const char *name = "truncate_prompt_tokens";
    const char *truncation = api_fields_string(rq, kind, "truncation");
    bool given = api_fields_value(rq, name) != NULL;
    int64_t context = infer_shape(f)->context, most;

    most = given ? api_fields_integer(rq, kind, name) : -1;
    if (most > context) {
        http_fail(rq, 400, "invalid_value", name,
                  "'%s' must not be larger than the context, %lld", name,
                  (long long)context);
        return false;
    }
    if (!given && !(truncation && strcmp(truncation, "auto") == 0))
        return true;
    if (most < 0)
        most = context;
    if (ids->n > (size_t)most) {
        memmove(ids->items, ids->items + ids->n - (size_t)most,
                (size_t)most * sizeof *ids->items);
        ids->n = (size_t)most;
    }
    return true;
}

/* A longer prompt would lose its beginning silently. With echo and logprobs a
 * prompt is only scored, in segments as a record is. */
static bool check_length(struct http_request *rq, const struct completion *job,
                         const char *field, const struct token_list *ids)
{
    bool scores =
        job->echo && job->logprobs >= 0 && job->sampling.max_tokens <= 1;
    int context = infer_shape(job->f)->context;

    if (ids->n <= (size_t)context || scores)
        return true;
    http_fail(rq, 400, "context_length_exceeded", field,
              "This model's maximum context length is %d tokens. However, your "
              "'%s' has %zu tokens. Shorten it, or set truncate_prompt_tokens",
              context, field, ids->n);
    return false;
}

/* Takes ids over as a prompt of the job. */
static bool add_ids(struct http_request *rq, struct completion *job,
                    const char *field, struct token_list *ids)
{
    job->prompts =
        xreallocarray(job->prompts, job->n_prompts + 1, sizeof *job->prompts);
    job->prompts[job->n_prompts++] = *ids;
    ids = &job->prompts[job->n_prompts - 1];
    return completion_prompt_truncate(rq, job->kind, job->f, ids) &&
           check_length(rq, job, field, ids);
}

static bool add_text(struct http_request *rq, struct completion *job,
                     const char *field, const char *text, size_t n)
{
    struct token_list ids = TOKEN_LIST_INIT;

    if (token_json_encode(rq, job->f, text, n, &ids))
        return add_ids(rq, job, field, &ids);
    token_list_release(&ids);
    return false;
}

/* --- prompts ------------------------------------------------------------ */

/* Adds a text or an array of ids. */
static bool add_prompt(struct http_request *rq, struct completion *job,
                       const char *name, const json_t *one)
{
    struct token_list ids = TOKEN_LIST_INIT;

    if (json_is_string(one))
        return add_text(rq, job, "prompt", json_string_value(one),
                        json_string_length(one));
    if (token_json_ids(rq, "prompt", name, job->f, one, &ids))
        return add_ids(rq, job, "prompt", &ids);
    token_list_release(&ids);
    return false;
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
        if (!add_prompt(rq, job, name, one))
            return false;
    }
    return true;
}

static bool read_prompt(struct http_request *rq, struct completion *job)
{
    const json_t *given = api_fields_value(rq, "prompt");
    const json_t *first = json_array_get(given, 0);

    if (!given) /* empty: the text begins a record */
        return add_text(rq, job, "prompt", "", 0);
    if (json_is_string(given) || json_is_number(first))
        return add_prompt(rq, job, "prompt", given);
    if (json_is_string(first) || json_is_array(first))
        return add_prompts(rq, job, given);
    return fail_prompt(rq);
}

/* --- messages ----------------------------------------------------------- */

/* A message that is read: list[i] of the request. */
struct message {
    struct http_request *rq;
    const char *list; /* "messages" or "input" */
    size_t i;
    const json_t *json;
    bool response; /* of /v1/responses */
};

/* Fails with the number of the message and the field, which may be "". */
static bool fail_message(const struct message *m, const char *code,
                         const char *field, const char *must)
{
    char name[64];

    snprintf(name, sizeof name, "%s[%zu]%s", m->list, m->i, field);
    http_fail(m->rq, 400, code, name, "'%s' %s", name, must);
    return false;
}

/* Appends a part of a message: {"type": "text", "text": T}, or an assistant's
 * {"type": "refusal", "refusal": T}. */
static bool add_part(const struct message *m, size_t at, const json_t *part,
                     struct buf *out)
{
    static const char *const types[][2] = {{"text", "text"},
                                           {"refusal", "refusal"},
                                           {"input_text", "text"},
                                           {"output_text", "text"}};
    const char *type = json_string_value(json_object_get(part, "type"));
    char field[40];

    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++) {
        const json_t *text = json_object_get(part, types[i][1]);

        if (strcmp(type, types[i][0]) != 0 || !json_is_string(text))
            continue;
        buf_add(out, json_string_value(text), json_string_length(text));
        return true;
    }
    snprintf(field, sizeof field, ".content[%zu]", at);
    return fail_message(m, "invalid_type", field,
                        m->response
                            ? "must be {\"type\": \"input_text\", \"text\": a "
                              "string}: this model reads text only"
                            : "must be {\"type\": \"text\", \"text\": a "
                              "string}: this model reads text only");
}

/* Fields of a message that would change the answer. */
static bool check_message(const struct message *m)
{
    static const char *const unsupported[] = {"name",          "tool_calls",
                                              "function_call", "audio",
                                              "refusal",       "tool_call_id"};
    static const char *const roles[] = {"system", "developer", "user",
                                        "assistant"};
    const char *role = json_string_value(json_object_get(m->json, "role"));
    const json_t *type = json_object_get(m->json, "type");
    bool known = false;

    if (!json_is_object(m->json))
        return fail_message(m, "invalid_type", "", "must be an object");
    if (m->response && type &&
        !(json_is_string(type) &&
          strcmp(json_string_value(type), "message") == 0))
        return fail_message(m, "unsupported_parameter", ".type",
                            "must be \"message\": this model reads text only");
    for (size_t k = 0; role && k < sizeof roles / sizeof *roles; k++)
        known |= strcmp(role, roles[k]) == 0;
    if (!known)
        return fail_message(m, "invalid_value", ".role",
                            "must be system, developer, user or assistant");
    for (size_t k = 0; k < sizeof unsupported / sizeof *unsupported; k++) {
        const json_t *value = json_object_get(m->json, unsupported[k]);
        char field[40];

        if (!value || json_is_null(value) ||
            (json_is_array(value) && json_array_size(value) == 0))
            continue;
        snprintf(field, sizeof field, ".%s", unsupported[k]);
        return fail_message(m, "unsupported_parameter", field,
                            "is not supported: the model reads the contents "
                            "of messages only");
    }
    return true;
}

/* Appends the text of a message. An assistant's may be absent. */
static bool add_message(const struct message *m, struct buf *out)
{
    const json_t *content = json_object_get(m->json, "content");
    const char *role = json_string_value(json_object_get(m->json, "role"));

    if (!check_message(m))
        return false;
    if (json_is_string(content)) {
        buf_add(out, json_string_value(content), json_string_length(content));
        return true;
    }
    if (json_is_array(content)) {
        for (size_t k = 0; k < json_array_size(content); k++)
            if (!add_part(m, k, json_array_get(content, k), out))
                return false;
        return true;
    }
    if ((!content || json_is_null(content)) && !m->response &&
        strcmp(role, "assistant") == 0)
        return true;
    return fail_message(m, "invalid_type", ".content",
                        "must be a string or an array of text parts; only an "
                        "assistant of a chat may omit it");
}

static bool add_messages(struct http_request *rq, const char *name,
                         bool response, struct buf *text)
{
    const json_t *list = json_object_get(rq->body, name);
    size_t n = json_array_size(list);

    if (n < 1 || n > MAX_MESSAGES) {
        http_fail(rq, 400, "invalid_type", name,
                  "'%s' must be %san array of 1 to %d messages", name,
                  response ? "a string or " : "", MAX_MESSAGES);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        struct message m = {rq, name, i, json_array_get(list, i), response};

        if (i)
            buf_addc(text, '\n');
        if (!add_message(&m, text))
            return false;
    }
    return true;
}

static bool read_chat(struct http_request *rq, struct completion *job)
{
    struct buf text = BUF_INIT;
    bool good =
        add_messages(rq, "messages", false, &text) &&
        add_text(rq, job, "messages", text.data ? text.data : "", text.len);

    buf_release(&text);
    return good;
}

static bool read_input(struct http_request *rq, struct completion *job)
{
    const json_t *input = json_object_get(rq->body, "input");
    const char *first = api_fields_string(rq, API_RESPONSES, "instructions");
    struct buf text = BUF_INIT;
    bool good = true;

    if (first)
        buf_addf(&text, "%s\n", first);
    if (json_is_string(input))
        buf_add(&text, json_string_value(input), json_string_length(input));
    else
        good = add_messages(rq, "input", true, &text);
    good = good &&
           add_text(rq, job, "input", text.data ? text.data : "", text.len);
    buf_release(&text);
    return good;
}

bool completion_prompt_read(struct http_request *rq, struct completion *job)
{
    switch (job->kind) {
    case API_CHAT:
        return read_chat(rq, job);
    case API_RESPONSES:
        return read_input(rq, job);
    default:
        return read_prompt(rq, job);
    }
}
