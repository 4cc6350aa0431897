/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The class head: prediction, export and import. Training is in head_train.c,
 * which calls this file.
 *
 * New labels are appended, and the rows grow by doubling. The n-gram table is
 * a function of the seed until something is learned. It is made with the first
 * label, so a stream without labels pays nothing for it.
 */
#include "config.h"

#include "learner/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/head_private.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/ops.h"

#define PROTOTYPE_SHARE 0.5f
#define LETTERS 3   /* in a run (grams.h) */
#define TINY 1e-12f /* a vector shorter than this counts as zero */

/* Far from the tensors of the Transformer in the random stream. */
#define GRAMS_STREAM (UINT64_C(1) << 32)

void head_options_default(struct head_options *o)
{
    *o = (struct head_options){
        .dim = 0,
        .gram_dim = 32,
        .gram_slots = 1 << 17,
        .max_labels = 4096,
        .lr = 0.2f,
        .replay_logits = 0.05f,
        .seed = 42,
    };
}

static void set_shape(struct head *h, size_t dim, size_t gram_dim,
                      size_t n_slots)
{
    h->dim = dim;
    h->gram_dim = gram_dim;
    h->d = 2 * dim + gram_dim;
    h->n_slots = n_slots;
}

struct head *head_create(const struct head_options *options)
{
    struct head *h = xcalloc(1, sizeof *h);

    BUG_ON(options->gram_slots & (options->gram_slots - 1));
    h->options = *options;
    set_shape(h, (size_t)options->dim, (size_t)options->gram_dim,
              (size_t)options->gram_slots);
    h->letters = true;
    return h;
}

void head_work_free(struct head_work *w)
{
    if (!w)
        return;
    free(w->members);
    free(w->parts);
    gram_list_release(&w->grams);
    free(w->features);
    free(w->dfeatures);
    free(w->logits);
    free(w->near_logits);
    free(w->drows);
    free(w->ds_dot_s);
    free(w->scores);
    free(w->frequency);
    free(w);
}

static void release(struct head *h)
{
    free(h->rows);
    free(h->row_scale);
    free(h->row_acc);
    free(h->prototypes);
    free(h->prototype_scale);
    free(h->counts);
    free(h->grams);
    free(h->gram_acc);
    head_work_free(h->work);
}

void head_free(struct head *h)
{
    if (!h)
        return;
    release(h);
    free(h);
}

size_t head_labels(const struct head *h)
{
    return h->labels;
}

size_t head_bytes(const struct head_options *o)
{
    size_t d = 2 * (size_t)o->dim + (size_t)o->gram_dim;
    size_t label = 2 * d * sizeof(float) + 3 * sizeof(float) + sizeof(int64_t);

    return (size_t)o->max_labels * label +
           (size_t)o->gram_slots * ((size_t)o->gram_dim + 1) * sizeof(float);
}

/* --- memory ------------------------------------------------------------- */

/* Replaces a block by a larger one, zeroed behind the n old floats. */
static void grow_floats(float **block, size_t n, size_t cap)
{
    float *grown = xfloats(cap);

    if (n)
        memcpy(grown, *block, n * sizeof *grown);
    free(*block);
    *block = grown;
}

static void grow_labels(struct head *h, size_t cap)
{
    size_t n = h->labels, d = h->d;

    grow_floats(&h->rows, n * d, cap * d);
    grow_floats(&h->row_scale, n, cap);
    grow_floats(&h->row_acc, n, cap);
    grow_floats(&h->prototypes, n * d, cap * d);
    grow_floats(&h->prototype_scale, n, cap);
    h->counts = xreallocarray(h->counts, cap, sizeof *h->counts);
    memset(h->counts + n, 0, (cap - n) * sizeof *h->counts);
    h->cap = cap;
}

void head_need_labels(struct head *h, size_t n)
{
    size_t cap = h->cap ? h->cap : 16;

    if (n <= h->labels)
        return;
    while (cap < n)
        cap *= 2;
    if (cap > h->cap)
        grow_labels(h, cap);
    h->labels = n;
}

void head_need_grams(struct head *h)
{
    size_t n = h->n_slots * h->gram_dim;

    if (h->grams)
        return;
    h->grams = xfloats(n);
    h->gram_acc = xfloats(h->n_slots);
    for (size_t i = 0; i < n; i++)
        h->grams[i] = (float)(2.0 * rng_unit(h->options.seed, RNG_INIT,
                                             GRAMS_STREAM, i) - 1.0) *
                      HEAD_GRAM_START;
}

/* --- features ----------------------------------------------------------- */

HOT static float norm(const float *x, size_t n)
{
    float sum = 0.0f;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrtf(sum);
}

/* Scales x to length `to` and returns 1 / its old length. If that length is
 * tiny or not finite, sets x to zero and returns 0. */
static float normalise(float *x, size_t n, float to)
{
    float l = norm(x, n);

    if (!(l > TINY && l < INFINITY)) {
        memset(x, 0, n * sizeof *x);
        return 0.0f;
    }
    for (size_t i = 0; i < n; i++)
        x[i] *= to / l;
    return 1.0f / l;
}

HOT static void sum_rows(float *restrict out, const float *restrict x,
                         size_t n, size_t c)
{
    for (size_t i = 0; i < n; i++) {
#pragma omp simd
        for (size_t j = 0; j < c; j++)
            out[j] += x[i * c + j];
    }
}

/* Eight floats, aligned as floats are. */
typedef float lane __attribute__((vector_size(32), aligned(4), may_alias));

#define WIDE 32  /* columns whose sums stay in registers: four lanes */
#define L2 2     /* prefetch to L2: more requests can be in flight than to L1 */
#define AHEAD 64 /* rows to prefetch ahead */

/*
 * Prefetches the rows before it adds them: the table is larger than the
 * caches, and the rows lie anywhere in it. The prefetches must stay in this
 * function: GCC drops calls to a function that only prefetches.
 */
HOT static void sum_wide(float *out, const struct head *h,
                         const uint32_t *hashes, size_t n, size_t n_known)
{
    lane a = {0}, b = {0}, c = {0}, d = {0}, *to = (lane *)out;
    const float *acc = h->gram_acc; /* updated after the rows, in training */

    for (size_t i = 0; i < n; i++) {
        size_t slot = head_slot(h, hashes[i]);
        const lane *row = (const lane *)(h->grams + slot * WIDE);

        if (i + AHEAD < n_known) {
            size_t soon = head_slot(h, hashes[i + AHEAD]);

            __builtin_prefetch(h->grams + soon * WIDE, 0, L2);
            __builtin_prefetch(h->grams + soon * WIDE + WIDE / 2, 0, L2);
            if (acc)
                __builtin_prefetch(acc + soon, 0, L2);
        }
        a += row[0];
        b += row[1];
        c += row[2];
        d += row[3];
    }
    to[0] = a;
    to[1] = b;
    to[2] = c;
    to[3] = d;
}

/* Computes the same sums for any width. */
static void sum_any(float *out, const struct head *h, const uint32_t *hashes,
                    size_t n)
{
    size_t c = h->gram_dim;

    memset(out, 0, c * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const float *row = h->grams + (size_t)head_slot(h, hashes[i]) * c;

        for (size_t j = 0; j < c; j++)
            out[j] += row[j];
    }
}

void head_find_grams(const struct head *h, const char *text, size_t n_bytes,
                     const uint32_t *grams, size_t n_grams,
                     struct gram_list *list)
{
    /* A text has more runs of letters than words, and the words say more. So
     * beside letters they count twice. */
    for (int k = 0; k < (h->letters ? 2 : 1); k++) {
        if (grams)
            gram_list_add(list, grams, n_grams);
        else
            gram_list_add_text(list, text, n_bytes);
    }
    if (h->letters)
        gram_list_add_letters(list, text, n_bytes);
}

void head_sum_grams(const struct head *h, const uint32_t *hashes, size_t n,
                    size_t n_known, float *out)
{
    if (h->gram_dim == WIDE)
        sum_wide(out, h, hashes, n, n_known);
    else
        sum_any(out, h, hashes, n);
}

void head_feature(const struct head *h, const uint32_t *hashes, size_t n,
                  size_t n_known, const float *states, size_t n_states,
                  float *scale, float *out)
{
    float part = h->dim ? 1.0f / sqrtf(HEAD_PARTS) : 1.0f;
    float *bag = out + 2 * h->dim;

    memset(out, 0, h->d * sizeof *out);
    memset(scale, 0, HEAD_PARTS * sizeof *scale);
    /* The parts are normalised, so a sum serves as well as a mean. */
    if (h->dim && n_states) {
        sum_rows(out, states, n_states, h->dim);
        memcpy(out + h->dim, states + (n_states - 1) * h->dim,
               h->dim * sizeof *out);
        scale[0] = normalise(out, h->dim, part);
        scale[1] = normalise(out + h->dim, h->dim, part);
    }
    if (h->grams) {
        head_sum_grams(h, hashes, n, n_known, bag);
        scale[2] = normalise(bag, h->gram_dim, part);
    }
}

/* --- scores ------------------------------------------------------------- */

void head_logits(const struct head *h, const float *rows, const float *scale,
                 const float *features, size_t n, float *logits)
{
    ops_fast->linear(logits, features, rows, n, h->d, h->labels, 0);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < h->labels; c++)
            logits[i * h->labels + c] *= head_scale(h) * scale[c];
}

float head_softmax(const struct head *h, float *logits)
{
    float sum = 0.0f;

    /* Logits are at most head_scale, so no exponential overflows. */
    for (size_t c = 0; c < h->labels; c++) {
        logits[c] = h->row_scale[c] > 0.0f ? expf(logits[c]) : 0.0f;
        sum += logits[c];
    }
    for (size_t c = 0; c < h->labels && sum > 0.0f; c++)
        logits[c] /= sum;
    return logf(sum);
}

void head_blend(const struct head *h, float *scores, const float *prototypes)
{
    for (size_t c = 0; c < h->labels; c++)
        scores[c] += PROTOTYPE_SHARE * (prototypes[c] - scores[c]);
}

void head_scores(const struct head *h, const char *text, size_t n_bytes,
                 const float *states, size_t n_states, float *scores)
{
    struct gram_list list = GRAM_LIST_INIT;
    float *feature, *near, scale[HEAD_PARTS];

    if (h->labels == 0)
        return;
    feature = xfloats(h->d);
    near = xfloats(h->labels);
    head_find_grams(h, text, n_bytes, NULL, 0, &list);
    head_feature(h, list.items, list.n, list.n, states, n_states, scale,
                 feature);
    head_logits(h, h->rows, h->row_scale, feature, 1, scores);
    head_softmax(h, scores);
    head_logits(h, h->prototypes, h->prototype_scale, feature, 1, near);
    head_softmax(h, near);
    head_blend(h, scores, near);
    gram_list_release(&list);
    free(feature);
    free(near);
}

void head_rescale_row(struct head *h, size_t c)
{
    float l = norm(h->rows + c * h->d, h->d);

    h->row_scale[c] = l > TINY ? 1.0f / l : 0.0f;
}

void head_rescale_prototype(struct head *h, size_t c)
{
    float l = norm(h->prototypes + c * h->d, h->d);

    h->prototype_scale[c] = l > TINY ? 1.0f / l : 0.0f;
}

/* --- state -------------------------------------------------------------- */

void head_export(const struct head *h, struct tensor_list *head,
                 struct tensor_list *state)
{
    size_t rows[2] = {h->labels, h->d};
    size_t grams[2] = {h->n_slots, h->gram_dim};
    const int64_t letters = LETTERS;

    if (h->labels == 0)
        return;
    if (head) {
        tensor_add_copy(head, "head.rows", TENSOR_F32, 2, rows, h->rows);
        tensor_add_copy(head, "head.grams", TENSOR_F32, 2, grams, h->grams);
        tensor_add_copy(head, "head.prototypes", TENSOR_F32, 2, rows,
                        h->prototypes);
        if (h->letters)
            tensor_add_i64(head, "head.letters", &letters, 1);
    }
    if (state) {
        tensor_add_copy(state, "head.row_acc", TENSOR_F32, 1, rows,
                        h->row_acc);
        tensor_add_copy(state, "head.gram_acc", TENSOR_F32, 1, grams,
                        h->gram_acc);
        tensor_add_i64(state, "head.counts", h->counts, h->labels);
    }
}

/* The tensors of a stored head. The last three are NULL for serving. */
struct found {
    bool letters;
    const struct tensor *rows, *grams, *prototypes;
    const struct tensor *row_acc, *gram_acc, *counts;
};

/* Compares a stored size with the options; 0 accepts any size. */
static int check_size(const char *what, size_t found, int wanted,
                      struct err *err)
{
    if (wanted == 0 || found == (size_t)wanted)
        return 0;
    return err_set(err, ERR_CORRUPT, "class head: %s is %zu, expected %d", what,
                   found, wanted);
}

static int check_shapes(const struct head_options *o, const struct found *f,
                        struct err *err)
{
    size_t labels, d, slots, gram_dim;
    int rc;

    if (f->rows->n_dims != 2 || f->grams->n_dims != 2)
        return err_set(err, ERR_CORRUPT,
                       "class head: head.rows and head.grams must have two "
                       "dimensions");
    labels = f->rows->shape[0];
    d = f->rows->shape[1];
    slots = f->grams->shape[0];
    gram_dim = f->grams->shape[1];
    if (labels == 0 || gram_dim == 0 || slots == 0 || (slots & (slots - 1)) ||
        slots > (size_t)1 << 31 || d < gram_dim || (d - gram_dim) % 2)
        return err_set(err, ERR_CORRUPT,
                       "class head: rows of %zu floats do not fit %zu n-grams "
                       "of %zu floats",
                       d, slots, gram_dim);
    if ((rc = check_size("gram_dim", gram_dim, o->gram_dim, err)) ||
        (rc = check_size("gram_slots", slots, o->gram_slots, err)))
        return rc;
    if (o->gram_dim && (d - gram_dim) / 2 != (size_t)o->dim)
        return err_set(err, ERR_CORRUPT, "class head: dim is %zu, expected %d",
                       (d - gram_dim) / 2, o->dim);
    if (o->max_labels && labels > (size_t)o->max_labels)
        return err_set(err, ERR_LIMIT, "class head: %zu labels, more than %d",
                       labels, o->max_labels);
    return 0;
}

static int check_counts(const struct tensor *t, struct err *err)
{
    const int64_t *counts = t->data;

    for (size_t i = 0; i < tensor_count(t); i++)
        if (counts[i] < 0 || counts[i] > TENSOR_COUNTER_MOST)
            return err_set(err, ERR_CORRUPT,
                           "tensor head.counts: values out of range");
    return 0;
}

/* The head of an older program has three tensors only. */
static int find_letters(const struct tensor_list *head, bool *letters,
                        struct err *err)
{
    const struct tensor *t;
    int rc;

    *letters = head->n > 3;
    if (!*letters)
        return 0;
    rc = tensor_expect(head, "head.letters", TENSOR_I64, 1, &t, err);
    if (rc == 0 && *(const int64_t *)t->data != LETTERS)
        return err_set(err, ERR_CORRUPT,
                       "tensor head.letters: runs of %lld letters, expected %d",
                       (long long)*(const int64_t *)t->data, LETTERS);
    return rc;
}

static int find(const struct head_options *o, const struct tensor_list *head,
                const struct tensor_list *state, struct found *f,
                struct err *err)
{
    size_t labels;
    int rc;

    if ((rc = block_expect(head, "head.rows", SIZE_MAX, &f->rows, err)) ||
        (rc = block_expect(head, "head.grams", SIZE_MAX, &f->grams, err)) ||
        (rc = block_expect(head, "head.prototypes", tensor_count(f->rows),
                           &f->prototypes, err)) ||
        (rc = find_letters(head, &f->letters, err)) ||
        (rc = check_shapes(o, f, err)) || !state)
        return rc;
    labels = f->rows->shape[0];
    if ((rc = block_expect_squares(state, "head.row_acc", labels, &f->row_acc,
                                   err)) ||
        (rc = block_expect_squares(state, "head.gram_acc", f->grams->shape[0],
                          &f->gram_acc, err)) ||
        (rc = tensor_expect(state, "head.counts", TENSOR_I64, labels,
                            &f->counts, err)))
        return rc;
    return check_counts(f->counts, err);
}

static void copy(void *to, const struct tensor *from)
{
    if (from)
        memcpy(to, from->data, tensor_bytes(from));
}

static void load(struct head *h, const struct found *f)
{
    size_t gram_dim = f->grams->shape[1];

    set_shape(h, (f->rows->shape[1] - gram_dim) / 2, gram_dim,
              f->grams->shape[0]);
    h->letters = f->letters;
    head_need_labels(h, f->rows->shape[0]);
    h->grams = xfloats(h->n_slots * h->gram_dim);
    h->gram_acc = xfloats(h->n_slots);
    copy(h->rows, f->rows);
    copy(h->grams, f->grams);
    copy(h->prototypes, f->prototypes);
    copy(h->row_acc, f->row_acc);
    copy(h->gram_acc, f->gram_acc);
    copy(h->counts, f->counts);
    for (size_t c = 0; c < h->labels; c++) {
        head_rescale_row(h, c);
        head_rescale_prototype(h, c);
    }
}

int head_import(struct head *h, const struct tensor_list *head,
                const struct tensor_list *state, struct err *err)
{
    struct head *fresh;
    struct found f = {0};
    int rc;

    if (head->n > 0) {
        rc = find(&h->options, head, state, &f, err);
        if (rc)
            return rc;
    }
    fresh = head_create(&h->options);
    if (head->n > 0)
        load(fresh, &f);
    release(h);
    *h = *fresh;
    free(fresh);
    return 0;
}
