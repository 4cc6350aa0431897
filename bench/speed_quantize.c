/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model learns for a while. Then its loss on held-out text is compared with
 * the loss of the same weights as int8.
 *
 * The text's length alone decides which sequences are held out: one in
 * HELD_EVERY, and fewer of a long text. The model learns the others in steps of
 * STRIDE, again and again, so that the kinds of text are mixed from the start:
 *
 *     number     0  1  2  3 ... E-1  E  E+1 ...     E: held out one in E
 *     held out   x                   x
 */
#include "config.h"

#include "bench/speed.h"

#include <math.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "learner/learner.h"

#define VOCAB 257 /* bytes and the end-of-text token */
#define HELD_EVERY 16
#define HELD_MOST 96
#define STRIDE 7919 /* a prime */
#define FULL_SECONDS 0.5
#define RATE_TIMES_WIDTH 0.28f /* the daemon's default */

struct quantize {
    const struct speed_options *options;
    const struct shape *shape;
    struct model_shape model;
    const struct tokenizer *tokenizer;
    struct learner *learner;
    size_t n, every, next;  /* sequences; one in `every` is held out; number */
    struct segment *batch;  /* [shape->batch] */
    struct segment *held;   /* [n_held] */
    size_t n_held;
    double *nats;           /* [n_held] */
};

/* --- text --------------------------------------------------------------- */

static int sequence(struct quantize *z, size_t number, struct segment *s,
                    struct err *err)
{
    return corpus_segments(z->options->corpus, VOCAB, z->shape->sequence,
                           number, 1, s, err);
}

static int hold_out(struct quantize *z, struct err *err)
{
    int rc = corpus_count(z->options->corpus, VOCAB, z->shape->sequence,
                          &z->n, err);

    if (rc)
        return rc;
    if (z->n < 2)
        return err_set(err, ERR_LIMIT, "the text is too short");
    if (z->n % STRIDE == 0)
        z->n--; /* otherwise the steps would miss some sequences */
    z->every = z->n / HELD_MOST > HELD_EVERY ? z->n / HELD_MOST : HELD_EVERY;
    z->held = xcalloc(z->n / z->every + 1, sizeof *z->held);
    z->nats = xcalloc(z->n / z->every + 1, sizeof *z->nats);
    for (size_t i = 0; rc == 0 && i < z->n; i += z->every)
        rc = sequence(z, i, &z->held[z->n_held++], err);
    return rc;
}

/* Returns the number of the next sequence that is not held out. */
static size_t next_number(struct quantize *z)
{
    do {
        z->next = (z->next + STRIDE) % z->n;
    } while (z->next % z->every == 0);
    return z->next;
}

/* --- learning ----------------------------------------------------------- */

static int quantize_init(struct quantize *z, const struct speed_options *o,
                         const struct shape *s, struct err *err)
{
    struct learner_options options;
    int rc;

    *z = (struct quantize){.options = o, .shape = s, .model = s->model};
    z->model.vocab_size = VOCAB;
    z->batch = xcalloc(s->batch, sizeof *z->batch);
    learner_options_default(&options);
    options.shape = &z->model;
    options.threads = o->threads;
    options.optim.lr = RATE_TIMES_WIDTH / (float)s->model.dim;
    options.ewc.enabled = false;
    rc = corpus_tokenizer(o->corpus, VOCAB, &z->tokenizer, err);
    if (rc == 0)
        rc = hold_out(z, err);
    options.tokenizer = z->tokenizer;
    if (rc == 0)
        rc = learner_create(&options, &z->learner, err);
    return rc;
}

static void quantize_release(struct quantize *z)
{
    learner_free(z->learner);
    free(z->batch);
    free(z->held);
    free(z->nats);
}

static int step(struct quantize *z, struct err *err)
{
    struct learner_step_input in = {.fresh = z->batch,
                                    .n_fresh = z->shape->batch};
    struct learner_step_output out = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < in.n_fresh; i++)
        rc = sequence(z, next_number(z), &z->batch[i], err);
    return rc ? rc : learner_step(z->learner, &in, &out, err);
}

static int learn(struct quantize *z, size_t *n_tokens, struct err *err)
{
    double share = z->options->seconds / FULL_SECONDS;
    double wanted = SPEED_QUANTIZE_TOKENS * (share < 1.0 ? share : 1.0);
    int rc = 0;

    for (*n_tokens = 0; rc == 0 && (double)*n_tokens < wanted;
         *n_tokens += z->shape->sequence * z->shape->batch) {
        rc = speed_progress(z->options, 0.9 * (double)*n_tokens / wanted, err);
        if (rc == 0)
            rc = step(z, err);
    }
    return rc;
}

/* --- scoring ------------------------------------------------------------ */

static int score(struct quantize *z, const struct tensor_list *weights,
                 enum infer_quantize quantize, double *bits_per_byte,
                 struct err *err)
{
    struct infer_options options = {.quantize = quantize};
    double bytes = (double)(z->n_held * z->shape->sequence), sum = 0.0;
    struct infer *f = NULL;
    int rc = infer_create(&z->model, z->tokenizer, weights, NULL, NULL,
                          &options, &f, err);

    if (rc == 0)
        rc = infer_segments(f, z->held, z->n_held, z->nats, NULL,
                            z->options->stop, err);
    for (size_t i = 0; rc == 0 && i < z->n_held; i++)
        sum += z->nats[i];
    infer_free(f);
    *bits_per_byte = sum / log(2.0) / bytes;
    return rc;
}

int speed_quantize(const struct speed_options *o, const struct shape *s,
                   struct speed_quantize *q, struct err *err)
{
    struct tensor_list weights = TENSOR_LIST_INIT;
    struct quantize z;
    int rc = quantize_init(&z, o, s, err);

    *q = (struct speed_quantize){.shape = s->name,
                                 .chunks = z.n_held,
                                 .bytes = z.n_held * s->sequence};
    if (rc == 0)
        rc = learn(&z, &q->trained_tokens, err);
    if (rc == 0) {
        learner_export(z.learner, &weights, NULL, NULL, NULL, NULL);
        rc = score(&z, &weights, INFER_FLOAT, &q->bits_per_byte, err);
    }
    if (rc == 0)
        rc = score(&z, &weights, INFER_INT8, &q->int8_bits_per_byte, err);
    q->loss_percent = 100.0 * (q->int8_bits_per_byte / q->bits_per_byte - 1.0);
    tensor_list_release(&weights);
    quantize_release(&z);
    return rc;
}
