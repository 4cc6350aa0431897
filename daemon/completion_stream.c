/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions as events: the text of each choice as it grows, without what a
 * stop string may still cut off, in whole characters.
 */
#include "config.h"

#include "daemon/completion.h"

#include <string.h>

#include "base/utf8.h"

struct piece {
    struct completion_job *j;
    struct http_stream *s;
    int64_t index;
    struct buf raw;  /* bytes of the tokens so far */
    struct buf text; /* what of them can be told */
    size_t n_told;   /* bytes of text */
    bool deaf;
};

/* text NULL: nothing to tell but reason; reason NULL: it goes on. */
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
    json_object_set_new(choice, "logprobs", json_null());
    json_object_set_new(choice, "finish_reason",
                        reason ? json_string(reason) : json_null());
    json_array_append_new(choices, choice);
    root = completion_head(p->j, p->j->chat ? "chat.completion.chunk"
                                            : "text_completion");
    json_object_set_new(root, "choices", choices);
    if (http_stream_json(p->s, root))
        p->deaf = true;
}

/* How much of raw no stop string can cut any more. */
static size_t safe_bytes(const struct completion_job *j, const struct buf *raw)
{
    size_t held = 0;

    for (size_t i = 0; i < j->sampling.n_stop; i++) {
        size_t n = strlen(j->stops[i]) - 1;

        for (n = n < raw->len ? n : raw->len; n > held; n--)
            if (memcmp(raw->data + raw->len - n, j->stops[i], n) == 0)
                held = n;
    }
    return raw->len - held;
}

/* Whole characters only; those that were told stay as they were, since bytes
 * that are no character are replaced one by one. */
static bool on_token(uint16_t id, void *arg)
{
    struct piece *p = arg;
    size_t n;
    const char *bytes = tokenizer_bytes(infer_tokenizer(p->j->f), id, &n);

    buf_add(&p->raw, bytes, n);
    buf_clear(&p->text);
    n = safe_bytes(p->j, &p->raw);
    if (n)
        utf8_repair(p->raw.data, utf8_whole(p->raw.data, n), &p->text);
    if (p->text.len > p->n_told) {
        tell(p, p->text.data + p->n_told, p->text.len - p->n_told, NULL);
        p->n_told = p->text.len;
    }
    return p->deaf || http_stopping(p->j->http);
}

static void tell_error(struct piece *p, const struct err *err)
{
    struct buf text = BUF_INIT;

    utf8_repair(err->msg, strlen(err->msg), &text);
    p->deaf |= http_stream_json(
        p->s, json_pack("{s:{s:o, s:s, s:s, s:n}}", "error", "message",
                        completion_string(&text), "type", "server_error",
                        "code", "unavailable", "param"));
    buf_release(&text);
}

static int stream_choice(struct piece *p, const struct token_list *ids,
                         int64_t choice)
{
    struct infer_sampling s = completion_sampling(p->j, choice);
    struct infer_completion c;
    struct err err = ERR_INIT;
    int rc =
        infer_complete(p->j->f, ids->items, ids->n, &s, on_token, p, &c, &err);

    if (rc) {
        tell_error(p, &err);
        return rc;
    }
    p->j->completion_tokens += c.tokens.n;
    if (c.text.len > p->n_told)
        tell(p, c.text.data + p->n_told, c.text.len - p->n_told, NULL);
    rc = completion_stopping(p->j, &err);
    if (rc)
        tell_error(p, &err);
    else
        tell(p, NULL, 0, c.stopped ? "stop" : "length");
    infer_completion_release(&c);
    return rc;
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
            struct piece p = {
                j, s, (int64_t)i * j->n + c, BUF_INIT, BUF_INIT, 0, false};

            begin_choice(&p, &j->prompts[i]);
            failed = stream_choice(&p, &j->prompts[i], c) != 0 || p.deaf;
            buf_release(&p.raw);
            buf_release(&p.text);
        }
    }
    if (failed)
        return;
    if (j->want_usage)
        write_usage(j, s);
    http_stream_text(s, "[DONE]");
}
