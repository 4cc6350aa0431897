/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training of the class head. A piece of a batch goes through these in order:
 *
 *     features, logits -> score_member (test) -> start_new_rows
 *     -> gradients of the logits -> of features and rows -> updates
 *
 * With s = k f.w / |w| the logit of feature f and row w, k = head_scale, and ds
 * its gradient,
 *     df = sum over rows of ds k w / |w|
 *     dw = sum over examples of ds (k f / |w| - s w / |w|^2)
 * and through a part u = x / |x| of the feature
 *     dx = (du - u (u.du)) / |x|.
 * head_backward treats the whole batch as one piece. It computes the gradient
 * of the Transformer's final states and updates nothing.
 *
 * AdaGrad keeps one sum of squares for each row, of the row's whole gradient.
 * So the first step of a row has the length of the rate, whatever the width.
 * The sum decays very slowly, since the stream has no end. A row of the n-gram
 * table is updated once for each occurrence of its n-gram.
 */
#include "config.h"

#include "learner/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/head_private.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/ops.h"

#define PIECE 16 /* new examples in a piece */
#define ADAGRAD_KEEP 0.9999f
/* a prototype averages about this many examples */
#define PROTOTYPE_MEMORY 1000

static struct head_work *make_work(size_t n, size_t labels, size_t d)
{
    struct head_work *w = xcalloc(1, sizeof *w);

    w->cap_examples = n;
    w->cap_labels = labels;
    w->members = xcalloc(n, sizeof *w->members);
    w->parts = xcalloc(n, sizeof *w->parts);
    w->features = xfloats(n * d);
    w->dfeatures = xfloats(n * d);
    w->logits = xfloats(n * labels);
    w->near_logits = xfloats(n * labels);
    w->drows = xfloats(labels * d);
    w->ds_dot_s = xfloats(labels);
    w->scores = xfloats(labels);
    w->frequency = xfloats(labels);
    return w;
}

static void need_work(struct head *h, size_t n, size_t labels)
{
    size_t cap_n = h->work ? h->work->cap_examples : 0;
    size_t cap_labels = h->work ? h->work->cap_labels : 0;

    if (n <= cap_n && labels <= cap_labels)
        return;
    if (n > cap_n)
        cap_n = n + n / 2;
    if (labels > cap_labels)
        cap_labels = labels + labels / 2;
    head_work_free(h->work);
    h->work = make_work(cap_n, cap_labels, h->d);
}

static bool seen(const struct head *h, size_t c)
{
    return h->row_scale[c] > 0.0f;
}

/* --- test --------------------------------------------------------------- */

static void find_features(struct head *h, size_t n)
{
    struct head_work *w = h->work;

    w->grams.n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct head_example *e = w->members[i];

        w->parts[i].gram_from = w->grams.n;
        head_find_grams(h, e->text, e->n_bytes, e->grams, e->n_grams,
                        &w->grams);
        w->parts[i].gram_to = w->grams.n;
    }
    for (size_t i = 0; i < n; i++) {
        const struct head_example *e = w->members[i];
        struct head_feature *f = &w->parts[i];

        head_feature(h, w->grams.items + f->gram_from,
                     f->gram_to - f->gram_from, w->grams.n - f->gram_from,
                     e->states, e->n_states, f->scale,
                     w->features + i * h->d);
    }
}

static size_t best_of(const float *scores, size_t n)
{
    size_t best = 0;

    for (size_t c = 1; c < n; c++)
        if (scores[c] > scores[best])
            best = c;
    return best;
}

/* Tests member i: fills its loss and whether it was classified correctly. */
static void score_member(struct head *h, size_t i)
{
    struct head_work *w = h->work;
    struct head_example *e = w->members[i];
    size_t label = (size_t)e->label, n_seen = 0;
    const float *logits = w->logits + i * h->labels;
    float *near = w->near_logits + i * h->labels, lse;

    for (size_t c = 0; c < h->labels; c++)
        n_seen += seen(h, c);
    e->correct = false;
    e->loss = logf((float)(n_seen + 1));
    if (label >= h->labels || !seen(h, label))
        return;
    memcpy(w->scores, logits, h->labels * sizeof *w->scores);
    lse = head_softmax(h, w->scores);
    head_softmax(h, near);
    head_blend(h, w->scores, near);
    e->loss = lse - logits[label];
    e->correct = best_of(w->scores, h->labels) == label;
}

static void test(struct head *h, size_t n)
{
    struct head_work *w = h->work;

    if (h->labels > 0) {
        head_logits(h, h->rows, h->row_scale, w->features, n, w->logits);
        head_logits(h, h->prototypes, h->prototype_scale, w->features, n,
                    w->near_logits);
    }
    for (size_t i = 0; i < n; i++)
        score_member(h, i);
}

/* --- train -------------------------------------------------------------- */

static void add_feature(struct head *h, size_t c, const float *feature)
{
    for (size_t j = 0; j < h->d; j++)
        h->rows[c * h->d + j] += feature[j];
}

/* Scales a sum of features to length 1. If no text of the label has a feature,
 * the label stays unseen. */
static void finish_row(struct head *h, size_t c)
{
    float *row = h->rows + c * h->d;

    head_rescale_row(h, c);
    for (size_t j = 0; j < h->d; j++)
        row[j] *= h->row_scale[c];
    head_rescale_row(h, c);
}

/* Gives each new label a row: the mean feature of its members. */
static void start_new_rows(struct head *h, size_t n)
{
    const struct head_work *w = h->work;
    bool any = false;

    for (size_t i = 0; i < n; i++)
        head_need_labels(h, (size_t)w->members[i]->label + 1);
    for (size_t i = 0; i < n; i++) {
        size_t c = (size_t)w->members[i]->label;

        if (seen(h, c))
            continue;
        add_feature(h, c, w->features + i * h->d);
        any = true;
    }
    if (!any)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t c = (size_t)w->members[i]->label;

        if (!seen(h, c))
            finish_row(h, c);
    }
    head_logits(h, h->rows, h->row_scale, w->features, n, w->logits);
}

static void copy_logits(const struct head *h, size_t i, size_t n_final)
{
    const struct head_work *w = h->work;
    float *out = w->members[i]->logits;

    if (!out)
        return;
    memcpy(out, w->logits + i * h->labels, h->labels * sizeof *out);
    memset(out + h->labels, 0, (n_final - h->labels) * sizeof *out);
}

/* Computes the gradient of member i's cross entropy: softmax minus one-hot,
 * where the softmax weights each class by its frequency. */
static void cross_entropy_backward(const struct head *h, size_t i, float *ds)
{
    const struct head_work *w = h->work;
    const float *s = w->logits + i * h->labels;
    float sum = 0.0f;

    for (size_t c = 0; c < h->labels; c++) {
        ds[c] = seen(h, c) ? w->frequency[c] * expf(s[c]) : 0.0f;
        sum += ds[c];
    }
    for (size_t c = 0; c < h->labels; c++)
        ds[c] /= sum;
    ds[w->members[i]->label] -= 1.0f;
}

/* Adds the gradient of alpha times the mean squared distance to the stored
 * logits. */
static void old_logits_backward(const struct head *h, size_t i, float *ds)
{
    const struct head_example *e = h->work->members[i];
    const float *s = h->work->logits + i * h->labels;
    size_t n = e->n_old < h->labels ? e->n_old : h->labels;
    float scale;

    if (!e->replayed || !e->old_logits || n == 0)
        return;
    scale = 2.0f * h->options.replay_logits / (float)n;
    for (size_t c = 0; c < n; c++)
        if (seen(h, c))
            ds[c] += scale * (s[c] - e->old_logits[c]);
}

/* Replaces the logits of member i by head_scale ds / |w|, and adds ds s to
 * ds_dot_s. */
static void logits_backward(struct head *h, size_t i)
{
    struct head_work *w = h->work;
    float *s = w->logits + i * h->labels, *ds = w->scores;

    if (!seen(h, (size_t)w->members[i]->label)) {
        memset(s, 0, h->labels * sizeof *s);
        return;
    }
    cross_entropy_backward(h, i, ds);
    old_logits_backward(h, i, ds);
    for (size_t c = 0; c < h->labels; c++) {
        w->ds_dot_s[c] += ds[c] * s[c];
        s[c] = head_scale(h) * ds[c] * h->row_scale[c];
    }
}

/* Computes the gradient through the normalisation of a part. `part` is its
 * length, 1 / scale its length before. du becomes dx; returns the square of
 * dx. */
HOT static float part_backward(const float *restrict u, float *restrict du,
                               size_t n, float scale, float part)
{
    float dot = 0.0f, squares = 0.0f, factor = part * scale;

#pragma omp simd reduction(+ : dot)
    for (size_t j = 0; j < n; j++)
        dot += u[j] * du[j];
    dot /= part * part;
#pragma omp simd reduction(+ : squares)
    for (size_t j = 0; j < n; j++) {
        du[j] = factor * (du[j] - dot * u[j]);
        squares += du[j] * du[j];
    }
    return squares;
}

/* Spreads the gradient of member i's feature over its states. */
static void write_dstates(const struct head_example *e, size_t dim,
                          const float *dmean, const float *dlast, float weight)
{
    for (size_t t = 0; t < e->n_states; t++)
        for (size_t j = 0; j < dim; j++)
            e->dstates[t * dim + j] = weight * dmean[j];
    for (size_t j = 0; j < dim; j++)
        e->dstates[(e->n_states - 1) * dim + j] += weight * dlast[j];
}

HOT static void step_grams(float *grams, float *acc, const uint32_t *hashes,
                           size_t n, uint32_t mask, const float *g, size_t c,
                           float squares, float rate)
{
    for (size_t i = 0; i < n; i++) {
        size_t slot = hashes[i] & mask;
        float *row = grams + slot * c, step;

        acc[slot] = ADAGRAD_KEEP * acc[slot] + squares;
        step = rate / sqrtf(acc[slot]);
#pragma omp simd
        for (size_t j = 0; j < c; j++)
            row[j] -= step * g[j];
    }
}

static float part_length(const struct head *h)
{
    return h->dim ? 1.0f / sqrtf(HEAD_PARTS) : 1.0f;
}

static void states_backward(struct head *h, size_t i, float weight)
{
    const struct head_work *w = h->work;
    const struct head_example *e = w->members[i];
    const struct head_feature *f = &w->parts[i];
    const float *u = w->features + i * h->d;
    float *du = w->dfeatures + i * h->d, part = part_length(h);
    size_t dim = h->dim;

    part_backward(u, du, dim, f->scale[0], part);
    part_backward(u + dim, du + dim, dim, f->scale[1], part);
    write_dstates(e, dim, du, du + dim, weight);
}

/* Updates the n-gram embeddings of member i. */
static void grams_backward(struct head *h, size_t i)
{
    const struct head_work *w = h->work;
    const struct head_feature *f = &w->parts[i];
    const float *u = w->features + i * h->d;
    float *du = w->dfeatures + i * h->d, squares;
    size_t dim = h->dim;

    squares = part_backward(u + 2 * dim, du + 2 * dim, h->gram_dim, f->scale[2],
                            part_length(h));
    if (squares > 0.0f && isfinite(squares))
        step_grams(h->grams, h->gram_acc, w->grams.items + f->gram_from,
                   f->gram_to - f->gram_from, (uint32_t)(h->n_slots - 1),
                   du + 2 * dim, h->gram_dim, squares, h->options.lr);
}

HOT static float row_gradient(float *restrict dw, const float *restrict w,
                              size_t n, float along)
{
    float squares = 0.0f;

#pragma omp simd reduction(+ : squares)
    for (size_t j = 0; j < n; j++) {
        dw[j] -= along * w[j];
        squares += dw[j] * dw[j];
    }
    return squares;
}

static void step_row(struct head *h, size_t c)
{
    float *dw = h->work->drows + c * h->d, *row = h->rows + c * h->d;
    float scale = h->row_scale[c], squares, step;

    if (!seen(h, c))
        return;
    squares = row_gradient(dw, row, h->d, h->work->ds_dot_s[c] * scale * scale);
    if (!(squares > 0.0f) || !isfinite(squares))
        return;
    h->row_acc[c] = ADAGRAD_KEEP * h->row_acc[c] + squares;
    step = h->options.lr / sqrtf(h->row_acc[c]);
    for (size_t j = 0; j < h->d; j++)
        row[j] -= step * dw[j];
    head_rescale_row(h, c);
}

static void move_prototype(struct head *h, size_t i)
{
    const struct head_work *w = h->work;
    size_t c = (size_t)w->members[i]->label;
    float *p = h->prototypes + c * h->d, share;
    const float *feature = w->features + i * h->d;

    if (h->counts[c] < PROTOTYPE_MEMORY)
        h->counts[c]++;
    share = 1.0f / (float)h->counts[c];
    for (size_t j = 0; j < h->d; j++)
        p[j] += share * (feature[j] - p[j]);
    head_rescale_prototype(h, c);
}

static void train(struct head *h, size_t n, size_t n_final)
{
    struct head_work *w = h->work;

    start_new_rows(h, n);
    memset(w->ds_dot_s, 0, h->labels * sizeof *w->ds_dot_s);
    for (size_t i = 0; i < n; i++) {
        copy_logits(h, i, n_final);
        logits_backward(h, i);
    }
    ops_fast->linear_dx(w->dfeatures, w->logits, h->rows, n, h->d, h->labels,
                        0);
    ops_fast->linear_dw(w->drows, w->logits, w->features, n, h->d, h->labels,
                        0);
    for (size_t i = 0; i < n; i++) {
        grams_backward(h, i);
        move_prototype(h, i);
    }
    for (size_t c = 0; c < h->labels; c++)
        step_row(h, c);
}

/* --- a batch ------------------------------------------------------------ */

/*
 * How a batch is cut into n pieces. Piece k has the new examples from
 * share(n_new, k) to share(n_new, k + 1), and the replayed ones likewise.
 */
struct pieces {
    size_t n, n_new, n_replayed;
    size_t next_new, next_replayed; /* index of the next candidate in the
                                       batch */
};

static size_t share(size_t of, size_t k, size_t n)
{
    return of * k / n;
}

/* Collects the next `want` new or replayed examples, from *at on. */
static size_t gather(struct head_example *examples, bool replayed,
                     size_t want, size_t *at, struct head_example **members)
{
    size_t n = 0;

    while (n < want) {
        struct head_example *e = &examples[(*at)++];

        if (e->replayed == replayed)
            members[n++] = e;
    }
    return n;
}

static size_t gather_piece(struct pieces *p, size_t k,
                           struct head_example *examples,
                           struct head_example **members)
{
    size_t n_new = share(p->n_new, k + 1, p->n) - share(p->n_new, k, p->n);
    size_t n_replayed = share(p->n_replayed, k + 1, p->n) -
                        share(p->n_replayed, k, p->n);
    size_t n = gather(examples, false, n_new, &p->next_new, members);

    return n + gather(examples, true, n_replayed, &p->next_replayed,
                      members + n);
}

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/*
 * Finds how often each label comes in a batch: its new examples, and an equal
 * share of the replayed ones. Preset linear samples replay in equal shares;
 * with a Transformer, the share is an estimate. Without replay, a new example
 * competes only with the labels of new examples (ER-ACE, Caccia et al. 2022):
 * nothing would pull the other rows back.
 *   n_labels  labels that have a row after the batch
 */
static void find_frequencies(struct head *h,
                             const struct head_example *examples, size_t n,
                             size_t n_labels)
{
    float *frequency = h->work->frequency, share;
    size_t n_seen = 0, n_replayed = 0;

    for (size_t c = 0; c < h->labels; c++)
        n_seen += seen(h, c);
    for (size_t i = 0; i < n; i++)
        n_replayed += examples[i].replayed;
    share = (float)n_replayed / (float)(n_seen ? n_seen : 1);
    for (size_t c = 0; c < n_labels; c++)
        frequency[c] = share;
    for (size_t i = 0; i < n; i++)
        if (!examples[i].replayed && (size_t)examples[i].label < n_labels)
            frequency[examples[i].label] += 1.0f;
}

void head_step(struct head *h, struct head_example *examples, size_t n)
{
    struct pieces p = {0};
    size_t n_final = h->labels, most;

    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        BUG_ON(examples[i].label < 0 ||
               examples[i].label >= h->options.max_labels);
        p.n_new += !examples[i].replayed;
        if ((size_t)examples[i].label >= n_final)
            n_final = (size_t)examples[i].label + 1;
    }
    p.n_replayed = n - p.n_new;
    p.n = ceil_div(p.n_new ? p.n_new : n, PIECE);
    most = ceil_div(p.n_new, p.n) + ceil_div(p.n_replayed, p.n);
    head_need_grams(h);
    need_work(h, most, n_final);
    find_frequencies(h, examples, n, n_final);
    for (size_t k = 0; k < p.n; k++) {
        size_t in_piece = gather_piece(&p, k, examples, h->work->members);

        find_features(h, in_piece);
        test(h, in_piece);
        train(h, in_piece, n_final);
    }
}

/* True if member i has states, and its label has a row. */
static bool trains_trunk(const struct head *h, size_t i)
{
    const struct head_example *e = h->work->members[i];

    return e->n_states && (size_t)e->label < h->labels &&
           seen(h, (size_t)e->label);
}

void head_backward(struct head *h, struct head_example *examples, size_t n,
                   float weight)
{
    struct head_work *w;

    for (size_t i = 0; i < n; i++)
        memset(examples[i].dstates, 0,
               examples[i].n_states * h->dim * sizeof(float));
    if (n == 0 || h->labels == 0)
        return;
    head_need_grams(h);
    need_work(h, n, h->labels);
    w = h->work;
    find_frequencies(h, examples, n, h->labels);
    for (size_t i = 0; i < n; i++)
        w->members[i] = &examples[i];
    find_features(h, n);
    head_logits(h, h->rows, h->row_scale, w->features, n, w->logits);
    memset(w->ds_dot_s, 0, h->labels * sizeof *w->ds_dot_s);
    for (size_t i = 0; i < n; i++)
        if (trains_trunk(h, i))
            logits_backward(h, i);
    ops_fast->linear_dx(w->dfeatures, w->logits, h->rows, n, h->d, h->labels,
                        0);
    for (size_t i = 0; i < n; i++)
        if (trains_trunk(h, i))
            states_backward(h, i, weight / (float)n);
}
