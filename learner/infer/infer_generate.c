/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A version writes. The history is an end-of-text, the prompt and what was
 * generated; the cache holds n_read ids of it from `first` on:
 *
 *     history  E p p p p p p g g g g
 *                    |<- n_read ->|       at most `context`
 *                    first
 *
 * When the window would become longer than the context, it is cut to its newer
 * half and read again from position 0: what training has seen are segments
 * that begin anywhere in a record.
 *
 * Bytes are collected raw, since a character may take several tokens and a
 * stop string may lie across them; they become UTF-8 at the end.
 */
#include "config.h"

#include "learner/infer/infer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "learner/infer/infer_private.h"
#include "learner/infer/sample.h"

#define PROMPT_PIECE 128 /* ids read at once: bounds the memory */

struct generation {
    const struct infer *f;
    const struct infer_sampling *sampling;
    struct infer_listener listener;
    struct infer_work *work;
    struct token_list history;
    size_t first, n_read;
    struct buf raw; /* bytes of the generated tokens */
    struct infer_completion out;
    size_t cap; /* of out.logprobs and alternatives, in tokens */
};

void infer_sampling_default(struct infer_sampling *s)
{
    *s = (struct infer_sampling){
        .max_tokens = 16,
        .temperature = 1.0f,
        .top_p = 1.0f,
        .n_logprobs = -1,
    };
}

void infer_completion_release(struct infer_completion *c)
{
    buf_release(&c->text);
    token_list_release(&c->tokens);
    free(c->logprobs);
    free(c->alternatives);
    memset(c, 0, sizeof *c);
}

/* --- what is asked for -------------------------------------------------- */

static int check_stop(const struct infer_sampling *s, struct err *err)
{
    for (size_t i = 0; i < s->n_stop; i++)
        if (s->stop[i][0] == '\0')
            return err_set(err, ERR_INVALID, "a stop string is empty");
    return 0;
}

static int check_sampling(const struct infer *f,
                          const struct infer_sampling *s, struct err *err)
{
    if (s->max_tokens < 0)
        return err_set(err, ERR_INVALID, "max_tokens is %d, below 0",
                       s->max_tokens);
    if (!(s->temperature >= 0.0f && isfinite(s->temperature)))
        return err_set(err, ERR_INVALID, "temperature is %g, not 0 or more",
                       (double)s->temperature);
    if (!(s->top_p >= 0.0f && s->top_p <= 1.0f))
        return err_set(err, ERR_INVALID, "top_p is %g, not in 0..1",
                       (double)s->top_p);
    if (s->top_k < 0)
        return err_set(err, ERR_INVALID, "top_k is %d, below 0", s->top_k);
    if (s->n_logprobs > f->model->shape.vocab_size)
        return err_set(err, ERR_INVALID,
                       "%d logprobs: the vocabulary has %d tokens",
                       s->n_logprobs, f->model->shape.vocab_size);
    return check_stop(s, err);
}

/* --- through the model -------------------------------------------------- */

/* A prompt that begins with an end-of-text has brought its own. */
static void start(struct generation *g, const uint16_t *prompt, size_t n)
{
    uint16_t end = tokenizer_end_of_text(g->f->tokenizer);
    size_t context = (size_t)g->f->model->shape.context;

    if (n == 0 || prompt[0] != end)
        token_list_add(&g->history, end);
    for (size_t i = 0; i < n; i++)
        token_list_add(&g->history, prompt[i]);
    if (g->history.n > context)
        g->first = g->history.n - context;
    infer_work_need(g->f, g->work,
                    context < PROMPT_PIECE ? context : PROMPT_PIECE);
}

static void keep_newer_half(struct generation *g)
{
    size_t half = (size_t)g->f->model->shape.context / 2;

    g->first = g->history.n - (half ? half : 1);
    g->n_read = 0;
}

/* Reads what the cache has not; ln p of what may follow goes to the work's
 * logits. */
static int read_history(struct generation *g, struct err *err)
{
    const struct model *m = g->f->model;
    struct infer_work *w = g->work;
    int rc;

    if (g->history.n - g->first > (size_t)m->shape.context)
        keep_newer_half(g);
    while (g->first + g->n_read < g->history.n) {
        const uint16_t *ids = g->history.items + g->first + g->n_read;
        size_t left = g->history.n - g->first - g->n_read;
        size_t n = left < PROMPT_PIECE ? left : PROMPT_PIECE;

        if ((rc = cancel_check(g->listener.cancel, err)))
            return rc;
        frozen_extend(g->f->frozen, w->cache, g->n_read, ids, n, w->frozen,
                      n == left ? w->logits : NULL);
        g->n_read += n;
    }
    if (!sample_logprobs(w->logits, (size_t)m->shape.vocab_size))
        return infer_not_finite(err);
    return 0;
}

/* --- what comes out ----------------------------------------------------- */

static void keep_logprobs(struct generation *g, uint16_t id)
{
    struct infer_completion *out = &g->out;
    size_t n = (size_t)g->sampling->n_logprobs;

    if (g->sampling->n_logprobs < 0)
        return;
    if (out->tokens.n == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 16;
        out->logprobs =
            xreallocarray(out->logprobs, g->cap, sizeof *out->logprobs);
        if (n)
            out->alternatives = xreallocarray(
                out->alternatives, g->cap, n * sizeof *out->alternatives);
    }
    out->logprobs[out->tokens.n] = g->work->logits[id];
    if (n)
        sample_best(g->work->logits, (size_t)g->f->model->shape.vocab_size, n,
                    g->work->scratch, out->alternatives + out->tokens.n * n);
}

static void keep_token(struct generation *g, uint16_t id)
{
    size_t n_bytes;
    const char *bytes = tokenizer_bytes(g->f->tokenizer, id, &n_bytes);

    keep_logprobs(g, id);
    token_list_add(&g->out.tokens, id);
    token_list_add(&g->history, id);
    buf_add(&g->raw, bytes, n_bytes);
}

/* Where the first stop string begins that ends after byte `from`; SIZE_MAX:
 * none. */
static size_t find_stop(const struct generation *g, size_t from)
{
    const struct infer_sampling *s = g->sampling;
    size_t first = SIZE_MAX;

    for (size_t i = 0; i < s->n_stop; i++) {
        size_t n = strlen(s->stop[i]);
        size_t at = from >= n ? from - n + 1 : 0;
        const char *found;

        if (g->raw.len < at + n)
            continue;
        found = memmem(g->raw.data + at, g->raw.len - at, s->stop[i], n);
        if (found && (size_t)(found - g->raw.data) < first)
            first = (size_t)(found - g->raw.data);
    }
    return first;
}

/* Cuts the text at a byte. A token that begins before it stays. */
static void cut_at(struct generation *g, size_t at)
{
    struct token_list *tokens = &g->out.tokens;
    size_t begins = g->raw.len;

    while (tokens->n > 0) {
        size_t n_bytes;

        (void)tokenizer_bytes(g->f->tokenizer, tokens->items[tokens->n - 1],
                              &n_bytes);
        if (begins - n_bytes < at)
            break;
        begins -= n_bytes;
        tokens->n--;
    }
    g->raw.len = at;
}

/* Tells the listener of the last token; true: it wants no more. */
static bool tell(const struct generation *g)
{
    const struct infer_completion *out = &g->out;
    size_t i = out->tokens.n - 1;
    struct infer_token token = {.id = out->tokens.items[i]};

    if (!g->listener.on_token)
        return false;
    if (g->sampling->n_logprobs >= 0)
        token.logprob = out->logprobs[i];
    if (g->sampling->n_logprobs > 0)
        token.best = out->alternatives + i * (size_t)g->sampling->n_logprobs;
    return g->listener.on_token(&token, g->listener.arg);
}

/* Decides token i. *done: nothing comes after it. */
static int next_token(struct generation *g, uint64_t i, bool *done,
                      struct err *err)
{
    const struct infer_sampling *s = g->sampling;
    size_t from = g->raw.len, at;
    uint16_t id;
    int rc = read_history(g, err);

    if (rc)
        return rc;
    id = sample_draw(g->work->logits, (size_t)g->f->model->shape.vocab_size, s,
                     rng_unit(s->seed, RNG_SAMPLE, 0, i), g->work->scratch);
    if (id == tokenizer_end_of_text(g->f->tokenizer)) {
        g->out.stopped = *done = true;
        return 0;
    }
    keep_token(g, id);
    at = find_stop(g, from);
    if (at != SIZE_MAX) {
        cut_at(g, at);
        g->out.stopped = *done = true;
    } else {
        *done = tell(g);
    }
    return 0;
}

/* A character that was not finished is left out. */
static void finish_text(struct generation *g)
{
    size_t whole = utf8_whole(g->raw.data, g->raw.len);

    buf_adds(&g->out.text, ""); /* never NULL */
    utf8_repair(g->raw.data, whole, &g->out.text);
}

int infer_complete(const struct infer *f, const uint16_t *prompt, size_t n,
                   const struct infer_sampling *sampling,
                   const struct infer_listener *listener,
                   struct infer_completion *completion, struct err *err)
{
    struct generation g = {.f = f, .sampling = sampling};
    bool done = false;
    int rc;

    memset(completion, 0, sizeof *completion);
    if ((rc = infer_need_model(f, err)) ||
        (rc = check_sampling(f, sampling, err)) ||
        (rc = infer_check_ids(f, prompt, n, err)))
        return rc;
    if (listener)
        g.listener = *listener;
    g.work = infer_work_get(f, INFER_GENERATE);
    start(&g, prompt, n);
    for (int i = 0; rc == 0 && !done && i < sampling->max_tokens; i++)
        rc = next_token(&g, (uint64_t)i, &done, err);
    infer_work_put(f, g.work);
    if (rc == 0)
        finish_text(&g);
    token_list_release(&g.history);
    buf_release(&g.raw);
    if (rc) {
        infer_completion_release(&g.out);
        return rc;
    }
    *completion = g.out;
    return 0;
}
