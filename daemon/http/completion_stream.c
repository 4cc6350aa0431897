/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions as events: the text of each choice as it grows, without what a
 * stop string may still cut off, in whole characters. What goes wrong is an
 * event, too: {"error"}. The last event is always [DONE].
 */
#include "config.h"

#include "daemon/http/completion.h"

#include <string.h>

#include "base/utf8.h"

struct piece {
    struct completion_job *j;
    struct http_stream *s;
    int64_t index;
    struct completion_tail tail;
    size_t n_told;     /* bytes of text that were sent */
    json_t *logprobs;  /* of tokens whose text was not sent yet */
    size_t n_logprobs; /* that were sent */
    bool deaf;
};

/* The field `logprobs` of an event; NULL or empty gives null. Takes list over.
 */
static json_t *logprobs_json(json_t *list)
{
    if (json_array_size(list))
        return json_pack("{s:o, s:n}", "content", list, "refusal");
    json_decref(list);
    return json_null();
}

/* Sends an event with the text and all logprobs that wait. text NULL: only
 * reason and logprobs; reason NULL: the choice goes on. */
static void tell(struct piece *p, const char *text, size_t n,
                 const char *reason)
{
    json_t *choice = json_object(), *choices = json_array(), *root;
    json_t *delta = json_object();

    json_object_set_new(choice, "index", json_integer(p->index));
    if (p->j->chat && text)
        json_object_set_new(delta, "content", json_stringn(text, n));
    if (p->j->chat && text && p->n_told == 0)
        json_object_set_new(delta, "role", json_string("assistant"));
    if (p->j->chat)
        json_object_set(choice, "delta", delta);
    else
        json_object_set_new(choice, "text", json_stringn(text ? text : "", n));
    json_decref(delta);
    p->n_logprobs += json_array_size(p->logprobs);
    json_object_set_new(choice, "logprobs", logprobs_json(p->logprobs));
    p->logprobs = NULL;
    json_object_set_new(choice, "finish_reason",
                        reason ? json_string(reason) : json_null());
    json_array_append_new(choices, choice);
    root = completion_head(p->j, p->j->chat ? "chat.completion.chunk"
                                            : "text_completion");
    json_object_set_new(root, "choices", choices);
    if (http_stream_json(p->s, root))
        p->deaf = true;
    p->n_told += n;
}

static bool on_token(const struct infer_token *token, void *arg)
{
    struct piece *p = arg;
    const struct completion_job *j = p->j;
    struct buf text = BUF_INIT;
    size_t n;
    const char *bytes = tokenizer_bytes(infer_tokenizer(j->f), token->id, &n);

    if (j->logprobs >= 0) {
        if (!p->logprobs)
            p->logprobs = json_array();
        json_array_append_new(
            p->logprobs, completion_logprob(j, token, (size_t)j->logprobs));
    }
    completion_tail_add(&p->tail, bytes, n, (const char *const *)j->stops,
                        j->sampling.n_stop, &text);
    if (text.len)
        tell(p, text.data, text.len, NULL);
    buf_release(&text);
    return p->deaf;
}

static void tell_error(struct piece *p, const struct err *err)
{
    const struct http_cancel *cancel = p->j->cancel;
    const char *code = cancel->cause == HTTP_WANTED
                           ? "unavailable"
                           : http_cancel_code(cancel->cause);
    struct buf text = BUF_INIT;

    utf8_repair(err->msg, strlen(err->msg), &text);
    p->deaf |= http_stream_json(
        p->s, json_pack("{s:{s:o, s:s, s:s, s:n}}", "error", "message",
                        completion_string(&text), "type", "server_error",
                        "code", code, "param"));
    buf_release(&text);
}

/* Replaces the waiting logprobs by those of the completion's last tokens: a
 * stop string may have removed some. */
static void keep_rest(struct piece *p, const struct infer_completion *c)
{
    if (p->j->logprobs < 0)
        return;
    json_decref(p->logprobs);
    p->logprobs = completion_chat_logprobs(p->j, c, p->n_logprobs);
}

static int stream_choice(struct piece *p, const struct token_list *ids,
                         int64_t choice)
{
    struct cancel cancel = http_cancel_question(p->j->cancel);
    struct infer_listener listener = {on_token, p, &cancel};
    struct infer_sampling s = completion_sampling(p->j, choice);
    struct infer_completion c;
    struct err err = ERR_INIT;
    size_t told = p->n_told; /* bytes of the prompt, so far */
    int rc =
        infer_complete(p->j->f, ids->items, ids->n, &s, &listener, &c, &err);

    if (rc) {
        tell_error(p, &err);
        return rc;
    }
    p->j->completion_tokens += c.tokens.n;
    keep_rest(p, &c);
    told = p->n_told - told;
    if (c.text.len > told)
        tell(p, c.text.data + told, c.text.len - told, NULL);
    tell(p, NULL, 0, c.stopped ? "stop" : "length");
    infer_completion_release(&c);
    return 0;
}

/* What comes before the first token. */
static void begin_choice(struct piece *p, const struct token_list *ids)
{
    struct buf text = BUF_INIT;

    if (p->j->echo) {
        completion_text(p->j, ids, &text);
        if (text.len)
            tell(p, text.data, text.len, NULL);
    }
    buf_release(&text);
}

static void write_usage(struct completion_job *j, struct http_stream *s)
{
    json_t *root = completion_head(j, j->chat ? "chat.completion.chunk"
                                              : "text_completion");

    json_object_set_new(root, "choices", json_array());
    json_object_set_new(root, "usage", completion_usage(j));
    http_stream_json(s, root);
}

void completion_stream(struct http_stream *s, void *arg)
{
    struct completion_job *j = arg;
    bool failed = false;

    for (size_t i = 0; !failed && i < j->n_prompts; i++) {
        j->prompt_tokens += j->prompts[i].n;
        for (int64_t c = 0; !failed && c < j->n; c++) {
            struct piece p = {.j = j, .s = s, .index = (int64_t)i * j->n + c};

            begin_choice(&p, &j->prompts[i]);
            failed = stream_choice(&p, &j->prompts[i], c) != 0 || p.deaf;
            buf_release(&p.tail.raw);
            json_decref(p.logprobs);
        }
    }
    if (!failed && j->want_usage)
        write_usage(j, s);
    http_stream_text(s, "[DONE]");
}
