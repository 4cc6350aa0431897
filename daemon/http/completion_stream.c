/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/completion_stream.h"

#include <string.h>

#include "base/utf8.h"
#include "daemon/http/completion.h"

/* A choice while it is generated and sent. */
struct choice {
    struct completion *job;
    struct http_stream *s;
    int64_t index;
    struct buf unsent;
    size_t n_sent;     /* bytes of text */
    json_t *logprobs;  /* of tokens whose text is not sent yet */
    size_t n_logprobs; /* that are sent */
    bool closed;       /* the stream takes no more events */
};

/* The length of raw's longest suffix that is a prefix of a stop string. */
static size_t stop_begun(const struct buf *raw, const char *const *stop,
                         size_t n_stop)
{
    size_t longest = 0;

    for (size_t i = 0; i < n_stop; i++) {
        size_t n = strlen(stop[i]) - 1;

        for (n = n < raw->len ? n : raw->len; n > longest; n--)
            if (memcmp(raw->data + raw->len - n, stop[i], n) == 0)
                longest = n;
    }
    return longest;
}

/* Each piece ends at the end of a character, and invalid bytes are replaced one
 * by one. So the repaired pieces make up the repaired whole. */
void completion_stream_add(struct buf *unsent, const char *bytes,
                           size_t n_bytes, const char *const *stop,
                           size_t n_stop, struct buf *out)
{
    size_t n;

    if (n_bytes == 0)
        return;
    buf_add(unsent, bytes, n_bytes);
    n = utf8_whole(unsent->data,
                   unsent->len - stop_begun(unsent, stop, n_stop));
    utf8_repair(unsent->data, n, out);
    unsent->len -= n;
    memmove(unsent->data, unsent->data + n, unsent->len);
}

/* Sends an event with the text and the logprobs that are not sent yet.
 *   text    NULL: the event has only reason and logprobs
 *   reason  why the choice ends; NULL: it goes on */
static void send_text(struct choice *p, const char *text, size_t n,
                      const char *reason)
{
    json_t *choice = json_object(), *choices = json_array(), *root;
    json_t *delta = json_object();

    json_object_set_new(choice, "index", json_integer(p->index));
    if (p->job->chat && text)
        json_object_set_new(delta, "content", json_stringn(text, n));
    if (p->job->chat && text && p->n_sent == 0)
        json_object_set_new(delta, "role", json_string("assistant"));
    if (p->job->chat)
        json_object_set(choice, "delta", delta);
    else
        json_object_set_new(choice, "text", json_stringn(text ? text : "", n));
    json_decref(delta);
    p->n_logprobs += json_array_size(p->logprobs);
    json_object_set_new(
        choice, "logprobs",
        json_array_size(p->logprobs)
            ? json_pack("{s:O, s:n}", "content", p->logprobs, "refusal")
            : json_null());
    json_decref(p->logprobs);
    p->logprobs = NULL;
    json_object_set_new(choice, "finish_reason",
                        reason ? json_string(reason) : json_null());
    json_array_append_new(choices, choice);
    root = completion_head(p->job, p->job->chat ? "chat.completion.chunk"
                                                : "text_completion");
    json_object_set_new(root, "choices", choices);
    if (http_stream_json(p->s, root))
        p->closed = true;
    p->n_sent += n;
}

static bool on_token(const struct infer_token *token, void *arg)
{
    struct choice *p = arg;
    const struct completion *job = p->job;
    struct buf text = BUF_INIT;
    size_t n;
    const char *bytes = tokenizer_bytes(infer_tokenizer(job->f), token->id, &n);

    if (job->logprobs >= 0) {
        if (!p->logprobs)
            p->logprobs = json_array();
        json_array_append_new(
            p->logprobs, completion_logprob(job, token, (size_t)job->logprobs));
    }
    completion_stream_add(&p->unsent, bytes, n, (const char *const *)job->stops,
                          job->sampling.n_stop, &text);
    if (text.len)
        send_text(p, text.data, text.len, NULL);
    buf_release(&text);
    return p->closed;
}

static void send_error(struct choice *p, const struct err *err)
{
    const struct http_cancel *cancel = p->job->cancel;
    const char *code = cancel->cause == HTTP_NOT_CANCELLED
                           ? "unavailable"
                           : http_cancel_code(cancel->cause);
    struct buf text = BUF_INIT;

    utf8_repair(err->msg, strlen(err->msg), &text);
    p->closed |= http_stream_json(
        p->s, json_pack("{s:{s:o, s:s, s:s, s:n}}", "error", "message",
                        completion_string(&text), "type", "server_error",
                        "code", code, "param"));
    buf_release(&text);
}

static int stream_choice(struct choice *p, const struct token_list *ids,
                         int64_t number)
{
    struct cancel cancel = http_cancel_callback(p->job->cancel);
    struct infer_listener listener = {on_token, p, &cancel};
    struct infer_sampling s = completion_sampling(p->job, number);
    struct buf prompt = BUF_INIT;
    struct infer_completion c;
    struct err err = ERR_INIT;
    size_t sent;
    int rc;

    if (p->job->echo)
        completion_text(p->job, ids, &prompt);
    if (prompt.len)
        send_text(p, prompt.data, prompt.len, NULL);
    buf_release(&prompt);
    sent = p->n_sent;
    rc = infer_complete(p->job->f, ids->items, ids->n, &s, &listener, &c, &err);
    if (rc) {
        send_error(p, &err);
        return rc;
    }
    p->job->completion_tokens += c.tokens.n;
    if (p->job->logprobs >= 0) {
        /* A stop string may have removed some of the last tokens. */
        json_decref(p->logprobs);
        p->logprobs = completion_chat_logprobs(p->job, &c, p->n_logprobs);
    }
    sent = p->n_sent - sent;
    if (c.text.len > sent)
        send_text(p, c.text.data + sent, c.text.len - sent, NULL);
    send_text(p, NULL, 0, c.stopped ? "stop" : "length");
    infer_completion_release(&c);
    return 0;
}

void completion_stream_write(struct http_stream *s, void *completion)
{
    struct completion *job = completion;
    bool failed = false;
    json_t *root;

    for (size_t i = 0; !failed && i < job->n_prompts; i++) {
        job->prompt_tokens += job->prompts[i].n;
        for (int64_t c = 0; !failed && c < job->n; c++) {
            struct choice p = {
                .job = job, .s = s, .index = (int64_t)i * job->n + c};

            failed = stream_choice(&p, &job->prompts[i], c) != 0 || p.closed;
            buf_release(&p.unsent);
            json_decref(p.logprobs);
        }
    }
    if (!failed && job->want_usage) {
        root = completion_head(job, job->chat ? "chat.completion.chunk"
                                              : "text_completion");
        json_object_set_new(root, "choices", json_array());
        json_object_set_new(root, "usage", completion_usage(job));
        http_stream_json(s, root);
    }
    http_stream_text(s, "[DONE]");
}
