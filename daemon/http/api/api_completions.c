/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/completions and POST /v1/chat/completions, in OpenAI's shapes. This
 * file generates all choices into one answer; completion.h names the others.
 */
#include "config.h"

#include "daemon/http/completion/completion.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/completion/completion_logprobs.h"
#include "daemon/http/completion/completion_stream.h"

static int choice_logprobs(const struct completion *job,
                           const struct token_list *prompt,
                           const struct infer_completion *c, json_t **out,
                           struct err *err)
{
    struct completion_logprobs l;
    int rc = 0;

    completion_logprobs_init(&l, job);
    if (job->echo)
        rc = completion_logprobs_add_prompt(
            &l, prompt, 0, completion_logprobs_ended(job, c), err);
    for (size_t i = 0; rc == 0 && job->logprobs >= 0 && i < c->tokens.n; i++)
        completion_logprobs_add(
            &l,
            &(struct infer_token){
                c->tokens.items[i], c->logprobs[i],
                c->alternatives ? c->alternatives + i * (size_t)job->logprobs
                                : NULL});
    if (rc == 0)
        *out = completion_logprobs_take(&l, true);
    completion_logprobs_release(&l);
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
    if (job->kind == API_CHAT)
        json_object_set_new(o, "message",
                            json_pack("{s:s, s:o, s:n}", "role", "assistant",
                                      "content", completion_string(&text),
                                      "refusal"));
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
        job->cached_tokens += choice == 0 ? c.n_cached : 0;
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
    root = completion_head(job, job->kind == API_CHAT ? "chat.completion"
                                                      : "text_completion");
    json_object_set_new(root, "choices", choices);
    json_object_set_new(root, "usage", completion_usage(job));
    http_answer(rq, 200, root);
}

/* --- endpoints ---------------------------------------------------------- */

static void complete(struct http_request *rq, enum api_kind kind)
{
    struct completion *job = completion_create(rq, kind);

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
    complete(rq, API_COMPLETIONS);
}

void api_chat_completions(struct http_request *rq)
{
    complete(rq, API_CHAT);
}
