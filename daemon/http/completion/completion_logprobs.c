/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a stream, a token comes before it is known whether a stop string will
 * remove its text. So the logprobs of a token are kept until its text is sent.
 * At the end, the logprobs that were not sent are made from the final tokens.
 */
#include "config.h"

#include "daemon/http/completion/completion_logprobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "daemon/http/completion/token_json.h"

static void clear(struct completion_logprobs *l)
{
    json_decref(l->content);
    json_decref(l->tokens);
    json_decref(l->token_logprobs);
    json_decref(l->top_logprobs);
    json_decref(l->text_offset);
    l->content = json_array();
    l->tokens = json_array();
    l->token_logprobs = json_array();
    l->top_logprobs = json_array();
    l->text_offset = json_array();
    l->n = 0;
}

void completion_logprobs_init(struct completion_logprobs *l,
                              const struct completion *job)
{
    *l = (struct completion_logprobs){.job = job};
    clear(l);
}

void completion_logprobs_release(struct completion_logprobs *l)
{
    json_decref(l->content);
    json_decref(l->tokens);
    json_decref(l->token_logprobs);
    json_decref(l->top_logprobs);
    json_decref(l->text_offset);
}

/* --- one token ---------------------------------------------------------- */

/* The logprobs of the likeliest tokens, and of the token itself. */
static json_t *top_json(const struct tokenizer *t,
                        const struct infer_token *token, size_t n)
{
    json_t *o = json_object();
    json_t *own = token_json_text(t, token->id);

    for (size_t i = 0; i < n; i++) {
        json_t *name = token_json_text(t, token->best[i].id);

        /* Two tokens may have the same text; the likelier one stays. */
        if (!json_object_getn(o, json_string_value(name),
                              json_string_length(name)))
            json_object_setn_new(o, json_string_value(name),
                                 json_string_length(name),
                                 json_value_real(token->best[i].logprob));
        json_decref(name);
    }
    if (!json_object_getn(o, json_string_value(own), json_string_length(own)))
        json_object_setn_new(o, json_string_value(own), json_string_length(own),
                             json_value_real(token->logprob));
    json_decref(own);
    return o;
}

/* Counts the bytes that begin a character in UTF-8. */
static size_t count_characters(const struct tokenizer *t, token_id id)
{
    size_t n_bytes, n = 0;
    const char *bytes = tokenizer_bytes(t, id, &n_bytes);

    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

static json_t *token_json(const struct tokenizer *t, token_id id, float logprob)
{
    json_t *o = json_object(), *list = json_array();
    size_t n;
    const char *bytes = tokenizer_bytes(t, id, &n);

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    json_object_set_new(o, "token", token_json_text(t, id));
    json_object_set_new(o, "logprob", json_value_real(logprob));
    json_object_set_new(o, "bytes", list);
    return o;
}

static void add(struct completion_logprobs *l, const struct infer_token *token)
{
    const struct tokenizer *t = infer_tokenizer(l->job->f);
    size_t n_best = (size_t)l->job->logprobs;
    json_t *o, *list;

    if (l->job->kind == API_COMPLETIONS) {
        json_array_append_new(l->tokens, token_json_text(t, token->id));
        json_array_append_new(l->token_logprobs,
                              json_value_real(token->logprob));
        json_array_append_new(l->top_logprobs, top_json(t, token, n_best));
        json_array_append_new(l->text_offset,
                              json_integer((json_int_t)l->offset));
        l->offset += count_characters(t, token->id);
        return;
    }
    o = token_json(t, token->id, token->logprob);
    list = json_array();
    for (size_t i = 0; i < n_best; i++)
        json_array_append_new(
            list, token_json(t, token->best[i].id, token->best[i].logprob));
    json_object_set_new(o, "top_logprobs", list);
    json_array_append_new(l->content, o);
}

void completion_logprobs_add(struct completion_logprobs *l,
                             const struct infer_token *token)
{
    if (l->job->logprobs < 0)
        return;
    add(l, token);
    l->n++;
}

void completion_logprobs_finish(struct completion_logprobs *l,
                                const struct infer_completion *c)
{
    size_t n_best = (size_t)l->job->logprobs;

    if (l->job->logprobs < 0)
        return;
    clear(l);
    l->offset = l->offset_taken;
    for (size_t i = l->n_taken; i < c->tokens.n; i++)
        completion_logprobs_add(
            l, &(struct infer_token){c->tokens.items[i], c->logprobs[i],
                                     n_best ? c->alternatives + i * n_best
                                            : NULL});
}

/* --- the prompt --------------------------------------------------------- */

bool completion_logprobs_ended(const struct completion *job,
                               const struct infer_completion *c)
{
    return c->stopped && c->tokens.n == 0 && job->sampling.n_stop == 0;
}

/* Computes the logprobs of a prompt and, when the completion has ended, of the
 * end-of-text token after it. The last choice may have them already. */
static int read_echo(const struct completion *job,
                     const struct token_list *prompt, bool ended,
                     struct err *err)
{
    struct completion_echo *e = job->last_echo;
    struct cancel cancel = http_cancel_callback(job->cancel);
    size_t n = prompt->n + ended, n_best = (size_t)job->logprobs;
    token_id *ids;
    int rc;

    if (e->prompt == prompt && e->n >= n)
        return 0;
    e->prompt = NULL;
    e->logprobs = xreallocarray(e->logprobs, n + 1, sizeof *e->logprobs);
    e->best = xreallocarray(e->best, (n + 1) * (n_best + 1), sizeof *e->best);
    ids = xcalloc(n + 1, sizeof *ids);
    if (prompt->n)
        memcpy(ids, prompt->items, prompt->n * sizeof *ids);
    if (ended)
        ids[prompt->n] = tokenizer_end_of_text(infer_tokenizer(job->f));
    rc = infer_prompt_logprobs(job->f, ids, n, (int)n_best, &cancel,
                               e->logprobs, n_best ? e->best : NULL, err);
    free(ids);
    if (rc == 0) {
        e->prompt = prompt;
        e->n = n;
    }
    return rc;
}

int completion_logprobs_add_prompt(struct completion_logprobs *l,
                                   const struct token_list *prompt, size_t from,
                                   bool ended, struct err *err)
{
    const struct completion *job = l->job;
    const struct completion_echo *e = job->last_echo;
    int rc;

    if (job->logprobs < 0)
        return 0;
    rc = read_echo(job, prompt, ended, err);
    for (size_t i = from; rc == 0 && i < prompt->n + ended; i++)
        add(l, &(struct infer_token){
                   i < prompt->n
                       ? prompt->items[i]
                       : tokenizer_end_of_text(infer_tokenizer(job->f)),
                   e->logprobs[i], e->best + i * (size_t)job->logprobs});
    return rc;
}

/* --- the result --------------------------------------------------------- */

json_t *completion_logprobs_take(struct completion_logprobs *l, bool whole)
{
    enum api_kind kind = l->job->kind;
    bool empty = json_array_size(l->content) + json_array_size(l->tokens) == 0;
    json_t *o;

    if (l->job->logprobs < 0)
        return kind == API_RESPONSES ? json_array() : json_null();
    if (kind == API_RESPONSES)
        o = json_incref(l->content);
    else if (empty && !whole)
        o = json_null();
    else if (kind == API_CHAT)
        o = json_pack("{s:O, s:n}", "content", l->content, "refusal");
    else
        o = json_pack("{s:O, s:O, s:O, s:O}", "tokens", l->tokens,
                      "token_logprobs", l->token_logprobs, "top_logprobs",
                      l->top_logprobs, "text_offset", l->text_offset);
    l->n_taken += l->n;
    l->offset_taken = l->offset;
    clear(l);
    return o;
}
