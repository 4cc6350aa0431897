/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head.h - the class head: labels that appear as the stream brings them.
 *
 * Features of a text, each part of unit length:
 *     h = [RMSNorm(mean of the final states); RMSNorm(last final state);
 *          mean of the embeddings of its hashed word uni- and bigrams]
 * with no Transformer (preset linear) only the last part: the model of
 * fastText (Joulin et al. 2017), learning online.
 *
 * Logits are cosines between h and a row per label, times 10. New examples are
 * trained over the classes present in the batch only (ER-ACE, Caccia et al.
 * 2022), replayed ones over all classes seen, plus alpha times the squared
 * distance to the logits the row was stored with (dark experience replay,
 * Buzzega et al. 2020). A new label's row starts at the normalised mean
 * feature of its first examples. Scores are blended with those of the nearest
 * class mean (prototype).
 *
 * Rows are updated by AdaGrad (Duchi et al. 2011), sparse in the n-gram table.
 *
 * Owner:   the learner; an infer model has an immutable copy
 * Threads: head_step, head_back the trainer; head_scores any, on a head nobody
 *          trains
 */
#ifndef MNEME_LEARNER_HEAD_H
#define MNEME_LEARNER_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

struct head_options {
    int dim;         /* C of the Transformer, 0 for preset linear */
    int gram_dim;    /* length of an n-gram embedding */
    int gram_slots;  /* rows of the hashed table, a power of two */
    int max_labels;
    float lr;
    float replay_logits; /* alpha, of dark experience replay */
    uint64_t seed;
};

struct head; /* fields are in head.c */

/* One labelled text. */
struct head_example {
    const char *text;
    size_t n_bytes;
    const uint32_t *grams; /* its hashes (learner/tokenizer/grams.h), or NULL: they are
                              made from the text */
    size_t n_grams;
    const float *states;  /* [n_states][dim] final states, NULL when linear */
    size_t n_states;
    float *dstates;       /* head_back: out, [n_states][dim], overwritten */
    int32_t label;
    bool replayed;
    const float *old_logits; /* n_old of them, or NULL */
    size_t n_old;
    float *logits;        /* out, head_labels(h) of them as it is after the
                             step, 0 for labels not seen yet; NULL: not
                             wanted */
    float loss;           /* out: cross entropy over all labels seen, nats,
                             before the example was learned; of a label never
                             seen ln of their number with it */
    bool correct;         /* out: the right label came first, before it */
};

void head_options_default(struct head_options *o);

struct head *head_create(const struct head_options *options);
void head_free(struct head *h);
size_t head_labels(const struct head *h); /* rows in use */

/* Memory it holds or will hold. */
size_t head_bytes(const struct head_options *options);

/*
 * Test, then train on a batch, in pieces of a few new examples and their share
 * of the replayed ones: fills loss, correct and logits of every example of a
 * piece, then updates. Labels up to the largest id in the batch get rows. The
 * result depends on the order of the examples only.
 */
void head_step(struct head *h, struct head_example *examples, size_t n);

/*
 * What the trunk is to learn from a batch: dstates of every example, the
 * gradient of the batch's mean loss times weight, for the head as it is. An
 * example of a label that has no row yet teaches the trunk nothing. Changes
 * nothing that is exported: so a step may still be refused, and head_step is
 * called when it is not.
 */
void head_back(struct head *h, struct head_example *examples, size_t n,
               float weight);

/*
 * Probabilities of all labels, 0 for one that is not seen yet.
 *   states  [n_states][dim]
 *   scores  float[head_labels(h)] out, summing to 1
 */
void head_scores(const struct head *h, const char *text, size_t n_bytes,
                 const float *states, size_t n_states, float *scores);

/* What serves goes to `head` (head.rows, head.grams, head.prototypes: F32),
 * what only training needs to `state` (head.row_acc, head.gram_acc: F32,
 * head.counts: I64). Before the first label both stay empty. Either may be
 * NULL. */
void head_export(const struct head *h, struct tensor_list *head,
                 struct tensor_list *state);

/* state NULL: for serving. Shapes are taken from the tensors and checked
 * against options where those are not 0. An empty list is a head that has seen
 * no label. On an error h is as it was. */
int head_import(struct head *h, const struct tensor_list *head,
                const struct tensor_list *state, struct err *err);

#endif
