/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head_private.h - the insides of a class head, for head.c and head_train.c.
 *
 * D is the length of a feature: gram_dim, or 2 dim + gram_dim. P, the number
 * of its parts, is 1 or 3; each part has length 1 / sqrt(P), so that the whole
 * has length 1. A label that has been seen has a row that is not zero.
 *
 * Threads: as head.h says
 */
#ifndef MNEME_LEARNER_HEAD_PRIVATE_H
#define MNEME_LEARNER_HEAD_PRIVATE_H

#include "learner/tokenizer/grams.h"
#include "learner/head.h"

#define HEAD_SCALE 10.0f /* logit of a cosine of 1 */
#define HEAD_PARTS 3
#define HEAD_GRAM_START 0.05f /* n-gram embeddings begin within this */

struct head {
    struct head_options options;
    size_t dim, gram_dim, d;
    size_t n_slots;
    size_t labels, cap; /* rows in use, and room for */

    float *rows;            /* [cap][D] */
    float *row_scale;       /* [cap] 1 / length of the row; 0: unseen */
    float *row_acc;         /* [cap] AdaGrad: sum of squared gradients */
    float *prototypes;      /* [cap][D] running mean feature of a label */
    float *prototype_scale; /* [cap] 1 / length; 0: none */
    int64_t *counts;        /* [cap] examples seen */
    float *grams;           /* [n_slots][gram_dim]; NULL until a label is
                               seen */
    float *gram_acc;        /* [n_slots] */

    struct head_work *work; /* of a batch; NULL until then */
};

/* A text as the head sees it. */
struct head_feature {
    float scale[HEAD_PARTS]; /* 1 / length of each raw part; 0: empty */
    size_t gram_from, gram_to; /* its hashes in a list */
};

/*
 * The feature of a text with these n hashes.
 *   n_known  of the hashes that stand there: those behind n are needed next,
 *            and their rows are asked for from memory meanwhile
 *   scale    float[HEAD_PARTS] out: 1 / length of each raw part, 0: empty
 *   out      float[D]
 */
void head_feature(const struct head *h, const uint32_t *hashes, size_t n,
                  size_t n_known, const float *states, size_t n_states,
                  float *scale, float *out);

/* The sum of the rows of the table, in the order of the hashes: float[gram_dim]
 * out. */
void head_sum_grams(const struct head *h, const uint32_t *hashes, size_t n,
                    size_t n_known, float *out);

/* logits[n][labels] of features[n][D] over rows, 10 times the cosine. */
void head_logits(const struct head *h, const float *rows, const float *scale,
                 const float *features, size_t n, float *logits);

/* In place: logits of one example over seen labels to probabilities; unseen
 * ones get 0. Returns ln of the sum of exponentials. */
float head_softmax(const struct head *h, float *logits);

/* What is served: scores = (1 - share) scores + share prototype scores, both
 * probabilities. */
void head_blend(const struct head *h, float *scores, const float *prototypes);

/* Rows for labels up to n - 1. */
void head_need_labels(struct head *h, size_t n);
void head_need_grams(struct head *h);

/* After row c, or its prototype, has changed. */
void head_rescale_row(struct head *h, size_t c);
void head_rescale_prototype(struct head *h, size_t c);

void head_work_free(struct head_work *w);

static inline uint32_t head_slot(const struct head *h, uint32_t hash)
{
    return hash & (uint32_t)(h->n_slots - 1);
}

#endif
