/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head_private.h - the fields of a class head, for head.c, which predicts, and
 * head_train.c, which trains.
 *
 * D is the length of a feature: gram_dim, or 2 dim + gram_dim. P, the number
 * of its parts, is 1 or 3. Each part has length 1 / sqrt(P), so the feature
 * has length 1. The row of a label that has been seen is not zero.
 *
 * Threads: as in head.h
 */
#ifndef MNEME_LEARNER_HEAD_PRIVATE_H
#define MNEME_LEARNER_HEAD_PRIVATE_H

#include "learner/tokenizer/grams.h"
#include "learner/head.h"

#define HEAD_SCALE 7.0f      /* logit of a cosine of 1 */
#define HEAD_OLD_SCALE 10.0f /* of a head without letters: an older program */
#define HEAD_PARTS 3
/* n-gram embeddings start uniform in [-0.05, 0.05) */
#define HEAD_GRAM_START 0.05f

struct head {
    struct head_options options;
    size_t dim, gram_dim, d;
    size_t n_slots;
    bool letters; /* features have runs of letters; false: imported without */
    size_t labels, cap; /* rows in use, rows allocated */

    float *rows;            /* [cap][D] */
    float *row_scale;       /* [cap] 1 / length of the row; 0: label not seen */
    float *row_acc;         /* [cap] AdaGrad's sum of squared gradients */
    float *prototypes;      /* [cap][D] running mean feature of each label */
    float *prototype_scale; /* [cap] 1 / length of the prototype; 0: no
                               prototype */
    int64_t *counts;        /* [cap] examples seen of each label */
    float *grams;           /* [n_slots][gram_dim]; NULL until the first
                               label */
    float *gram_acc;        /* [n_slots] */

    struct head_work *work; /* NULL until the first batch */
};

/* What the backward pass needs to know of a text's feature. */
struct head_feature {
    float scale[HEAD_PARTS];   /* 1 / length of each part before scaling */
    size_t gram_from, gram_to; /* the text's hashes are [gram_from, gram_to) of
                                  a list */
};

/* Working memory for n examples and `labels` labels. */
struct head_work {
    size_t cap_examples, cap_labels;
    struct head_example **members; /* [n] */
    struct head_feature *parts;    /* [n] */
    struct gram_list grams;        /* hashes of all members */
    float *features, *dfeatures;   /* [n][D] */
    float *logits;                 /* [n][labels] logits, then their
                                      gradients */
    float *near_logits;            /* [n][labels] logits of the
                                      prototypes */
    float *drows;                  /* [labels][D] */
    float *ds_dot_s;               /* [labels] sum over members of ds s */
    float *scores;                 /* [labels] */
    float *frequency;              /* [labels] of the label in the batch */
};

/*
 * Computes the feature of a text.
 *   hashes   the text's hashes; n_known - n hashes of the next texts follow
 *            them, and their table rows are prefetched
 *   scale    float[HEAD_PARTS] out: 1 / length of each part before scaling,
 *            0: empty
 *   out      float[D]
 */
void head_feature(const struct head *h, const uint32_t *hashes, size_t n,
                  size_t n_known, const float *states, size_t n_states,
                  float *scale, float *out);

/* Appends the hashes of a text, in the order in which they are summed.
 *   grams  [n_grams] those of the words and pairs; NULL: not known */
void head_find_grams(const struct head *h, const char *text, size_t n_bytes,
                     const uint32_t *grams, size_t n_grams,
                     struct gram_list *list);

/* Sums the table rows of the hashes, in order, to float[gram_dim] out. */
void head_sum_grams(const struct head *h, const uint32_t *hashes, size_t n,
                    size_t n_known, float *out);

/* The logit of a cosine of 1. Versions that an older program published keep
 * theirs, so that they give the same answers. */
static inline float head_scale(const struct head *h)
{
    return h->letters ? HEAD_SCALE : HEAD_OLD_SCALE;
}

/* Computes logits[n][labels], head_scale times the cosine of features[n][D] and
 * the rows. */
void head_logits(const struct head *h, const float *rows, const float *scale,
                 const float *features, size_t n, float *logits);

/* Turns one example's logits into probabilities in place; labels not seen get
 * 0. Returns ln of the sum of exponentials. */
float head_softmax(const struct head *h, float *logits);

/* Averages the probabilities with those of the prototypes; the result is
 * served. */
void head_blend(const struct head *h, float *scores, const float *prototypes);

/* Makes sure that labels 0 to n - 1 have rows. */
void head_need_labels(struct head *h, size_t n);
void head_need_grams(struct head *h);

/* Updates the scale of row c, or of its prototype, after a change. */
void head_rescale_row(struct head *h, size_t c);
void head_rescale_prototype(struct head *h, size_t c);

void head_work_free(struct head_work *w);

static inline uint32_t head_slot(const struct head *h, uint32_t hash)
{
    return hash & (uint32_t)(h->n_slots - 1);
}

#endif
