/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A learner is made, freed and asked. Its step is in learner_step.c, its state
 * out and in is in learner_state.c.
 */
#include "config.h"

#include "learner/learner.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "learner/learner_private.h"
#include "learner/kernels/ops.h"

#define RANGE_FLOATS 8192

void learner_options_default(struct learner_options *o)
{
    *o = (struct learner_options){
        .threads = 1,
        .shards = 2,
        .seed = 42,
        .optim = {.lr = 1e-3f,
                  .warmup_steps = 100,
                  .beta1 = 0.9f,
                  .beta2 = 0.99f,
                  .eps = 1e-8f,
                  .weight_decay = 0.1f,
                  .clip_norm = 1.0f,
                  .skip_medians = 100.0f},
        .ewc = {.enabled = true,
                .lambda = 10.0f,
                .decay = 0.95f,
                .consolidate = EWC_AUTO},
        .class_weight = 0.1f,
    };
    head_options_default(&o->head);
}

/* --- life --------------------------------------------------------------- */

static size_t count_ranges(const struct model *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_tensors; i++)
        n += (m->tensors[i].count + RANGE_FLOATS - 1) / RANGE_FLOATS;
    return n;
}

static void make_ranges(struct learner *l)
{
    const struct model *m = l->model;
    struct range *r;

    l->n_ranges = count_ranges(m);
    l->results = xcalloc(l->n_ranges, sizeof *l->results);
    r = l->ranges = xcalloc(l->n_ranges, sizeof *l->ranges);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];
        size_t end = t->offset + t->count;

        for (size_t from = t->offset; from < end; from += RANGE_FLOATS) {
            r->from = from;
            r->to = end - from < RANGE_FLOATS ? end : from + RANGE_FLOATS;
            r->decays = t->decays;
            r++;
        }
    }
}

static int make_model(struct learner *l, struct err *err)
{
    const struct learner_options *o = &l->options;
    int rc = model_create(o->shape, &l->model, err);

    if (rc)
        return rc;
    rc = workers_create(o->threads, &l->workers, err);
    if (rc)
        return rc;
    l->params = xfloats(l->model->n_params);
    model_init_params(l->model, o->seed, l->params);
    l->shards = xcalloc((size_t)o->shards, sizeof *l->shards);
    for (int i = 0; i < o->shards; i++) {
        l->shards[i].grads = xfloats(l->model->n_params);
        l->shards[i].work = model_work_create(l->model, 1);
    }
    optim_init(&l->optim, &o->optim, l->model->n_params);
    ewc_init(&l->ewc, &o->ewc, l->model->n_params);
    make_ranges(l);
    return 0;
}

int learner_create(const struct learner_options *options,
                   struct learner **learner, struct err *err)
{
    struct learner *l;
    int rc = 0;

    if (options->shards < 1)
        return err_set(err, ERR_INVALID, "learner: %d shards: at least 1",
                       options->shards);
    l = xcalloc(1, sizeof *l);
    l->options = *options;
    l->options.head.dim = options->shape ? options->shape->dim : 0;
    ops_init();
    if (options->shape)
        rc = make_model(l, err);
    if (rc) {
        learner_free(l);
        return rc;
    }
    l->head = head_create(&l->options.head);
    *learner = l;
    return 0;
}

static void free_shards(struct learner *l)
{
    for (int i = 0; l->shards && i < l->options.shards; i++) {
        struct shard *s = &l->shards[i];

        batch_release(&s->batch);
        model_work_free(s->work);
        free(s->loss);
        free(s->dstates);
        free(s->grads);
    }
    free(l->shards);
}

void learner_free(struct learner *l)
{
    if (!l)
        return;
    workers_free(l->workers);
    free_shards(l);
    optim_release(&l->optim);
    ewc_release(&l->ewc);
    free(l->ranges);
    free(l->results);
    free(l->params);
    model_free(l->model);
    head_free(l->head);
    free(l->segments);
    free(l->places);
    free(l->lengths);
    free(l->nats);
    free(l->text_nats);
    free(l->refused);
    free(l->examples);
    free(l->owners);
    buf_release(&l->text);
    free(l);
}

/* A shard gets its part of a step's tokens, and at most a segment more. */
static size_t shard_bytes(const struct model *m, int shards,
                          size_t step_tokens)
{
    size_t context = (size_t)m->shape.context;
    size_t tokens = step_tokens / (size_t)shards + context;

    if (tokens > step_tokens)
        tokens = step_tokens > context ? step_tokens : context;
    return m->n_params * sizeof(float) + model_work_bytes(m, tokens) +
           tokens * ((size_t)m->shape.dim + 1) * sizeof(float);
}

size_t learner_bytes(const struct learner_options *options,
                     size_t step_tokens)
{
    struct head_options head = options->head;
    struct model *m;
    size_t blocks = options->ewc.enabled ? 6 : 3; /* weights, m, v; EWC's */
    size_t n_bytes;

    head.dim = options->shape ? options->shape->dim : 0;
    n_bytes = head_bytes(&head);
    if (!options->shape || model_create(options->shape, &m, NULL))
        return n_bytes;
    n_bytes += blocks * m->n_params * sizeof(float) +
               (size_t)options->shards *
                   shard_bytes(m, options->shards, step_tokens);
    model_free(m);
    return n_bytes;
}

/* --- what it says, and what may change ---------------------------------- */

int64_t learner_steps(const struct learner *l)
{
    return l->steps;
}

const struct optim *learner_optim(const struct learner *l)
{
    return &l->optim;
}

const struct ewc *learner_ewc(const struct learner *l)
{
    return &l->ewc;
}

size_t learner_params(const struct learner *l)
{
    return l->model ? l->model->n_params : 0;
}

void learner_set_rate(struct learner *l, float lr)
{
    l->options.optim.lr = lr;
    l->optim.options.lr = lr;
}

void learner_set_lambda(struct learner *l, float lambda)
{
    l->options.ewc.lambda = lambda;
    l->ewc.options.lambda = lambda;
}
