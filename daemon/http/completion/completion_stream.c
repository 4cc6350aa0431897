/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/completion/completion_stream.h"

#include <string.h>

#include "base/utf8.h"
#include "daemon/http/completion/completion_logprobs.h"

/* A choice while it is generated and sent. */
struct choice {
    struct completion *job;
    completion_piece_fn *fn;
    void *arg;
    struct buf unsent;
    size_t n_sent; /* bytes of text */
    struct completion_logprobs logprobs;
    bool closed; /* the receiver wants no more pieces */
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

/* --- the pieces of a choice --------------------------------------------- */

/* Sends the text, with the logprobs that are not sent yet. */
static void send_piece(struct choice *p, const char *text, size_t n,
                       const char *reason)
{
    struct completion_piece piece = {
        text, n, completion_logprobs_take(&p->logprobs, false), reason};

    p->closed |= p->fn(&piece, p->arg);
    p->n_sent += n;
}

static bool on_token(const struct infer_token *token, void *arg)
{
    struct choice *p = arg;
    const struct completion *job = p->job;
    struct buf text = BUF_INIT;
    size_t n;
    const char *bytes = tokenizer_bytes(infer_tokenizer(job->f), token->id, &n);

    completion_logprobs_add(&p->logprobs, token);
    completion_stream_add(&p->unsent, bytes, n, (const char *const *)job->stops,
                          job->sampling.n_stop, &text);
    if (text.len)
        send_piece(p, text.data, text.len, NULL);
    buf_release(&text);
    return p->closed;
}

static int send_prompt(struct choice *p, const struct token_list *ids,
                       struct err *err)
{
    struct buf text = BUF_INIT;
    int rc;

    if (!p->job->echo)
        return 0;
    rc = completion_logprobs_add_prompt(&p->logprobs, ids, 0, false, err);
    completion_text(p->job, ids, &text);
    if (rc == 0 && ids->n)
        send_piece(p, text.data ? text.data : "", text.len, NULL);
    buf_release(&text);
    return rc;
}

/* Sends what the tokens have not sent, and why the choice ends. */
static int send_end(struct choice *p, const struct token_list *ids,
                    const struct infer_completion *c, size_t n_prompt_bytes,
                    struct err *err)
{
    size_t sent = p->n_sent - n_prompt_bytes;
    int rc = 0;

    completion_logprobs_finish(&p->logprobs, c);
    if (p->job->echo && completion_logprobs_ended(p->job, c))
        rc = completion_logprobs_add_prompt(&p->logprobs, ids, ids->n, true,
                                            err);
    if (rc)
        return rc;
    if (c->text.len > sent)
        send_piece(p, c->text.data + sent, c->text.len - sent, NULL);
    send_piece(p, NULL, 0, c->stopped ? "stop" : "length");
    return 0;
}

int completion_stream_choice(struct completion *job, size_t prompt,
                             int64_t choice, completion_piece_fn *fn, void *arg,
                             struct err *err)
{
    const struct token_list *ids = &job->prompts[prompt];
    struct choice p = {.job = job, .fn = fn, .arg = arg};
    struct cancel cancel = http_cancel_callback(job->cancel);
    struct infer_listener listener = {on_token, &p, &cancel};
    struct infer_sampling s = completion_sampling(job, choice);
    struct infer_completion c = {0};
    size_t n_prompt_bytes;
    int rc;

    completion_logprobs_init(&p.logprobs, job);
    rc = send_prompt(&p, ids, err);
    n_prompt_bytes = p.n_sent;
    if (rc == 0)
        rc = infer_complete(job->f, ids->items, ids->n, &s, &listener, &c, err);
    if (rc == 0) {
        job->completion_tokens += c.tokens.n;
        job->cached_tokens += choice == 0 ? c.n_cached : 0;
        rc = send_end(&p, ids, &c, n_prompt_bytes, err);
    }
    infer_completion_release(&c);
    completion_logprobs_release(&p.logprobs);
    buf_release(&p.unsent);
    return rc;
}

json_t *completion_stream_error(const struct completion *job,
                                const struct err *err)
{
    enum http_cancel_cause cause = job->cancel->cause;
    struct buf text = BUF_INIT;
    json_t *o;

    utf8_repair(err->msg, strlen(err->msg), &text);
    o = json_pack("{s:o, s:s, s:s, s:n}", "message", completion_string(&text),
                  "type", "server_error", "code",
                  cause == HTTP_NOT_CANCELLED ? "unavailable"
                                              : http_cancel_code(cause),
                  "param");
    buf_release(&text);
    return o;
}

/* --- the events of completions and chats -------------------------------- */

/* The stream of a choice. */
struct chunks {
    struct completion *job;
    struct http_stream *s;
    int64_t index;
    bool closed;
};

/* Takes choices over. */
static bool send_chunk(const struct completion *job, struct http_stream *s,
                       json_t *choices, json_t *usage)
{
    json_t *root =
        completion_head(job, job->kind == API_CHAT ? "chat.completion.chunk"
                                                   : "text_completion");

    json_object_set_new(root, "choices", choices);
    /* Every event has the field when the last one has a value. */
    if (job->want_usage)
        json_object_set_new(root, "usage", usage ? usage : json_null());
    return http_stream_json(s, root);
}

/* Takes delta, which a completion does not have, and logprobs over. */
static void send_choice(struct chunks *k, json_t *delta,
                        const struct completion_piece *piece)
{
    json_t *choice = json_object(), *choices = json_array();

    json_object_set_new(choice, "index", json_integer(k->index));
    if (delta)
        json_object_set_new(choice, "delta", delta);
    else
        json_object_set_new(
            choice, "text",
            json_stringn(piece->text ? piece->text : "", piece->n));
    json_object_set_new(choice, "logprobs", piece->logprobs);
    json_object_set_new(choice, "finish_reason",
                        piece->reason ? json_string(piece->reason)
                                      : json_null());
    json_array_append_new(choices, choice);
    k->closed |= send_chunk(k->job, k->s, choices, NULL);
}

static bool on_piece(const struct completion_piece *piece, void *arg)
{
    struct chunks *k = arg;
    json_t *delta = k->job->kind == API_CHAT ? json_object() : NULL;

    if (delta && piece->text)
        json_object_set_new(delta, "content",
                            json_stringn(piece->text, piece->n));
    send_choice(k, delta, piece);
    return k->closed;
}

/* The first event of a chat's choice has its role, as OpenAI's has. */
static void send_role(struct chunks *k)
{
    struct completion_piece none = {.logprobs = json_null()};

    send_choice(k,
                json_pack("{s:s, s:s, s:n}", "role", "assistant", "content", "",
                          "refusal"),
                &none);
}

void completion_stream_write(struct http_stream *s, void *completion)
{
    struct completion *job = completion;
    struct err err = ERR_INIT;
    struct chunks k = {.job = job, .s = s};
    int rc = 0;

    for (size_t i = 0; rc == 0 && !k.closed && i < job->n_prompts; i++) {
        job->prompt_tokens += job->prompts[i].n;
        for (int64_t c = 0; rc == 0 && !k.closed && c < job->n; c++) {
            k.index = (int64_t)i * job->n + c;
            if (job->kind == API_CHAT)
                send_role(&k);
            rc = completion_stream_choice(job, i, c, on_piece, &k, &err);
        }
    }
    if (rc)
        http_stream_json(
            s, json_pack("{s:o}", "error", completion_stream_error(job, &err)));
    else if (!k.closed && job->want_usage)
        send_chunk(job, s, json_array(), completion_usage(job));
    http_stream_text(s, "[DONE]");
}
