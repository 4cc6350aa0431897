/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/learner_examples.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/tokenizer/cut.h"

static bool is_example(const struct learner *l, size_t i)
{
    return l->segments[i]->label >= 0 && !l->refused[i];
}

static size_t count_labelled(const struct learner *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n_segments; i++)
        n += is_example(l, i);
    return n;
}

static void need_examples(struct learner *l, size_t n)
{
    if (n <= l->cap_examples)
        return;
    l->cap_examples = 2 * n;
    n = l->cap_examples;
    l->examples = xreallocarray(l->examples, n, sizeof *l->examples);
    l->owners = xreallocarray(l->owners, n, sizeof *l->owners);
}

static void need_dstates(struct shard *s, size_t dim)
{
    size_t n = s->batch.n_tokens * dim;

    if (s->has_dstates)
        return;
    if (n > s->cap_dstates) {
        s->cap_dstates = n + n / 4;
        free(s->dstates);
        s->dstates = xfloats(s->cap_dstates);
    }
    memset(s->dstates, 0, n * sizeof *s->dstates);
    s->has_dstates = true;
}

/* The states of segment i, and room for their gradient. */
static void point_at_states(struct learner *l, size_t i,
                            struct head_example *e)
{
    const struct place *p = &l->places[i];
    struct shard *s = &l->shards[p->shard];
    size_t dim = (size_t)l->model->shape.dim;

    need_dstates(s, dim);
    e->states = model_states(s->work) + p->first * dim;
    e->dstates = s->dstates + p->first * dim;
    e->n_states = l->segments[i]->n_tokens;
}

/* Preset linear keeps the text; else it is decoded into l->text, which moves
 * while it grows: pointers are set when all is there. */
static void point_at_texts(struct learner *l, size_t n)
{
    size_t from = 0;

    buf_clear(&l->text);
    for (size_t k = 0; k < n; k++) {
        struct head_example *e = &l->examples[k];
        const struct segment *s = l->segments[l->owners[k]];

        if (!l->model) {
            e->text = s->text;
            e->n_bytes = s->text_bytes;
            e->grams = s->grams;
            e->n_grams = s->n_grams;
            continue;
        }
        from = l->text.len;
        cut_text(s, l->options.tokenizer, &l->text);
        e->n_bytes = l->text.len - from;
    }
    from = 0;
    for (size_t k = 0; l->model && k < n; k++) {
        l->examples[k].text = l->text.data ? l->text.data + from : "";
        from += l->examples[k].n_bytes;
    }
}

static void make_example(struct learner *l, size_t i, size_t n_fresh,
                         const struct learner_step_output *out,
                         struct head_example *e)
{
    const struct segment *s = l->segments[i];

    *e = (struct head_example){
        .label = s->label,
        .replayed = i >= n_fresh,
        .old_logits = s->old_logits,
        .n_old = s->n_old_logits,
    };
    if (out->logits && i < n_fresh)
        e->logits = out->logits + i * (size_t)l->options.head.max_labels;
    if (l->model)
        point_at_states(l, i, e);
}

void learner_examples_list(struct learner *l, size_t n_fresh,
                           const struct learner_step_output *out)
{
    size_t k = 0;

    l->n_examples = count_labelled(l);
    need_examples(l, l->n_examples);
    for (size_t i = 0; i < l->n_segments; i++) {
        if (!is_example(l, i))
            continue;
        l->owners[k] = i;
        make_example(l, i, n_fresh, out, &l->examples[k++]);
    }
    point_at_texts(l, l->n_examples);
}

void learner_examples_learn(struct learner *l, size_t n_fresh,
                            struct learner_step_output *out)
{
    size_t n = l->n_examples;
    double loss = 0.0;

    if (n == 0)
        return;
    head_step(l->head, l->examples, n);
    for (size_t k = 0; k < n; k++) {
        if (out->right && l->owners[k] < n_fresh)
            out->right[l->owners[k]] = l->examples[k].correct;
        loss += (double)l->examples[k].loss;
    }
    out->n_labelled = (int64_t)n;
    out->class_loss = loss / (double)n;
}
