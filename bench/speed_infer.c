/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version that answers has random weights of the usual initial size. The
 * output row of the end-of-text token is zero, and the likeliest token is
 * always taken: so no completion ends early.
 */
#include "config.h"

#include "bench/speed.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "learner/model.h"
#include "learner/kernels/workers.h"

#define LEAST_VOCAB 257
#define WEIGHT_MOST 0.035f /* uniform in +- this: deviation 0.02 */

enum { FLOAT, INT8, N_KINDS };

struct reader;

typedef int reader_fn(struct reader *r, struct err *err);

/* answers is infer[FLOAT] or infer[INT8]. */
struct reader {
    const struct shape *shape;
    struct infer *infer[N_KINDS], *answers;
    reader_fn *answer;
    struct segment *segments; /* [shape->batch] */
    double *nats;             /* [shape->batch] */
    struct workers *workers;
    size_t n_pieces;
    int *rcs;         /* [n_pieces] */
    struct err *errs; /* [n_pieces] */
};

/* --- a version ---------------------------------------------------------- */

/* The linear congruential generator of Numerical Recipes. */
static float next_weight(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return ((float)(*state >> 8) / (float)(1 << 23) - 1.0f) * WEIGHT_MOST;
}

static void add_weights(const struct model *m, token_id end,
                        struct tensor_list *out)
{
    uint32_t state = 1;

    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];
        float *w = tensor_add_copy(out, t->name, TENSOR_F32, t->n_dims,
                                   t->shape, NULL);
        size_t row = t->n_dims == 2 ? t->shape[1] : 0;

        for (size_t k = 0; k < t->count; k++)
            w[k] = t->n_dims == 1 ? 1.0f : next_weight(&state);
        if (t->offset == m->lm_head)
            for (size_t k = 0; k < row; k++)
                w[end * row + k] = 0.0f;
    }
}

static int make_infers(const struct model_shape *shape,
                       const struct tokenizer *tokenizer,
                       struct infer *infer[N_KINDS], struct err *err)
{
    static const struct infer_options options[N_KINDS] = {
        [FLOAT] = {.quantize = INFER_FLOAT},
        [INT8] = {.quantize = INFER_INT8},
    };
    struct tensor_list weights = TENSOR_LIST_INIT;
    struct model *m;
    int rc = model_create(shape, &m, err);

    if (rc)
        return rc;
    add_weights(m, tokenizer_end_of_text(tokenizer), &weights);
    for (int i = 0; rc == 0 && i < N_KINDS; i++)
        rc = infer_create(shape, tokenizer, &weights, NULL, NULL, &options[i],
                          &infer[i], err);
    tensor_list_release(&weights);
    model_free(m);
    return rc;
}

static int reader_init(struct reader *r, const struct speed_options *o,
                       const struct shape *s, struct err *err)
{
    struct model_shape shape = s->model;
    const struct tokenizer *tokenizer;
    int rc;

    *r = (struct reader){.shape = s, .n_pieces = (size_t)o->threads};
    if (shape.vocab_size < LEAST_VOCAB)
        shape.vocab_size = LEAST_VOCAB;
    r->segments = xcalloc(s->batch, sizeof *r->segments);
    r->nats = xcalloc(s->batch, sizeof *r->nats);
    r->rcs = xcalloc(r->n_pieces, sizeof *r->rcs);
    r->errs = xcalloc(r->n_pieces, sizeof *r->errs);
    rc = corpus_tokenizer(o->corpus, shape.vocab_size, &tokenizer, err);
    if (rc == 0)
        rc = corpus_segments(o->corpus, shape.vocab_size, s->sequence, 0,
                             s->batch, r->segments, err);
    if (rc == 0)
        rc = make_infers(&shape, tokenizer, r->infer, err);
    return rc;
}

static void reader_release(struct reader *r)
{
    workers_free(r->workers);
    for (int i = 0; i < N_KINDS; i++)
        infer_free(r->infer[i]);
    free(r->segments);
    free(r->nats);
    free(r->rcs);
    free(r->errs);
}

/* --- alternating windows ------------------------------------------------ */

static int with_float(void *arg, struct err *err)
{
    struct reader *r = arg;

    r->answers = r->infer[FLOAT];
    return r->answer(r, err);
}

static int with_int8(void *arg, struct err *err)
{
    struct reader *r = arg;

    r->answers = r->infer[INT8];
    return r->answer(r, err);
}

/* A call of `answer` computes n_tokens. */
static int measure(const struct speed_options *o, struct reader *r,
                      reader_fn *answer, size_t n_tokens,
                      struct speed_answers *a, struct err *err)
{
    const struct speed_turn turns[] = {
        {with_float, r, (double)n_tokens, &a->rate},
        {with_int8, r, (double)n_tokens, &a->int8_rate},
    };

    r->answer = answer;
    return speed_turns(o, turns, N_KINDS, err);
}

/* --- scoring ------------------------------------------------------------ */

/* Scores a share of the batch, which may be empty. */
static void score_piece(void *arg, size_t piece)
{
    struct reader *r = arg;
    size_t from = r->shape->batch * piece / r->n_pieces;
    size_t to = r->shape->batch * (piece + 1) / r->n_pieces;

    r->rcs[piece] = infer_segments(r->answers, r->segments + from, to - from,
                                   r->nats + from, NULL, NULL,
                                   &r->errs[piece]);
}

static int score(struct reader *r, struct err *err)
{
    workers_run(r->workers, score_piece, r, r->n_pieces);
    for (size_t i = 0; i < r->n_pieces; i++)
        if (r->rcs[i]) {
            *err = r->errs[i];
            return r->rcs[i];
        }
    return 0;
}

int speed_score(const struct speed_options *o, const struct shape *s,
                struct speed_answers *a, struct err *err)
{
    struct reader r;
    int rc = reader_init(&r, o, s, err);

    if (rc == 0)
        rc = workers_create(o->threads, &r.workers, err);
    if (rc == 0)
        rc = measure(o, &r, score, s->sequence * s->batch, a, err);
    reader_release(&r);
    return rc;
}

/* --- generation --------------------------------------------------------- */

static int generate(struct reader *r, struct err *err)
{
    struct infer_completion completion;
    struct infer_sampling sampling;
    size_t got;
    int rc;

    infer_sampling_default(&sampling);
    sampling.max_tokens = (int)r->shape->new_tokens;
    sampling.temperature = 0.0f;
    rc = infer_complete(r->answers, r->segments->tokens, SHAPE_PROMPT_TOKENS,
                        &sampling, NULL, &completion, err);
    if (rc)
        return rc;
    got = completion.tokens.n;
    infer_completion_release(&completion);
    if (got == r->shape->new_tokens)
        return 0;
    return err_set(err, ERR_STATE, "%zu tokens were generated, not %zu", got,
                   r->shape->new_tokens);
}

int speed_generate(const struct speed_options *o, const struct shape *s,
                   struct speed_answers *a, struct err *err)
{
    struct reader r;
    int rc = reader_init(&r, o, s, err);

    a->prompt_tokens = SHAPE_PROMPT_TOKENS;
    a->new_tokens = s->new_tokens;
    if (rc == 0)
        rc = measure(o, &r, generate, s->new_tokens, a, err);
    reader_release(&r);
    return rc;
}
