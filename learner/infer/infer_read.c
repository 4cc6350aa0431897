/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading texts: scores, losses for the gate, classes, embeddings, echo.
 *
 * All of them cut their input into segments and call read_all. It fills a
 * piece with as many segments as fit (at least one), runs one forward pass,
 * and calls a function for each segment with its losses and final states. So
 * the piece and the context bound the memory, however long the text is.
 *
 * The losses are of the mixture with the n-gram memory. Only echo gets those of
 * the Transformer, and mixes them itself: it needs whole distributions between
 * two tokens.
 */
#include "config.h"

#include "learner/infer/infer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/tokenizer/cut.h"
#include "learner/infer/infer_private.h"
#include "learner/infer/sample.h"

#define PIECE_TOKENS 512
#define GATE_PIECE_TOKENS 2048

/* A segment after the forward pass. */
struct visit {
    size_t index; /* index of the segment */
    const struct segment *segment;
    const float *loss;   /* [n_tokens], mixed; NULL when not wanted */
    const float *states; /* [n_tokens][C]; NULL for preset linear */
    struct infer_work *work;
};

/* What read_all reads, and the function it calls. */
struct reading {
    const struct infer *f;
    const struct segment *segments;
    size_t n;
    size_t piece_tokens;
    bool want_loss;
    bool unmixed; /* the losses are the Transformer's */
    const struct cancel *cancel;
    void (*visit)(const struct visit *v, void *arg);
    void *arg;
};

/* --- reading segments --------------------------------------------------- */

/* Fills the batch from segment `from` on. Returns the next segment. */
static size_t fill(const struct reading *r, size_t from, struct batch *b)
{
    size_t i = from;

    batch_clear(b);
    do {
        batch_add(b, &r->segments[i++]);
    } while (i < r->n &&
             b->n_tokens + r->segments[i].n_tokens <= r->piece_tokens);
    return i;
}

static int forward(const struct reading *r, struct infer_work *w,
                   struct err *err)
{
    size_t n = w->batch.n_tokens;
    bool finite;

    infer_work_need(r->f, w, n);
    frozen_read(r->f->frozen, &w->batch, w->frozen,
                r->want_loss ? w->loss : NULL);
    finite = r->want_loss ? block_finite(w->loss, n)
                          : block_finite(frozen_states(w->frozen),
                                         n * (size_t)r->f->model->shape.dim);
    return finite ? 0 : infer_not_finite(err);
}

/* Replaces the losses of the batch by those of the mixture. */
static void mix_losses(const struct reading *r, size_t from, size_t to,
                       struct infer_work *w)
{
    for (size_t i = from; i < to; i++) {
        float *loss = w->loss + w->batch.starts[i - from];

        ngram_reader_segment(w->reader, &r->segments[i], loss, loss);
    }
}

static void visit_piece(const struct reading *r, size_t from, size_t to,
                        struct infer_work *w)
{
    const struct model *m = r->f->model;

    for (size_t i = from; i < to; i++) {
        struct visit v = {
            .index = i,
            .segment = &r->segments[i],
            .work = w,
        };

        if (m) {
            size_t at = w->batch.starts[i - from];

            v.states = frozen_states(w->frozen) + at * (size_t)m->shape.dim;
            v.loss = r->want_loss ? w->loss + at : NULL;
        }
        r->visit(&v, r->arg);
    }
}

static int read_all(const struct reading *r, struct err *err)
{
    struct infer_work *w = infer_work_get(r->f, INFER_READ);
    int rc = 0;

    for (size_t from = 0, to; rc == 0 && from < r->n; from = to) {
        to = from + 1; /* preset linear gains nothing from a batch */
        rc = cancel_check(r->cancel, err);
        if (rc == 0 && r->f->model) {
            to = fill(r, from, &w->batch);
            rc = forward(r, w, err);
            if (rc == 0 && r->f->ngram && r->want_loss && !r->unmixed)
                mix_losses(r, from, to, w);
        }
        if (rc == 0)
            visit_piece(r, from, to, w);
    }
    infer_work_put(r->f, w);
    return rc;
}

/* Cuts a text into segments. Release c also after an error. */
static int cut(const struct infer *f, const char *text, size_t n_bytes,
               const struct cancel *cancel, struct cut *c, struct err *err)
{
    struct token_list ids = TOKEN_LIST_INIT;
    int rc;

    if (!f->model) {
        cut_record(c, NULL, 0, NULL, 0, text ? text : "", n_bytes, -1, -1);
        return 0;
    }
    rc = tokenizer_encode_cancellable(f->tokenizer, text, n_bytes, cancel, &ids,
                                      err);
    if (rc == 0)
        cut_ids(c, f->tokenizer, (size_t)f->model->shape.context, ids.items,
                ids.n);
    token_list_release(&ids);
    return rc;
}

/* Counts the targets of a segment, without the end-of-text token. */
static size_t text_targets(const struct segment *s)
{
    return s->n_tokens - (s->ends && s->n_tokens > 0);
}

/* --- scores ------------------------------------------------------------- */

static void visit_score(const struct visit *v, void *arg)
{
    struct infer_score *score = arg;
    size_t n = text_targets(v->segment);

    for (size_t i = 0; i < n; i++) {
        score->nats += (double)v->loss[i];
        if (score->logprobs)
            score->logprobs[score->n_tokens + i] = -v->loss[i];
    }
    score->n_tokens += n;
}

static void keep_tokens(const struct cut *c, struct infer_score *score)
{
    size_t n = c->tokens.n - 2; /* without those of the text's ends */

    for (size_t i = 0; i < n; i++)
        token_list_add(&score->tokens, c->tokens.items[i + 1]);
    score->logprobs = xcalloc(n, sizeof *score->logprobs);
}

int infer_score(const struct infer *f, const char *text, size_t n_bytes,
                bool want_tokens, const struct cancel *cancel,
                struct infer_score *score, struct err *err)
{
    struct infer_score out = {.n_bytes = n_bytes};
    struct cut c = CUT_INIT;
    int rc = infer_need_model(f, err);

    memset(score, 0, sizeof *score);
    if (rc)
        return rc;
    rc = cut(f, text, n_bytes, cancel, &c, err);
    if (rc == 0 && want_tokens)
        keep_tokens(&c, &out);
    if (rc == 0)
        rc = read_all(&(struct reading){.f = f,
                                        .segments = c.segments,
                                        .n = c.n_segments,
                                        .piece_tokens = PIECE_TOKENS,
                                        .want_loss = true,
                                        .cancel = cancel,
                                        .visit = visit_score,
                                        .arg = &out},
                      err);
    cut_release(&c);
    if (rc) {
        infer_score_release(&out);
        return rc;
    }
    if (n_bytes)
        out.bits_per_byte = out.nats / log(2.0) / (double)n_bytes;
    out.perplexity = exp(out.n_tokens ? out.nats / (double)out.n_tokens : 0.0);
    *score = out;
    return 0;
}

void infer_score_release(struct infer_score *s)
{
    token_list_release(&s->tokens);
    free(s->logprobs);
    memset(s, 0, sizeof *s);
}

/* --- classes ------------------------------------------------------------ */

/* Computes the class head's probabilities for a segment: [head_labels]. */
static void score_classes(const struct infer *f, const struct visit *v,
                          float *scores)
{
    struct buf text = BUF_INIT;

    cut_text(v->segment, f->tokenizer, &text);
    head_scores(f->head, text.data ? text.data : "", text.len, v->states,
                v->segment->n_tokens, scores);
    buf_release(&text);
}

struct classify {
    const struct infer *f;
    float *one; /* [head_labels] of one segment */
    float *sum; /* [labels.n] */
};

static void visit_classify(const struct visit *v, void *arg)
{
    struct classify *c = arg;

    score_classes(c->f, v, c->one);
    for (size_t i = 0; i < head_labels(c->f->head); i++)
        c->sum[i] += c->one[i];
}

int infer_classify(const struct infer *f, const char *text, size_t n_bytes,
                   const struct cancel *cancel, float *scores, struct err *err)
{
    struct classify c = {.f = f, .sum = scores};
    struct cut pieces = CUT_INIT;
    int rc = 0;

    if (head_labels(f->head) == 0)
        return err_set(err, ERR_STATE,
                       "no labels yet: send records with a `label` first");
    memset(scores, 0, f->labels.n * sizeof *scores);
    c.one = xfloats(head_labels(f->head));
    rc = cut(f, text, n_bytes, cancel, &pieces, err);
    if (rc == 0)
        rc = read_all(&(struct reading){.f = f,
                                        .segments = pieces.segments,
                                        .n = pieces.n_segments,
                                        .piece_tokens = PIECE_TOKENS,
                                        .cancel = cancel,
                                        .visit = visit_classify,
                                        .arg = &c},
                      err);
    for (size_t i = 0; rc == 0 && i < f->labels.n; i++)
        scores[i] /= (float)pieces.n_segments;
    cut_release(&pieces);
    free(c.one);
    return rc;
}

/* --- the gate ----------------------------------------------------------- */

struct gate_reading {
    const struct infer *f;
    double *nats;
    uint8_t *right;
    float *scores; /* [head_labels] */
};

static bool classified_right(struct gate_reading *g, const struct visit *v)
{
    size_t n = head_labels(g->f->head), best = 0;

    if (v->segment->label < 0 || (size_t)v->segment->label >= n)
        return false;
    score_classes(g->f, v, g->scores);
    for (size_t i = 1; i < n; i++)
        if (g->scores[i] > g->scores[best])
            best = i;
    return best == (size_t)v->segment->label;
}

static void visit_gate(const struct visit *v, void *arg)
{
    struct gate_reading *g = arg;
    size_t n = text_targets(v->segment);
    double nats = 0.0;

    for (size_t i = v->segment->n_masked; v->loss && i < n; i++)
        nats += (double)v->loss[i];
    g->nats[v->index] = nats;
    if (g->right)
        g->right[v->index] = classified_right(g, v);
}

/* Checks segments, which come from the database, against this model. */
static int check_segments(const struct infer *f,
                          const struct segment *segments, size_t n,
                          struct err *err)
{
    size_t context = f->model ? (size_t)f->model->shape.context : 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct segment *s = &segments[i];

        if (!f->model) {
            if (!s->text)
                rc = err_set(err, ERR_INVALID,
                             "segment %zu has no text, which preset linear "
                             "classifies",
                             i);
        } else if (s->n_tokens == 0 || s->n_tokens > context ||
                   s->n_masked > s->n_tokens) {
            rc = err_set(err, ERR_INVALID,
                         "segment %zu has %u tokens, %u of them masked; the "
                         "context is %zu",
                         i, (unsigned)s->n_tokens, (unsigned)s->n_masked,
                         context);
        } else {
            rc = infer_check_ids(f, s->tokens, (size_t)s->n_tokens + 1, err);
        }
    }
    return rc;
}

static int check_stop(void *arg, struct err *err)
{
    const atomic_bool *const *stop = arg;

    if (!*stop || !atomic_load(*stop))
        return 0;
    return err_set(err, ERR_AGAIN, "stopped while reading segments");
}

int infer_segments(const struct infer *f, const struct segment *segments,
                   size_t n, double *nats, uint8_t *right,
                   const atomic_bool *stop, struct err *err)
{
    struct gate_reading g = {.f = f, .nats = nats, .right = right};
    struct cancel cancel = {check_stop, &stop};
    int rc = check_segments(f, segments, n, err);

    if (rc)
        return rc;
    g.scores = xfloats(head_labels(f->head));
    rc = read_all(&(struct reading){.f = f,
                                    .segments = segments,
                                    .n = n,
                                    .piece_tokens = GATE_PIECE_TOKENS,
                                    .want_loss = true,
                                    .cancel = &cancel,
                                    .visit = visit_gate,
                                    .arg = &g},
                  err);
    free(g.scores);
    return rc;
}

/* --- embeddings --------------------------------------------------------- */

struct embedding {
    double *sum; /* [C] */
    size_t dim;
};

static void visit_embed(const struct visit *v, void *arg)
{
    struct embedding *e = arg;

    for (size_t i = 0; i < v->segment->n_tokens; i++)
        for (size_t j = 0; j < e->dim; j++)
            e->sum[j] += (double)v->states[i * e->dim + j];
}

/* Uses the sum instead of the mean: both have the same direction. */
static void to_unit_length(const double *sum, size_t n, float *out)
{
    double squares = 0.0;

    for (size_t j = 0; j < n; j++)
        squares += sum[j] * sum[j];
    for (size_t j = 0; j < n; j++)
        out[j] = squares > 0.0 ? (float)(sum[j] / sqrt(squares)) : 0.0f;
}

int infer_embed(const struct infer *f, const token_id *ids, size_t n,
                const struct cancel *cancel, float *out, struct err *err)
{
    struct embedding e = {0};
    struct cut c = CUT_INIT;
    int rc = infer_need_model(f, err);

    if (rc || (rc = infer_check_ids(f, ids, n, err)))
        return rc;
    e.dim = (size_t)f->model->shape.dim;
    e.sum = xcalloc(e.dim, sizeof *e.sum);
    cut_ids(&c, f->tokenizer, (size_t)f->model->shape.context, ids, n);
    rc = read_all(&(struct reading){.f = f,
                                    .segments = c.segments,
                                    .n = c.n_segments,
                                    .piece_tokens = PIECE_TOKENS,
                                    .cancel = cancel,
                                    .visit = visit_embed,
                                    .arg = &e},
                  err);
    if (rc == 0)
        to_unit_length(e.sum, e.dim, out);
    cut_release(&c);
    free(e.sum);
    return rc;
}

/* --- echo --------------------------------------------------------------- */

struct echo {
    const struct infer *f;
    size_t n_alternatives;
    size_t done; /* prompt ids that are done */
    bool finite;
    float *logprobs;
    struct infer_alternative *alternatives;
};

static void best_at(struct echo *e, const float *state, struct infer_work *w)
{
    size_t v = (size_t)e->f->model->shape.vocab_size;
    const float *logprobs = w->logits;

    frozen_logits(e->f->frozen, state, w->frozen, w->logits);
    e->finite = e->finite && sample_logprobs(w->logits, v);
    if (!e->finite)
        return;
    if (e->f->ngram) {
        ngram_reader_distribution(w->reader, w->logits, w->mixed);
        logprobs = w->mixed;
    }
    sample_best(logprobs, v, e->n_alternatives, w->scratch,
                e->alternatives + e->done * e->n_alternatives);
}

static void visit_echo(const struct visit *v, void *arg)
{
    struct echo *e = arg;
    size_t dim = (size_t)e->f->model->shape.dim;
    struct ngram_reader *reader = v->work->reader;

    if (reader)
        ngram_reader_start(reader, v->segment->tokens[0]);
    for (size_t i = 0; i < v->segment->n_tokens; i++) {
        if (e->n_alternatives)
            best_at(e, v->states + i * dim, v->work);
        e->logprobs[e->done] = -v->loss[i];
        if (reader)
            e->logprobs[e->done] =
                (float)-ngram_reader_next(reader, v->segment->tokens[i + 1],
                                          (double)v->loss[i]);
        e->done++;
    }
}

/*
 * Cuts the prompt as a record would be cut. If the prompt begins with the token
 * that begins a text, that id gets a segment of its own, and the rest is cut as
 * without it.
 *   tokens  [n + 1] the token that begins a text, then the prompt
 *   own     the prompt's first id is that token
 */
static size_t cut_prompt(const token_id *tokens, size_t n, bool own,
                         size_t context, struct segment *segments)
{
    const token_id *from = own ? tokens + 1 : tokens;
    size_t left = own ? n - 1 : n, k = 0;

    if (own)
        segments[k++] = (struct segment){.tokens = tokens, .n_tokens = 1};
    while (left > 0) {
        size_t take = left < context ? left : context;

        segments[k++] =
            (struct segment){.tokens = from, .n_tokens = (uint32_t)take};
        from += take;
        left -= take;
    }
    return k;
}

static int check_echo(const struct infer *f, const token_id *prompt, size_t n,
                      int n_alternatives, struct err *err)
{
    int rc = infer_need_model(f, err);

    if (rc)
        return rc;
    if (n_alternatives < 0 || n_alternatives > f->model->shape.vocab_size)
        return err_set(err, ERR_INVALID, "%d alternatives: must be 0 to %d",
                       n_alternatives, f->model->shape.vocab_size);
    return infer_check_ids(f, prompt, n, err);
}

int infer_prompt_logprobs(const struct infer *f, const token_id *prompt,
                          size_t n, int n_alternatives,
                          const struct cancel *cancel, float *logprobs,
                          struct infer_alternative *alternatives,
                          struct err *err)
{
    struct echo e = {.f = f,
                     .n_alternatives = (size_t)n_alternatives,
                     .finite = true,
                     .logprobs = logprobs,
                     .alternatives = alternatives};
    struct reading r = {.f = f,
                        .piece_tokens = PIECE_TOKENS,
                        .want_loss = true,
                        .unmixed = true,
                        .cancel = cancel,
                        .visit = visit_echo,
                        .arg = &e};
    int rc = check_echo(f, prompt, n, n_alternatives, err);
    struct segment *segments;
    token_id *tokens, begin;
    size_t context;

    if (rc || n == 0)
        return rc;
    context = (size_t)f->model->shape.context;
    begin = tokenizer_begin_of_text(f->tokenizer);
    tokens = xcalloc(n + 1, sizeof *tokens);
    tokens[0] = begin;
    memcpy(tokens + 1, prompt, n * sizeof *tokens);
    segments = xcalloc(n / context + 2, sizeof *segments);
    r.segments = segments;
    r.n = cut_prompt(tokens, n, prompt[0] == begin, context, segments);
    rc = read_all(&r, err);
    free(segments);
    free(tokens);
    return rc || e.finite ? rc : infer_not_finite(err);
}
