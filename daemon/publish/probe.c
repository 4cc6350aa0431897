/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/kernels/block.h"

static const char *const texts[PROBE_TEXTS] = {
    "The quick brown fox jumps over the lazy dog.",
    "2026-01-31 23:59:59 error: 404, path=/a/b?c=d",
    "Gr\xc3\xbc\xc3\x9f" "e, \xce\xbc\xce\xbd\xce\xae\xce\xbc\xce\xb7, "
    "\xe8\xae\xb0\xe5\xbf\x86.",
    "    return x < 0 ? -x : x;\n}\n",
};

/* The first tensor of the model with a value that is not finite, or NULL. The
 * index of replay and holdout is no part of the model. */
static const char *find_not_finite(const struct tensor_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct tensor *t = &l->items[i];

        if (t->type == TENSOR_F32 && strncmp(t->name, "replay.", 7) != 0 &&
            strncmp(t->name, "holdout.", 8) != 0 &&
            !block_finite(t->data, tensor_count(t)))
            return t->name;
    }
    return NULL;
}

/* The losses and class scores of the texts: nats[PROBE_TEXTS],
 * scores[PROBE_TEXTS][n_labels]. */
static int score_texts(const struct infer *f, double *nats, float *scores,
                       size_t n_labels, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < PROBE_TEXTS && rc == 0; i++) {
        struct infer_score score = {0};

        nats[i] = 0;
        if (infer_shape(f)) {
            rc = infer_score(f, texts[i], strlen(texts[i]), false, NULL, &score,
                             err);
            nats[i] = score.nats;
            infer_score_release(&score);
        }
        if (rc == 0 && n_labels) {
            rc = infer_classify(f, texts[i], strlen(texts[i]), NULL,
                                scores + i * n_labels, err);
            rc = rc == ERR_STATE ? 0 : rc; /* no label learned yet */
        }
    }
    return rc;
}

static void fail(struct probe *p, const char *what, const char *why)
{
    p->finite = false;
    snprintf(p->problem, sizeof p->problem, "%.100s: %.90s", what, why);
}

void probe_take(const struct snapshot *s, const struct model_shape *shape,
                const struct tokenizer *tokenizer,
                const struct infer_options *options, struct probe *p)
{
    const struct tensor_list *lists[] = {&s->weights, &s->state, &s->holdout,
                                         &s->anchor, &s->head, &s->ngram};
    struct infer *live = NULL;
    struct err err = ERR_INIT;

    memset(p, 0, sizeof *p);
    p->finite = true;
    for (size_t i = 0; p->finite && i < sizeof lists / sizeof *lists; i++) {
        const char *name = find_not_finite(lists[i]);

        if (name)
            fail(p, name, "not finite");
    }
    if (!p->finite)
        return;
    p->n_labels = s->labels.n;
    p->scores = xcalloc(PROBE_TEXTS * p->n_labels + 1, sizeof *p->scores);
    if (infer_create(shape, tokenizer, &s->weights, &s->head, &s->labels,
                     options, &live, &err) != 0 ||
        infer_add_ngram(live, &s->ngram, &err) != 0 ||
        score_texts(live, p->nats, p->scores, p->n_labels, &err) != 0)
        fail(p, "the live weights", err.msg);
    infer_free(live);
}

int probe_compare(const struct probe *p, const struct infer *read_back,
                  struct err *err)
{
    size_t n = infer_labels(read_back)->n;
    float *scores;
    double nats[PROBE_TEXTS];
    int rc;

    if (n != p->n_labels)
        return err_set(err, ERR_CORRUPT,
                       "%zu labels were read back, but %zu were written", n,
                       p->n_labels);
    scores = xcalloc(PROBE_TEXTS * n + 1, sizeof *scores);
    rc = score_texts(read_back, nats, scores, n, err);
    for (size_t i = 0; rc == 0 && i < PROBE_TEXTS; i++)
        if (memcmp(&nats[i], &p->nats[i], sizeof nats[i]) != 0)
            rc = err_set(err, ERR_CORRUPT,
                         "probe text %zu costs %.9g nats with the weights that "
                         "were read back, but %.9g with the live weights",
                         i + 1, nats[i], p->nats[i]);
    if (rc == 0 && memcmp(scores, p->scores,
                          PROBE_TEXTS * n * sizeof *scores) != 0)
        rc = err_set(err, ERR_CORRUPT,
                     "the class head that was read back and the live one "
                     "score the probe texts differently");
    free(scores);
    return rc;
}

void probe_release(struct probe *p)
{
    free(p->scores);
    memset(p, 0, sizeof *p);
}
