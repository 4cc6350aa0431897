/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creates a struct infer: the tensors of a version are checked and copied, and
 * never change again. Only the pool of working memory changes. A call takes
 * memory from the pool, or allocates it, and gives it back. The pool keeps a
 * few of each kind.
 *
 * infer_read.c reads texts; infer_generate.c writes them, in passes that
 * generations share.
 */
#include "config.h"

#include "learner/infer/infer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/infer/infer_private.h"
#include "learner/kernels/ops.h"
#include "learner/kernels/packed.h"

#define KEPT_WORKS 4    /* unused works that the pool keeps of each kind */
#define KEPT_TOKENS 512 /* works for more tokens are freed after use */
#define LEAST_TOKENS 16 /* the smallest size; sizes double */

struct infer_pool {
    pthread_mutex_t lock;
    struct infer_work *kept[INFER_N_KINDS][KEPT_WORKS];
    size_t n[INFER_N_KINDS];
};

/* --- working memory ----------------------------------------------------- */

void infer_work_need(const struct infer *f, struct infer_work *w,
                     size_t n_tokens)
{
    size_t cap = LEAST_TOKENS;

    if (n_tokens <= w->max_tokens)
        return;
    while (cap < n_tokens)
        cap *= 2;
    frozen_work_free(w->frozen);
    free(w->loss);
    w->frozen = NULL;
    if (w->kind == INFER_READ)
        w->frozen = frozen_work_create(f->frozen, cap);
    w->loss = xfloats(cap);
    w->max_tokens = cap;
}

static struct infer_work *work_create(const struct infer *f,
                                      enum infer_kind kind)
{
    struct infer_work *w = xcalloc(1, sizeof *w);
    size_t v;

    w->kind = kind;
    if (!f->model)
        return w;
    v = (size_t)f->model->shape.vocab_size;
    w->logits = xfloats(v);
    w->scratch = xcalloc(v, sizeof *w->scratch);
    if (f->ngram) {
        w->mixed = xfloats(v);
        w->reader = ngram_reader_create(f->ngram);
    }
    if (kind == INFER_GENERATE)
        w->cache = xalloc_large(frozen_cache_floats(f->frozen) *
                                sizeof *w->cache);
    if (kind == INFER_GENERATE && f->ngram)
        w->losses = xfloats((size_t)f->model->shape.context);
    return w;
}

static void work_free(struct infer_work *w)
{
    frozen_work_free(w->frozen);
    batch_release(&w->batch);
    free(w->loss);
    free(w->logits);
    free(w->mixed);
    ngram_reader_free(w->reader);
    free(w->scratch);
    free(w->cache);
    free(w->losses);
    free(w);
}

struct infer_work *infer_work_get(const struct infer *f,
                                  enum infer_kind kind)
{
    struct infer_pool *p = f->pool;
    struct infer_work *w = NULL;

    pthread_mutex_lock(&p->lock);
    if (p->n[kind] > 0)
        w = p->kept[kind][--p->n[kind]];
    pthread_mutex_unlock(&p->lock);
    return w ? w : work_create(f, kind);
}

void infer_work_put(const struct infer *f, struct infer_work *w)
{
    struct infer_pool *p = f->pool;
    bool kept = w->max_tokens <= KEPT_TOKENS;

    pthread_mutex_lock(&p->lock);
    kept = kept && p->n[w->kind] < KEPT_WORKS;
    if (kept)
        p->kept[w->kind][p->n[w->kind]++] = w;
    pthread_mutex_unlock(&p->lock);
    if (!kept)
        work_free(w);
}

static struct infer_pool *pool_create(void)
{
    struct infer_pool *p = xcalloc(1, sizeof *p);

    BUG_ON(pthread_mutex_init(&p->lock, NULL) != 0);
    return p;
}

static void pool_free(struct infer_pool *p)
{
    for (int kind = 0; kind < INFER_N_KINDS; kind++)
        for (size_t i = 0; i < p->n[kind]; i++)
            work_free(p->kept[kind][i]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* --- loading a version -------------------------------------------------- */

static int load_tensor(struct infer *f, const struct model_tensor *m,
                       const struct tensor_list *weights, struct err *err)
{
    const struct tensor *t;
    int rc = model_expect(m, weights, &t, err);

    if (rc == 0)
        frozen_set_tensor(f->frozen, m, t->data);
    return rc;
}

static int load_weights(struct infer *f, const struct model_shape *shape,
                        const struct tokenizer *tokenizer,
                        const struct tensor_list *weights,
                        enum infer_quantize quantize, struct err *err)
{
    int rc = model_create(shape, &f->model, err);

    if (rc)
        return rc;
    if (!tokenizer || tokenizer_vocab_size(tokenizer) != shape->vocab_size)
        return err_set(err, ERR_CORRUPT,
                       "the tokenizer has %d ids, the model %d",
                       tokenizer ? tokenizer_vocab_size(tokenizer) : 0,
                       shape->vocab_size);
    f->tokenizer = tokenizer;
    f->frozen = frozen_create(f->model, quantize == INFER_INT8);
    for (size_t i = 0; rc == 0 && i < f->model->n_tensors; i++)
        rc = load_tensor(f, &f->model->tensors[i], weights, err);
    return rc;
}

/* head_import accepts any feature length. It must match the model's. */
static int check_feature(const struct tensor_list *head, int dim,
                         struct err *err)
{
    const struct tensor *rows = tensor_find(head, "head.rows");
    const struct tensor *grams = tensor_find(head, "head.grams");
    size_t states = (rows->shape[1] - grams->shape[1]) / 2;

    if (states == (size_t)dim)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "class head: made for states of %zu floats; the model "
                   "has %d",
                   states, dim);
}

static int load_head(struct infer *f, const struct tensor_list *head,
                     const struct names *labels, struct err *err)
{
    int dim = f->model ? f->model->shape.dim : 0;
    /* The tensors decide where an option is 0. */
    struct head_options options = {.dim = dim};
    int rc;

    f->head = head_create(&options);
    if (labels)
        names_copy(&f->labels, labels);
    if (!head || head->n == 0)
        return 0;
    if ((rc = head_import(f->head, head, NULL, err)) ||
        (rc = check_feature(head, dim, err)))
        return rc;
    if (head_labels(f->head) > f->labels.n)
        return err_set(err, ERR_CORRUPT,
                       "class head: %zu labels, but %zu have a name",
                       head_labels(f->head), f->labels.n);
    return 0;
}

void infer_options_default(struct infer_options *o)
{
    *o = (struct infer_options){.quantize = INFER_FLOAT, .pass_threads = 1};
}

int infer_create(const struct model_shape *shape,
                 const struct tokenizer *tokenizer,
                 const struct tensor_list *weights,
                 const struct tensor_list *head, const struct names *labels,
                 const struct infer_options *options, struct infer **infer,
                 struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct infer *f = xcalloc(1, sizeof *f);
    struct infer_options o;
    int rc = 0;

    pthread_once(&once, ops_init);
    infer_options_default(&o);
    if (options)
        o = *options;
    f->pool = pool_create();
    if (shape)
        rc = load_weights(f, shape, tokenizer, weights, o.quantize, err);
    f->figures = o.figures;
    if (rc == 0 && shape) {
        f->passes = shared_pass_create(f->frozen, o.pass_threads,
                                       SHARED_PASS_PATIENCE_MS, o.figures);
        f->prefixes = prefix_tree_create(o.prefixes, f->frozen);
    }
    if (rc == 0)
        rc = load_head(f, head, labels, err);
    if (rc) {
        infer_free(f);
        return rc;
    }
    *infer = f;
    return 0;
}

int infer_add_ngram(struct infer *f, const struct tensor_list *ngram,
                    struct err *err)
{
    if (!f->model || ngram->n == 0)
        return 0;
    BUG_ON(f->ngram != NULL);
    return ngram_import(ngram, f->model->shape.vocab_size, &f->ngram, err);
}

void infer_free(struct infer *f)
{
    if (!f)
        return;
    pool_free(f->pool);
    shared_pass_free(f->passes);
    prefix_tree_free(f->prefixes);
    ngram_free(f->ngram);
    names_release(&f->labels);
    head_free(f->head);
    frozen_free(f->frozen);
    model_free(f->model);
    free(f);
}

size_t infer_generation_bytes(const struct model_shape *s)
{
    size_t v = (size_t)s->vocab_size;
    size_t row = packed_columns((size_t)s->head_dim) + (size_t)s->head_dim;
    size_t cache = (size_t)s->layers * (size_t)s->kv_heads *
                   packed_columns((size_t)s->context) * row * sizeof(float);
    /* Logits, mixed, scratch of sample.h, count and adjusted. */
    size_t vocabulary = v * (4 * sizeof(float) +
                             sizeof(struct infer_alternative));

    size_t losses = (size_t)s->context * sizeof(float);

    return cache + vocabulary + losses +
           ngram_reader_bytes((size_t)s->context);
}

/* As work_create and infer_work_need take it. */
size_t infer_reading_bytes(const struct model_shape *s)
{
    size_t v = (size_t)s->vocab_size;

    return v * (2 * sizeof(float) + sizeof(struct infer_alternative)) +
           frozen_work_bytes(s, KEPT_TOKENS, true);
}

size_t infer_kept_bytes(const struct model_shape *s, int pass_threads)
{
    return KEPT_WORKS * (infer_generation_bytes(s) + infer_reading_bytes(s)) +
           (size_t)pass_threads *
               frozen_work_bytes(s, SHARED_PASS_PROMPT, false);
}

const struct tokenizer *infer_tokenizer(const struct infer *f)
{
    return f->tokenizer;
}

const struct model_shape *infer_shape(const struct infer *f)
{
    return f->model ? &f->model->shape : NULL;
}

const struct names *infer_labels(const struct infer *f)
{
    return &f->labels;
}

/* --- checks and errors -------------------------------------------------- */

int infer_need_model(const struct infer *f, struct err *err)
{
    if (f->model)
        return 0;
    return err_set(err, ERR_INVALID,
                   "this model only classifies: preset linear has no "
                   "Transformer");
}

int infer_check_ids(const struct infer *f, const token_id *ids, size_t n,
                    struct err *err)
{
    token_id v = (token_id)f->model->shape.vocab_size;

    for (size_t i = 0; i < n; i++)
        if (ids[i] >= v)
            return err_set(err, ERR_INVALID,
                           "token id %u: the vocabulary ends at %u", ids[i],
                           v - 1);
    return 0;
}

int infer_not_finite(struct err *err)
{
    return err_set(err, ERR_DIVERGED,
                   "the model's output is not finite: its weights are too "
                   "large; go back to another version");
}
