/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/completion.h"

#include <stdlib.h>

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

int completion_stopping(const struct completion_job *j, struct err *err)
{
    if (http_stopping(j->http))
        return err_set(err, ERR_AGAIN, "the daemon is stopping");
    return 0;
}

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
