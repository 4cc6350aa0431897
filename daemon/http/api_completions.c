/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/completions and POST /v1/chat/completions, in OpenAI's shapes. This
 * file generates all choices into one answer; completion.h names the others.
 */
#include "config.h"

#include "daemon/http/completion.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/http/api_tokenizer.h"
#include "daemon/http/completion_stream.h"
#include "daemon/http/http_endpoints.h"

/* --- logprobs ----------------------------------------------------------- */

/* `logprobs` in the shape of /v1/completions: one element a token. */
struct logprobs {
    json_t *tokens, *token_logprobs, *top_logprobs, *text_offset;
    size_t offset; /* in characters of the text */
};

/* The logprobs of the likeliest tokens, and of the token itself. */
static json_t *top_json(const struct tokenizer *t, uint16_t id, float logprob,
                        const struct infer_alternative *best, size_t n)
{
    json_t *o = json_object();
    json_t *own = api_tokenizer_token(t, id);

    for (size_t i = 0; i < n; i++) {
        json_t *name = api_tokenizer_token(t, best[i].id);

        /* Two tokens may have the same text; the likelier one stays. */
        if (!json_object_getn(o, json_string_value(name),
                              json_string_length(name)))
            json_object_setn_new(o, json_string_value(name),
                                 json_string_length(name),
                                 json_value_real(best[i].logprob));
        json_decref(name);
    }
    if (!json_object_getn(o, json_string_value(own), json_string_length(own)))
        json_object_setn_new(o, json_string_value(own), json_string_length(own),
                             json_value_real(logprob));
    json_decref(own);
    return o;
}

/* Counts the bytes that begin a character in UTF-8. */
static size_t count_characters(const struct tokenizer *t, uint16_t id)
{
    size_t n_bytes, n = 0;
    const char *bytes = tokenizer_bytes(t, id, &n_bytes);

    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

static void logprobs_add(struct logprobs *l, const struct tokenizer *t,
                         const uint16_t *ids, size_t n, const float *logprobs,
                         const struct infer_alternative *best, size_t n_best)
{
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(l->tokens, api_tokenizer_token(t, ids[i]));
        json_array_append_new(l->token_logprobs, json_value_real(logprobs[i]));
        json_array_append_new(l->top_logprobs,
                              top_json(t, ids[i], logprobs[i],
                                       n_best ? best + i * n_best : NULL,
                                       n_best));
        json_array_append_new(l->text_offset,
                              json_integer((json_int_t)l->offset));
        l->offset += count_characters(t, ids[i]);
    }
}

/*
 * Adds the logprobs of the prompt.
 *   ended  the completion is only the end-of-text token: adds its logprob, too.
 *          lm-evaluation-harness asks for one token to score a prompt and drops
 *          the last logprob, so there must be one more than the prompt has
 */
static int echo_logprobs(const struct completion *job,
                         const struct token_list *prompt, bool ended,
                         struct logprobs *l, struct err *err)
{
    const struct tokenizer *t = infer_tokenizer(job->f);
    size_t n = prompt->n + ended, n_best = (size_t)job->logprobs;
    uint16_t *ids = xcalloc(n + 1, sizeof *ids);
    float *logprobs = xcalloc(n + 1, sizeof *logprobs);
    struct infer_alternative *best =
        n_best ? xcalloc((n + 1) * n_best, sizeof *best) : NULL;
    struct cancel cancel = http_cancel_callback(job->cancel);
    int rc;

    if (prompt->n)
        memcpy(ids, prompt->items, prompt->n * sizeof *ids);
    if (ended)
        ids[prompt->n] = tokenizer_end_of_text(t);
    rc = infer_prompt_logprobs(job->f, ids, n, (int)n_best, &cancel, logprobs,
                               best, err);
    if (rc == 0)
        logprobs_add(l, t, ids, n, logprobs, best, n_best);
    free(ids);
    free(logprobs);
    free(best);
    return rc;
}

static int choice_logprobs(const struct completion *job,
                           const struct token_list *prompt,
                           const struct infer_completion *c, json_t **out,
                           struct err *err)
{
    bool ended = c->stopped && c->tokens.n == 0 && job->sampling.n_stop == 0;
    struct logprobs l;
    int rc = 0;

    if (job->logprobs < 0) {
        *out = json_null();
        return 0;
    }
    if (job->chat) {
        *out = json_pack("{s:o, s:n}", "content",
                         completion_chat_logprobs(job, c, 0), "refusal");
        return 0;
    }
    l = (struct logprobs){json_array(), json_array(), json_array(),
                          json_array(), 0};
    if (job->echo)
        rc = echo_logprobs(job, prompt, ended, &l, err);
    logprobs_add(&l, infer_tokenizer(job->f), c->tokens.items, c->tokens.n,
                 c->logprobs, c->alternatives, (size_t)job->logprobs);
    *out = json_pack("{s:o, s:o, s:o, s:o}", "tokens", l.tokens,
                     "token_logprobs", l.token_logprobs, "top_logprobs",
                     l.top_logprobs, "text_offset", l.text_offset);
    return rc;
}

/* --- one answer --------------------------------------------------------- */

/* Takes logprobs over. */
static json_t *choice_json(const struct completion *job,
                           const struct token_list *prompt,
                           const struct infer_completion *c, int64_t index,
                           json_t *logprobs)
{
    struct buf text = BUF_INIT;
    json_t *o = json_object();

    if (job->echo)
        completion_text(job, prompt, &text);
    buf_add(&text, c->text.data ? c->text.data : "", c->text.len);
    json_object_set_new(o, "index", json_integer(index));
    if (job->chat)
        json_object_set_new(o, "message",
                            json_pack("{s:s, s:o}", "role", "assistant",
                                      "content", completion_string(&text)));
    else
        json_object_set_new(o, "text", completion_string(&text));
    json_object_set_new(o, "logprobs", logprobs);
    json_object_set_new(o, "finish_reason",
                        json_string(c->stopped ? "stop" : "length"));
    buf_release(&text);
    return o;
}

static int add_choice(struct completion *job, size_t prompt, int64_t choice,
                      json_t *choices, struct err *err)
{
    const struct token_list *ids = &job->prompts[prompt];
    struct infer_sampling s = completion_sampling(job, choice);
    struct cancel cancel = http_cancel_callback(job->cancel);
    struct infer_listener listener = {NULL, NULL, &cancel};
    struct infer_completion c;
    json_t *logprobs = NULL;
    int rc = infer_complete(job->f, ids->items, ids->n, &s, &listener, &c, err);

    if (rc)
        return rc;
    rc = choice_logprobs(job, ids, &c, &logprobs, err);
    if (rc == 0) {
        job->completion_tokens += c.tokens.n;
        json_array_append_new(
            choices, choice_json(job, ids, &c,
                                 (int64_t)prompt * job->n + choice, logprobs));
        logprobs = NULL;
    }
    json_decref(logprobs);
    infer_completion_release(&c);
    return rc;
}

static void answer(struct http_request *rq, struct completion *job)
{
    json_t *choices = json_array(), *root;
    struct err err = ERR_INIT;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < job->n_prompts; i++) {
        job->prompt_tokens += job->prompts[i].n;
        for (int64_t c = 0; rc == 0 && c < job->n; c++)
            rc = add_choice(job, i, c, choices, &err);
    }
    if (rc) {
        json_decref(choices);
        http_fail_err(rq, &err);
        return;
    }
    root =
        completion_head(job, job->chat ? "chat.completion" : "text_completion");
    json_object_set_new(root, "choices", choices);
    json_object_set_new(root, "usage", completion_usage(job));
    http_answer(rq, 200, root);
}

/* --- endpoints ---------------------------------------------------------- */

static void complete(struct http_request *rq, bool chat)
{
    struct completion *job = completion_create(rq, chat);

    if (!job)
        return;
    if (job->stream) {
        job->own_cancel = rq->cancel;
        job->cancel = &job->own_cancel;
        rq->reply.status = 200;
        rq->reply.stream =
            http_stream_create(completion_stream_write, job, completion_free);
        return;
    }
    answer(rq, job);
    completion_free(job);
}

void api_completions(struct http_request *rq)
{
    complete(rq, false);
}

void api_chat_completions(struct http_request *rq)
{
    complete(rq, true);
}
