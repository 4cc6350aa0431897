/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creates and frees a learner, exports its state and imports it. The step
 * itself is in learner_step.c.
 *
 * An import checks everything before it changes anything.
 */
#include "config.h"

#include "learner/learner.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/learner_private.h"
#include "learner/kernels/block.h"
#include "learner/kernels/ops.h"

#define RANGE_FLOATS 8192

#define LIVE "live.weights"

/* Earlier programs kept a count of EWC beside the steps. */
enum { N_STEPS, N_UNUSED, N_COUNTERS };

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
                .lambda = EWC_LAMBDA_AUTO,
                .decay = 0.95f,
                .consolidate = EWC_AUTO},
        .average = {.enabled = true, .decay = 0.99f},
        .ngram = {.enabled = false, .mib = 4},
        .class_weight = 0.1f,
    };
    head_options_default(&o->head);
}

/* --- create and free ---------------------------------------------------- */

static void make_ranges(struct learner *l)
{
    const struct model *m = l->model;
    struct range *r;

    for (size_t i = 0; i < m->n_tensors; i++)
        l->n_ranges += (m->tensors[i].count + RANGE_FLOATS - 1) / RANGE_FLOATS;
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
    average_init(&l->average, &o->average, l->params, l->model->n_params);
    if (o->ngram.enabled) {
        l->ngram = ngram_create(o->shape->vocab_size, o->ngram.mib);
        l->mixed = xfloats((size_t)o->shape->context);
    }
    make_ranges(l);
    return 0;
}

int learner_create(const struct learner_options *options,
                   struct learner **learner, struct err *err)
{
    struct learner *l;
    int rc = 0;

    if (options->shards < 1)
        return err_set(err, ERR_INVALID,
                       "learner: %d shards: must be at least 1",
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

void learner_free(struct learner *l)
{
    if (!l)
        return;
    workers_free(l->workers);
    for (int i = 0; l->shards && i < l->options.shards; i++) {
        struct shard *s = &l->shards[i];

        batch_release(&s->batch);
        model_work_free(s->work);
        free(s->loss);
        free(s->dstates);
        free(s->grads);
        ngram_reader_free(s->reader);
    }
    free(l->shards);
    optim_release(&l->optim);
    ewc_release(&l->ewc);
    average_release(&l->average);
    free(l->ranges);
    free(l->results);
    free(l->params);
    model_free(l->model);
    head_free(l->head);
    free(l->segments);
    free(l->placements);
    free(l->lengths);
    ngram_free(l->ngram);
    free(l->mixed);
    free(l->nats);
    free(l->text_nats);
    free(l->refused);
    free(l->examples);
    free(l->owners);
    buf_release(&l->text);
    free(l);
}

/* A shard gets its part of a step's tokens, and at most one segment more. */
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
    /* Weights and two moments; the moving average; Fisher, anchor and the
     * Fisher of the steps since. */
    size_t blocks =
        3 + (options->average.enabled ? 1 : 0) + (options->ewc.enabled ? 3 : 0);
    size_t n_bytes;

    head.dim = options->shape ? options->shape->dim : 0;
    n_bytes = head_bytes(&head);
    if (!options->shape || model_create(options->shape, &m, NULL))
        return n_bytes;
    n_bytes += blocks * m->n_params * sizeof(float) +
               (size_t)options->shards *
                   shard_bytes(m, options->shards, step_tokens);
    if (options->ngram.enabled)
        n_bytes += ngram_bytes(options->shape->vocab_size, options->ngram.mib);
    if (options->ngram.enabled && options->average.enabled)
        n_bytes += (size_t)options->shards *
                   ngram_reader_bytes((size_t)options->shape->context);
    model_free(m);
    return n_bytes;
}

/* --- figures and settings ----------------------------------------------- */

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

/* --- export ------------------------------------------------------------- */

static void export_weights(const struct learner *l, const float *params,
                           struct tensor_list *weights)
{
    for (size_t i = 0; l->model && i < l->model->n_tensors; i++) {
        const struct model_tensor *t = &l->model->tensors[i];

        tensor_add_copy(weights, t->name, TENSOR_F32, t->n_dims, t->shape,
                        params + t->offset);
    }
}

void learner_export_live(const struct learner *l, struct tensor_list *weights)
{
    export_weights(l, l->params, weights);
}

void learner_export(const struct learner *l, struct tensor_list *weights,
                    struct tensor_list *state, struct tensor_list *anchor,
                    struct tensor_list *head, int64_t *anchor_generation)
{
    int64_t generation = l->ewc.consolidations;
    int64_t counters[N_COUNTERS] = {
        [N_STEPS] = l->steps,
    };

    if (weights)
        export_weights(l, learner_served(l), weights);
    if (state)
        tensor_add_i64(state, "learner.counters", counters, N_COUNTERS);
    if (state && l->average.weights)
        tensor_add_copy(state, LIVE, TENSOR_F32, 1, &l->model->n_params,
                        l->params);
    if (state && l->model) {
        optim_export(&l->optim, state);
        ewc_export(&l->ewc, state, NULL);
    }
    if (anchor && l->model &&
        !(anchor_generation && *anchor_generation == generation))
        ewc_export(&l->ewc, NULL, anchor);
    if (anchor && anchor_generation)
        *anchor_generation = generation;
    head_export(l->head, head, state);
}

void learner_export_ngram(const struct learner *l, struct tensor_list *ngram)
{
    if (l->ngram)
        ngram_export(l->ngram, ngram);
}

/* --- import ------------------------------------------------------------- */

static int check_weights(const struct learner *l, const struct tensor_list *in,
                         struct err *err)
{
    const struct tensor *t;
    int rc = 0;

    if (!l->model)
        return 0;
    if (!in)
        return err_set(err, ERR_CORRUPT, "the model's weights are missing");
    for (size_t i = 0; rc == 0 && i < l->model->n_tensors; i++)
        rc = model_expect(&l->model->tensors[i], in, &t, err);
    return rc;
}

/* Sets *live to NULL if the state has no live weights. */
static int check_live(const struct learner *l, const struct tensor_list *state,
                      const struct tensor **live, struct err *err)
{
    *live = NULL;
    if (!l->model || !tensor_find(state, LIVE))
        return 0;
    return block_expect(state, LIVE, l->model->n_params, live, err);
}

/*
 * Sets the average and the live weights.
 *   in    the average
 *   live  NULL: the same weights are live
 */
static void copy_weights(struct learner *l, const struct tensor_list *in,
                         const struct tensor *live)
{
    size_t n = l->model ? l->model->n_params : 0;

    for (size_t i = 0; l->model && i < l->model->n_tensors; i++) {
        const struct model_tensor *m = &l->model->tensors[i];

        memcpy(l->params + m->offset, tensor_find(in, m->name)->data,
               m->count * sizeof *l->params);
    }
    if (l->average.weights)
        memcpy(l->average.weights, l->params, n * sizeof *l->params);
    if (live)
        memcpy(l->params, live->data, n * sizeof *l->params);
}

static int check_counters(const struct tensor_list *state,
                          const int64_t **counters, struct err *err)
{
    const struct tensor *t;
    int rc = tensor_expect(state, "learner.counters", TENSOR_I64, N_COUNTERS,
                           &t, err);

    if (rc)
        return rc;
    *counters = t->data;
    if ((*counters)[N_STEPS] < 0 ||
        (*counters)[N_STEPS] > TENSOR_COUNTER_MOST)
        return err_set(err, ERR_CORRUPT,
                       "tensor learner.counters: values out of range");
    return 0;
}

/* A failing ewc_import changes nothing, and optim_import cannot fail after
 * optim_check. So an error leaves the learner as it was. */
int learner_import(struct learner *l, const struct tensor_list *weights,
                   const struct tensor_list *state,
                   const struct tensor_list *anchor,
                   const struct tensor_list *head, struct err *err)
{
    struct head *h = head_create(&l->options.head);
    const struct tensor *live;
    const int64_t *counters;
    int rc;

    if ((rc = check_counters(state, &counters, err)) ||
        (rc = check_weights(l, weights, err)) ||
        (rc = check_live(l, state, &live, err)) ||
        (rc = head_import(h, head, state, err)))
        goto out;
    if (l->model && ((rc = optim_check(&l->optim, state, err)) ||
                     (rc = ewc_import(&l->ewc, state, anchor, err)) ||
                     (rc = optim_import(&l->optim, state, err))))
        goto out;
    copy_weights(l, weights, live);
    head_free(l->head);
    l->head = h;
    h = NULL;
    l->steps = counters[N_STEPS];
out:
    head_free(h);
    return rc;
}

int learner_import_ngram(struct learner *l, const struct tensor_list *ngram,
                         struct err *err)
{
    const struct learner_options *o = &l->options;
    struct ngram *n;
    int rc;

    if (!l->ngram)
        return 0;
    if (ngram->n == 0)
        n = ngram_create(o->shape->vocab_size, o->ngram.mib);
    else if ((rc = ngram_import(ngram, o->shape->vocab_size, &n, err)))
        return rc;
    for (int i = 0; i < o->shards; i++) {
        ngram_reader_free(l->shards[i].reader);
        l->shards[i].reader = NULL;
    }
    ngram_free(l->ngram);
    l->ngram = n;
    return 0;
}

int learner_import_weights(struct learner *l, const struct tensor_list *weights,
                           struct err *err)
{
    int rc = check_weights(l, weights, err);

    if (rc)
        return rc;
    copy_weights(l, weights, NULL);
    if (l->model) {
        optim_release(&l->optim);
        optim_init(&l->optim, &l->options.optim, l->model->n_params);
    }
    return 0;
}
