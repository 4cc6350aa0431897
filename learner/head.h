/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head.h - the class head: predicts labels, which appear as the stream brings
 * them.
 *
 * The feature h of a text has up to three parts, each scaled to unit length:
 *     [RMSNorm(mean of the final states); RMSNorm(last final state);
 *      mean of the embeddings of its hashed words, pairs of words, and runs of
 *      three letters (learner/tokenizer/grams.h)]
 * Preset linear has no Transformer, so it has only the last part. That is the
 * model of fastText (Joulin et al. 2017), trained online.
 *
 * Each label has a row. A logit is 7 times the cosine of h and the row. The
 * training softmax weights each class by its number of examples in the batch:
 * its new ones, and an equal share of the replayed ones (balanced softmax, Ren
 * et al. 2020). So a class with many new examples does not lower the logits of
 * the other classes, and the probabilities that are
 * served are those of equally frequent classes. The loss of a replayed example
 * adds alpha times the squared distance to the logits that were stored with it
 * (dark experience replay, Buzzega et al. 2020). The row of a
 * new label starts at the normalised mean feature of its first examples. The
 * probabilities are averaged with those of the nearest class mean, the
 * prototype.
 *
 * AdaGrad (Duchi et al. 2011) updates the rows, sparsely in the n-gram table.
 *
 * Owner:   the learner; an infer model has a copy that never changes
 * Threads: head_step, head_backward: trainer; head_scores: any, on a head that
 *          nobody trains
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
    int gram_dim;
    int gram_slots; /* rows of the n-gram table, a power of two */
    int max_labels;
    float lr;
    float replay_logits; /* alpha of dark experience replay */
    uint64_t seed;
};

struct head; /* fields are in head_private.h */

/* One labelled text. */
struct head_example {
    const char *text;
    size_t n_bytes;
    const uint32_t *grams; /* hashes of the words and pairs of the text; NULL:
                              made from the text */
    size_t n_grams;
    const float *states; /* [n_states][dim] final states; NULL for preset
                            linear */
    size_t n_states;
    float *dstates; /* out, of head_backward: [n_states][dim] */
    int32_t label;
    bool replayed;
    const float *old_logits; /* [n_old] stored logits, or NULL */
    size_t n_old;
    float *logits; /* out: one logit for each label that exists after
                      the step, 0 for labels not seen yet; NULL: not
                      wanted */
    float loss;    /* out: cross entropy in nats over all labels seen,
                      before the example is learned. For a label never
                      seen, ln of the number of labels with it. */
    bool correct;  /* out: the label had the highest score, before the
                      example was learned */
};

void head_options_default(struct head_options *o);

struct head *head_create(const struct head_options *options);
void head_free(struct head *h);
size_t head_labels(const struct head *h); /* labels that have a row */

/* Returns the bytes that a head allocates at most. */
size_t head_bytes(const struct head_options *options);

/*
 * Tests and trains on a batch, in pieces of a few new examples and their share
 * of the replayed ones. For each piece, fills loss, correct and logits of its
 * examples, then updates. Every label up to the largest id in the batch gets a
 * row. The result depends only on the examples and their order.
 */
void head_step(struct head *h, struct head_example *examples, size_t n);

/*
 * Computes dstates of every example: the gradient of the batch's mean loss
 * times weight. An example whose label has no row yet gets zeros. Nothing that
 * is exported changes, so that a step may still be skipped. If it is not,
 * head_step follows.
 */
void head_backward(struct head *h, struct head_example *examples, size_t n,
                   float weight);

/*
 * Computes the probability of every label; 0 for a label that is not seen yet.
 *   states  [n_states][dim]
 *   scores  float[head_labels(h)] out, summing to 1
 */
void head_scores(const struct head *h, const char *text, size_t n_bytes,
                 const float *states, size_t n_states, float *scores);

/* Copies what serving needs to `head` (head.rows, head.grams, head.prototypes:
 * F32; head.letters: I64, the length of the runs of letters). Copies what only
 * training needs to `state` (head.row_acc, head.gram_acc: F32, head.counts:
 * I64). Both stay empty before the first label. Either may be NULL. */
void head_export(const struct head *h, struct tensor_list *head,
                 struct tensor_list *state);

/* Loads what head_export wrote; state is NULL for serving. The tensors give the
 * shapes, which must agree with those options that are not 0. An empty list is
 * a head without labels. A head without head.letters is of an older program:
 * its features have words and pairs only, and stay so. On an error h is
 * unchanged. */
int head_import(struct head *h, const struct tensor_list *head,
                const struct tensor_list *state, struct err *err);

#endif
