/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/http/completion.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/rng.h"
#include "base/utf8.h"

void completion_free(void *arg)
{
    struct completion_job *j = arg;

    if (!j)
        return;
    for (size_t i = 0; i < j->n_prompts; i++)
        token_list_release(&j->prompts[i]);
    free(j->prompts);
    for (size_t i = 0; i < COMPLETION_MOST_STOPS; i++)
        free(j->stops[i]);
    if (j->f)
        serving_put(j->serving, j->f);
    free(j);
}

static uint64_t seed_of(const struct completion_job *j, int64_t choice)
{
    uint64_t seed = (uint64_t)j->seed;

    return choice == 0 ? seed : rng_u64(seed, RNG_SAMPLE, 1, (uint64_t)choice);
}

struct infer_sampling completion_sampling(const struct completion_job *j,
                                          int64_t choice)
{
    struct infer_sampling s = j->sampling;

    s.stop = (const char *const *)j->stops;
    s.seed = seed_of(j, choice);
    return s;
}

void completion_text(const struct completion_job *j,
                     const struct token_list *ids, struct buf *out)
{
    struct buf raw = BUF_INIT;

    tokenizer_decode(infer_tokenizer(j->f), ids->items, ids->n, &raw);
    utf8_repair(raw.data ? raw.data : "", raw.len, out);
    buf_release(&raw);
}

/* How many bytes at the end of raw may begin a stop string. */
static size_t held_bytes(const struct buf *raw, const char *const *stop,
                         size_t n_stop)
{
    size_t held = 0;

    for (size_t i = 0; i < n_stop; i++) {
        size_t n = strlen(stop[i]) - 1;

        for (n = n < raw->len ? n : raw->len; n > held; n--)
            if (memcmp(raw->data + raw->len - n, stop[i], n) == 0)
                held = n;
    }
    return held;
}

/* Each piece ends at the end of a character, and invalid bytes are replaced one
 * by one. So the repaired pieces make up the repaired whole. */
void completion_tail_add(struct completion_tail *tail, const char *bytes,
                         size_t n_bytes, const char *const *stop, size_t n_stop,
                         struct buf *out)
{
    struct buf *raw = &tail->raw;
    size_t n;

    if (n_bytes == 0)
        return;
    buf_add(raw, bytes, n_bytes);
    n = utf8_whole(raw->data, raw->len - held_bytes(raw, stop, n_stop));
    utf8_repair(raw->data, n, out);
    raw->len -= n;
    memmove(raw->data, raw->data + n, raw->len);
}

/* --- logprobs of a chat ------------------------------------------------- */

static json_t *token_json(const struct tokenizer *t, uint16_t id, float logprob)
{
    json_t *o = json_object(), *list = json_array();
    size_t n;
    const char *bytes = tokenizer_bytes(t, id, &n);

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    json_object_set_new(o, "token", api_text_token(t, id));
    json_object_set_new(o, "logprob", json_value_real(logprob));
    json_object_set_new(o, "bytes", list);
    return o;
}

json_t *completion_logprob(const struct completion_job *j,
                           const struct infer_token *token, size_t n_best)
{
    const struct tokenizer *t = infer_tokenizer(j->f);
    json_t *o = token_json(t, token->id, token->logprob);
    json_t *list = json_array();

    for (size_t i = 0; i < n_best; i++)
        json_array_append_new(
            list, token_json(t, token->best[i].id, token->best[i].logprob));
    json_object_set_new(o, "top_logprobs", list);
    return o;
}

json_t *completion_chat_logprobs(const struct completion_job *j,
                                 const struct infer_completion *c, size_t i)
{
    size_t n_best = (size_t)j->logprobs;
    json_t *list = json_array();

    for (; i < c->tokens.n; i++) {
        struct infer_token token = {c->tokens.items[i], c->logprobs[i],
                                    n_best ? c->alternatives + i * n_best
                                           : NULL};

        json_array_append_new(list, completion_logprob(j, &token, n_best));
    }
    return list;
}

/* --- answers ------------------------------------------------------------ */

json_t *completion_usage(const struct completion_job *j)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens",
                     (json_int_t)j->prompt_tokens, "completion_tokens",
                     (json_int_t)j->completion_tokens, "total_tokens",
                     (json_int_t)(j->prompt_tokens + j->completion_tokens));
}

json_t *completion_head(const struct completion_job *j, const char *object)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I}", "id", j->id, "object",
                     object, "created", (json_int_t)j->created, "model",
                     j->model, "version", (json_int_t)j->version, "seed",
                     (json_int_t)j->seed);
}

json_t *completion_string(const struct buf *b)
{
    return json_stringn(b->data ? b->data : "", b->len);
}
