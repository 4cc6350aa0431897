/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of a step. Workers do the lines marked *, by shard or range:
 *
 *     * forward with the moving average, on a sixteenth of the fresh segments
 *       distribute the segments over the shards
 *     * forward; losses by segment
 *       the filter: refused segments are masked
 *       class head: gradients of the final states
 *     * backward: each shard fills its own gradient
 *     * sum the gradients in shard order, and their squares by range
 *       gradient norm: the step is skipped, or the gradient is clipped
 *       n-gram memory: score and learn the fresh segments
 *       class head: test and train
 *       EWC: a consolidation, if one is due
 *     * AdamW, the pulls of EWC, the moving average, the check for finite
 *       weights
 *
 * The number of threads does not change the result. The segments alone decide
 * which shard each one goes to. One thread at a time works on a shard, and
 * writes only the shard's own blocks. Each gradient element is summed in shard
 * order. Sums over ranges are added in the order of the ranges.
 */
#include "config.h"

#include "learner/learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/spent.h"
#include "learner/learner_private.h"
#include "learner/tokenizer/cut.h"

#define AVERAGE_SHARE 16 /* the average scores one fresh segment in so many */

/* --- distribution over the shards --------------------------------------- */

static void list_segments(struct learner *l,
                          const struct learner_step_input *in)
{
    size_t n = in->n_fresh + in->n_replayed;

    l->n_segments = n;
    if (n > l->cap_segments) {
        n = l->cap_segments = 2 * n;
        l->segments = xreallocarray(l->segments, n, sizeof *l->segments);
        l->placements = xreallocarray(l->placements, n, sizeof *l->placements);
        l->lengths = xreallocarray(l->lengths, n, sizeof *l->lengths);
        l->nats = xreallocarray(l->nats, n, sizeof *l->nats);
        l->text_nats = xreallocarray(l->text_nats, n, sizeof *l->text_nats);
        l->refused = xreallocarray(l->refused, n, sizeof *l->refused);
    }
    l->counted = 0;
    memset(l->refused, 0, l->n_segments);
    for (size_t i = 0; i < l->n_segments; i++) {
        l->segments[i] = i < in->n_fresh ? &in->fresh[i]
                                         : &in->replayed[i - in->n_fresh];
        l->counted += segment_counted(l->segments[i]);
    }
}

/* Orders the longest segment first; equal lengths keep their order. */
static int compare_lengths(const void *a, const void *b)
{
    const struct length *x = a, *y = b;

    if (x->n_tokens != y->n_tokens)
        return x->n_tokens < y->n_tokens ? 1 : -1;
    return (x->segment > y->segment) - (x->segment < y->segment);
}

/* The longest remaining segment goes to the shard with the fewest tokens
 * (Graham 1969). Within a shard, segments keep their order. */
static void distribute(struct learner *l)
{
    size_t n_shards = (size_t)l->options.shards;
    size_t *load = xcalloc(n_shards, sizeof *load);

    for (size_t i = 0; i < l->n_segments; i++)
        l->lengths[i] = (struct length){i, l->segments[i]->n_tokens};
    qsort(l->lengths, l->n_segments, sizeof *l->lengths, compare_lengths);
    for (size_t k = 0; k < l->n_segments; k++) {
        size_t i = l->lengths[k].segment, least = 0;

        for (size_t s = 1; s < n_shards; s++)
            if (load[s] < load[least])
                least = s;
        load[least] += l->segments[i]->n_tokens;
        l->placements[i].shard = least;
    }
    for (size_t s = 0; s < n_shards; s++)
        batch_clear(&l->shards[s].batch);
    for (size_t i = 0; i < l->n_segments; i++) {
        struct batch *b = &l->shards[l->placements[i].shard].batch;

        l->placements[i].first = b->n_tokens;
        batch_add(b, l->segments[i]);
    }
    free(load);
}

/* --- forward, losses ---------------------------------------------------- */

static void need_loss(struct shard *s)
{
    size_t n = s->batch.n_tokens;

    if (n <= s->cap_tokens)
        return;
    s->cap_tokens = n + n / 4;
    free(s->loss);
    s->loss = xfloats(s->cap_tokens);
}

static void forward(void *arg, size_t shard)
{
    struct learner *l = arg;
    struct shard *s = &l->shards[shard];

    s->has_dstates = false;
    if (s->batch.n_tokens == 0)
        return;
    need_loss(s);
    model_forward(l->model, l->params, &s->batch, s->work, s->loss);
}

/* Sums the counted losses of a segment.
 *   loss  of its tokens
 *   end   out: the loss of the end-of-text token, which is in the sum */
static double sum_loss(const struct segment *s, const float *loss, double *end)
{
    double nats = 0.0;

    *end = 0.0;
    for (size_t t = s->n_masked; t < s->n_tokens; t++)
        nats += (double)loss[t];
    if (s->ends && s->n_tokens > s->n_masked)
        *end = (double)loss[s->n_tokens - 1];
    return nats;
}

static void sum_losses(struct learner *l)
{
    for (size_t i = 0; i < l->n_segments; i++) {
        const struct placement *p = &l->placements[i];
        double end;

        l->nats[i] =
            sum_loss(l->segments[i], l->shards[p->shard].loss + p->first, &end);
        l->text_nats[i] = l->nats[i] - end;
    }
}

/* --- losses of the moving average --------------------------------------- */

/* One round of scoring: shard s works on segment s of the round. */
struct scoring {
    struct learner *l;
    const struct segment **segments; /* [n] */
    double *text_nats;               /* [n] out */
};

static void score_pass(void *arg, size_t k)
{
    struct scoring *r = arg;
    struct learner *l = r->l;
    struct shard *s = &l->shards[k];
    double nats, end;

    batch_clear(&s->batch);
    batch_add(&s->batch, r->segments[k]);
    need_loss(s);
    model_forward(l->model, learner_served(l), &s->batch, s->work, s->loss);
    if (l->ngram) {
        if (!s->reader)
            s->reader = ngram_reader_create(l->ngram);
        ngram_reader_segment(s->reader, r->segments[k], s->loss, s->loss);
    }
    nats = sum_loss(r->segments[k], s->loss, &end);
    r->text_nats[k] = nats - end;
}

/* A random choice: a stream may repeat itself every sixteen segments. */
static bool is_scored(const struct learner *l, size_t i)
{
    return rng_below(AVERAGE_SHARE, l->options.seed, RNG_AVERAGE,
                     (uint64_t)l->steps, i) == 0;
}

/*
 * Scores fresh segments with the moving average. Each is a forward pass of its
 * own, in the working memory of a shard. So this precedes the step's forward
 * passes, whose activations the backward passes need.
 */
static void score_average(struct learner *l,
                          const struct learner_step_input *in, double *out)
{
    size_t n_shards = (size_t)l->options.shards, i = 0;
    const struct segment **chosen = xcalloc(n_shards, sizeof *chosen);
    size_t *owners = xcalloc(n_shards, sizeof *owners);
    double *nats = xcalloc(n_shards, sizeof *nats);

    while (i < in->n_fresh) {
        struct scoring r = {l, chosen, nats};
        size_t n = 0;

        for (; i < in->n_fresh && n < n_shards; i++) {
            if (!is_scored(l, i))
                continue;
            owners[n] = i;
            chosen[n++] = &in->fresh[i];
        }
        workers_run(l->workers, score_pass, &r, n);
        for (size_t k = 0; k < n; k++)
            out[owners[k]] = nats[k];
    }
    free(chosen);
    free(owners);
    free(nats);
}

/* --- filter ------------------------------------------------------------- */

/* Asks the filter, and masks the segments that it refuses. Returns their
 * number. */
static size_t filter_fresh(struct learner *l,
                           const struct learner_step_input *in)
{
    size_t n = 0;

    if (!in->filter || in->n_fresh == 0)
        return 0;
    in->filter(in->filter_arg, l->text_nats, l->refused);
    for (size_t i = 0; i < in->n_fresh; i++) {
        const struct placement *p = &l->placements[i];
        struct batch *b = &l->shards[p->shard].batch;

        if (!l->refused[i])
            continue;
        memset(b->counted + p->first, 0, l->segments[i]->n_tokens);
        l->counted -= segment_counted(l->segments[i]);
        n++;
    }
    return n;
}

/* --- labelled segments for the class head ------------------------------- */

static bool is_example(const struct learner *l, size_t i)
{
    return l->segments[i]->label >= 0 && !l->refused[i];
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

/* Points the example at the states of segment i and at their gradient. */
static void point_at_states(struct learner *l, size_t i, struct head_example *e)
{
    const struct placement *p = &l->placements[i];
    struct shard *s = &l->shards[p->shard];
    size_t dim = (size_t)l->model->shape.dim;

    need_dstates(s, dim);
    e->states = model_states(s->work) + p->first * dim;
    e->dstates = s->dstates + p->first * dim;
    e->n_states = l->segments[i]->n_tokens;
}

/* Preset linear has the text already. Otherwise the texts are decoded into
 * l->text, which may move while it grows. So the pointers are set at the
 * end. */
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

static void list_examples(struct learner *l, size_t n_fresh,
                          const struct learner_step_output *out)
{
    size_t n = 0, k = 0;

    for (size_t i = 0; i < l->n_segments; i++)
        n += is_example(l, i);
    l->n_examples = n;
    if (n > l->cap_examples) {
        n = l->cap_examples = 2 * n;
        l->examples = xreallocarray(l->examples, n, sizeof *l->examples);
        l->owners = xreallocarray(l->owners, n, sizeof *l->owners);
    }
    for (size_t i = 0; i < l->n_segments; i++) {
        if (!is_example(l, i))
            continue;
        l->owners[k] = i;
        make_example(l, i, n_fresh, out, &l->examples[k++]);
    }
    point_at_texts(l, l->n_examples);
}

static void train_head(struct learner *l, size_t n_fresh,
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

/* --- the n-gram memory -------------------------------------------------- */

/* Scores and learns the fresh segments that were not refused. */
static void learn_ngram(struct learner *l, size_t n_fresh,
                        struct learner_step_output *out)
{
    for (size_t i = 0; l->ngram && i < n_fresh; i++) {
        const struct placement *p = &l->placements[i];
        double nats, end;

        if (l->refused[i])
            continue;
        ngram_learn(l->ngram, l->segments[i],
                    l->shards[p->shard].loss + p->first, l->mixed);
        nats = sum_loss(l->segments[i], l->mixed, &end);
        if (out->mixed_nats)
            out->mixed_nats[i] = nats - end;
    }
}

/* --- backward, update --------------------------------------------------- */

static void backward(void *arg, size_t shard)
{
    struct learner *l = arg;
    struct shard *s = &l->shards[shard];
    float scale = l->counted ? 1.0f / (float)l->counted : 0.0f;

    if (s->batch.n_tokens == 0)
        return;
    model_backward(l->model, l->params, &s->batch, s->work, scale, NULL,
                   s->has_dstates ? s->dstates : NULL, s->grads);
}

HOT static void add(float *restrict to, const float *restrict x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        to[i] += x[i];
}

HOT static double sum_squares(const float *x, size_t n)
{
    float sum = 0.0f;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* Sums the range into shard 0, which always has a segment. */
static void sum_range(void *arg, size_t range)
{
    struct learner *l = arg;
    const struct range *r = &l->ranges[range];
    float *sum = l->shards[0].grads + r->from;
    size_t n = r->to - r->from;
    int64_t begin = spent_begin();

    for (int s = 1; s < l->options.shards; s++)
        if (l->shards[s].batch.n_tokens > 0)
            add(sum, l->shards[s].grads + r->from, n);
    l->results[range].squares = sum_squares(sum, n);
    spent_end(SPENT_SUM, begin);
}

static void update_range(void *arg, size_t range)
{
    struct learner *l = arg;
    const struct range *r = &l->ranges[range];
    struct range_result *result = &l->results[range];
    const struct optim *o = &l->optim;
    const struct ewc_pull p = {
        .w = l->params,
        .v = o->v,
        .grads = l->shards[0].grads,
        .factor = l->factor,
        .n_tokens = l->counted,
        .covered = l->covered,
        .v_hat_scale = optim_v_hat_scale(o),
        .eps = o->options.eps,
        .lr = optim_rate(o),
    };
    int64_t begin = spent_begin();

    result->penalty = result->ewc_moved = 0.0;
    result->moved = optim_apply(&l->optim, l->params, l->shards[0].grads,
                                l->factor, r->from, r->to, r->decays);
    begin = spent_end(SPENT_OPTIMIZER, begin);
    ewc_pull(&l->ewc, &p, r->from, r->to, &result->penalty,
             &result->ewc_moved);
    begin = spent_end(SPENT_EWC, begin);
    average_follow(&l->average, l->params, l->average_decay, r->from, r->to);
    result->finite = block_finite(l->params + r->from, r->to - r->from);
    spent_end(SPENT_OPTIMIZER, begin);
}

static double grad_norm(struct learner *l)
{
    double squares = 0.0;

    workers_run(l->workers, sum_range, l, l->n_ranges);
    for (size_t i = 0; i < l->n_ranges; i++)
        squares += l->results[i].squares;
    return sqrt(squares);
}

/* Updates all weights. Returns true if they are finite. */
static bool update(struct learner *l, struct learner_step_output *out)
{
    double moved = 0.0, ewc_moved = 0.0;
    bool finite = true;

    l->average_decay = average_decay(&l->average, l->optim.step);
    workers_run(l->workers, update_range, l, l->n_ranges);
    optim_advance(&l->optim);
    for (size_t i = 0; i < l->n_ranges; i++) {
        const struct range_result *r = &l->results[i];

        moved += r->moved;
        ewc_moved += r->ewc_moved;
        out->ewc_penalty += r->penalty;
        finite = finite && r->finite;
    }
    out->ewc_share = moved > 0.0 ? sqrt(ewc_moved / moved) : 0.0;
    return finite;
}

/* --- a step ------------------------------------------------------------- */

static void report_losses(struct learner *l, size_t n_fresh,
                          struct learner_step_output *out)
{
    double all = 0.0;

    for (size_t i = 0; i < l->n_segments; i++) {
        if (out->nats)
            out->nats[i] = l->nats[i];
        if (out->text_nats)
            out->text_nats[i] = l->text_nats[i];
        if (out->mixed_nats && i < n_fresh)
            out->mixed_nats[i] = l->text_nats[i];
        if (l->refused[i])
            continue;
        all += l->nats[i];
    }
    out->counted_tokens = (int64_t)l->counted;
    out->mean_loss = l->counted ? all / (double)l->counted : 0.0;
}

/* Counts the fresh segments that the filter left. */
static struct ewc_fresh count_fresh(const struct learner *l, size_t n_fresh)
{
    struct ewc_fresh fresh = {0};

    for (size_t i = 0; i < n_fresh; i++) {
        int64_t n = segment_counted(l->segments[i]);
        int64_t domain = l->segments[i]->domain;

        if (l->refused[i])
            continue;
        fresh.tokens += n;
        if (domain >= l->ewc.settled)
            fresh.young += n;
        if (domain >= fresh.domains)
            fresh.domains = domain + 1;
    }
    return fresh;
}

/* Learns from what the filter left. Returns true if all weights are finite. */
static bool learn(struct learner *l, const struct learner_step_input *in,
                  struct learner_step_output *out)
{
    struct ewc_fresh fresh = count_fresh(l, in->n_fresh);
    size_t n_shards = (size_t)l->options.shards;
    bool finite = true;

    list_examples(l, in->n_fresh, out);
    head_backward(l->head, l->examples, l->n_examples, l->options.class_weight);
    workers_run(l->workers, backward, l, n_shards);
    out->grad_norm = grad_norm(l);
    out->rate = optim_rate(&l->optim);
    l->factor = in->trusted ? optim_admit_any(&l->optim, out->grad_norm)
                            : optim_admit(&l->optim, out->grad_norm);
    out->skipped = l->factor == 0.0f;
    if (!out->skipped) {
        learn_ngram(l, in->n_fresh, out);
        train_head(l, in->n_fresh, out);
        out->consolidated = ewc_due(&l->ewc, &fresh);
        if (out->consolidated)
            ewc_consolidate(&l->ewc, &fresh, learner_served(l));
        l->covered = in->covered;
        finite = update(l, out);
        ewc_count(&l->ewc, &fresh);
    }
    return finite;
}

static int step_model(struct learner *l, const struct learner_step_input *in,
                      struct learner_step_output *out, struct err *err)
{
    bool finite = true;

    if (out->average_nats && l->average.weights)
        score_average(l, in, out->average_nats);
    distribute(l);
    workers_run(l->workers, forward, l, (size_t)l->options.shards);
    sum_losses(l);
    out->n_refused = filter_fresh(l, in);
    report_losses(l, in->n_fresh, out);
    if (out->n_refused == 0 || out->n_refused < in->n_fresh)
        finite = learn(l, in, out);
    l->steps++;
    if (finite)
        return 0;
    return err_set(err, ERR_DIVERGED, "step %lld: a weight is not finite",
                   (long long)l->steps);
}

int learner_step(struct learner *l, const struct learner_step_input *in,
                 struct learner_step_output *out, struct err *err)
{
    int rc = 0;

    list_segments(l, in);
    *out = (struct learner_step_output){.nats = out->nats,
                                        .text_nats = out->text_nats,
                                        .mixed_nats = out->mixed_nats,
                                        .average_nats = out->average_nats,
                                        .logits = out->logits,
                                        .right = out->right};
    if (out->right)
        memset(out->right, 0, in->n_fresh * sizeof *out->right);
    if (l->n_segments == 0)
        return 0;
    for (size_t i = 0; out->average_nats && i < in->n_fresh; i++)
        out->average_nats[i] = (double)NAN;
    if (l->model) {
        rc = step_model(l, in, out, err);
    } else {
        memset(l->nats, 0, l->n_segments * sizeof *l->nats);
        memset(l->text_nats, 0, l->n_segments * sizeof *l->text_nats);
        report_losses(l, in->n_fresh, out);
        list_examples(l, in->n_fresh, out);
        train_head(l, in->n_fresh, out);
        l->steps++;
    }
    out->n_labels = head_labels(l->head);
    return rc;
}
