/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/tokenizer/cut.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* Counts the bytes of targets [from, to), without special tokens. */
static uint32_t text_bytes_of(const struct tokenizer *t,
                              const token_id *targets, size_t from, size_t to)
{
    size_t sum = 0;

    for (size_t i = from; i < to; i++) {
        size_t n;

        (void)tokenizer_bytes(t, targets[i], &n);
        sum += n;
    }
    return (uint32_t)sum;
}

static void cut_linear(struct cut *c, const char *text, size_t text_bytes,
                       int32_t domain, int32_t label)
{
    c->segments = xcalloc(1, sizeof *c->segments);
    c->n_segments = 1;
    c->segments[0] = (struct segment){
        .ends = true,
        .domain = domain,
        .label = label,
        .text = text,
        .text_bytes = (uint32_t)text_bytes,
    };
}

/* Appends end-of-text to the tokens, which begin with the token that begins a
 * text, and makes segments. */
static void cut_tokens(struct cut *c, const struct tokenizer *t, size_t context,
                       size_t n_prompt, int32_t domain, int32_t label)
{
    const token_id *tokens;
    size_t n_targets;

    token_list_add(&c->tokens, tokenizer_end_of_text(t));
    tokens = c->tokens.items;
    n_targets = c->tokens.n - 1;
    c->n_segments = (n_targets + context - 1) / context;
    c->segments = xcalloc(c->n_segments, sizeof *c->segments);
    for (size_t i = 0; i < c->n_segments; i++) {
        size_t from = i * context;
        size_t to = from + context < n_targets ? from + context : n_targets;
        size_t masked = n_prompt <= from ? 0
                        : n_prompt < to  ? n_prompt - from
                                         : to - from;

        c->segments[i] = (struct segment){
            .tokens = tokens + from,
            .n_tokens = (uint32_t)(to - from),
            .n_masked = (uint32_t)masked,
            .n_bytes = text_bytes_of(t, tokens + 1, from + masked, to),
            .ends = to == n_targets,
            .domain = domain,
            .label = label,
        };
    }
}

void cut_record(struct cut *c, const struct tokenizer *t, size_t context,
                const char *prompt, size_t prompt_bytes, const char *text,
                size_t text_bytes, int32_t domain, int32_t label)
{
    size_t n_prompt;

    memset(c, 0, sizeof *c);
    if (!t) {
        cut_linear(c, text, text_bytes, domain, label);
        return;
    }
    token_list_add(&c->tokens, tokenizer_begin_of_text(t));
    if (prompt)
        tokenizer_encode(t, prompt, prompt_bytes, &c->tokens);
    n_prompt = c->tokens.n - 1;
    tokenizer_encode(t, text, text_bytes, &c->tokens);
    cut_tokens(c, t, context, n_prompt, domain, label);
}

void cut_ids(struct cut *c, const struct tokenizer *t, size_t context,
             const token_id *ids, size_t n)
{
    token_id begin = tokenizer_begin_of_text(t);

    memset(c, 0, sizeof *c);
    if (n == 0 || ids[0] != begin)
        token_list_add(&c->tokens, begin);
    for (size_t i = 0; i < n; i++)
        token_list_add(&c->tokens, ids[i]);
    cut_tokens(c, t, context, 0, -1, -1);
}

void cut_release(struct cut *c)
{
    token_list_release(&c->tokens);
    free(c->segments);
    memset(c, 0, sizeof *c);
}

void cut_text(const struct segment *s, const struct tokenizer *t,
              struct buf *out)
{
    if (s->text)
        buf_add(out, s->text, s->text_bytes);
    else
        tokenizer_decode(t, s->tokens + 1, s->n_tokens, out);
}
