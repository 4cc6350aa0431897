/* SPDX-License-Identifier: Apache-2.0 */
/*
 * infer_private.h - the fields of a struct infer, for infer.c, infer_read.c and
 * infer_generate.c.
 *
 * V is the vocabulary.
 *
 * Threads: any; a struct infer_work belongs to one call at a time
 */
#ifndef MNEME_LEARNER_INFER_INFER_PRIVATE_H
#define MNEME_LEARNER_INFER_INFER_PRIVATE_H

#include "learner/infer/frozen.h"
#include "learner/head.h"
#include "learner/infer/infer.h"
#include "learner/infer/prefix_cache.h"
#include "learner/infer/shared_pass.h"
#include "learner/model.h"
#include "learner/ngram.h"

/* Texts are read in batches; generation reads a few tokens at a time and keeps
 * their keys and values in a cache. */
enum infer_kind { INFER_READ, INFER_GENERATE, INFER_N_KINDS };

/* Working memory of one call. Preset linear leaves it empty. */
struct infer_work {
    enum infer_kind kind;
    struct frozen_work *frozen; /* for INFER_READ; NULL before the first
                                   infer_work_need */
    float *loss;                /* [max_tokens] */
    size_t max_tokens;
    struct batch batch;
    float *logits;                     /* [V] */
    float *mixed;                      /* [V] ln p; NULL without a memory */
    struct ngram_reader *reader;       /* NULL without a memory */
    struct infer_alternative *scratch; /* [V] scratch of sample.h */
    float *cache; /* [frozen_cache_floats], for INFER_GENERATE */
    float *losses; /* [context] of the ids in the cache, for INFER_GENERATE;
                      NULL without a memory */
};

struct infer_pool; /* infer.c */

struct infer {
    struct model *model; /* NULL for preset linear, like the next four */
    struct frozen *frozen;
    struct shared_pass *passes;
    struct prefix_tree *prefixes; /* NULL also without a prefix cache */
    struct infer_figures *figures; /* NULL: not counted */
    const struct tokenizer *tokenizer;
    struct ngram *ngram; /* NULL: the Transformer answers alone */
    struct head *head;
    struct names labels;
    struct infer_pool *pool;
};

struct infer_work *infer_work_get(const struct infer *f,
                                  enum infer_kind kind);
void infer_work_put(const struct infer *f, struct infer_work *w);

/* Makes room for a forward pass of n_tokens; old content is lost. */
void infer_work_need(const struct infer *f, struct infer_work *w,
                     size_t n_tokens);

/* Returns ERR_INVALID for preset linear. */
int infer_need_model(const struct infer *f, struct err *err);

/* Returns ERR_INVALID when an id is not in the vocabulary. */
int infer_check_ids(const struct infer *f, const token_id *ids, size_t n,
                    struct err *err);

/* Sets ERR_DIVERGED. Outputs can overflow although all weights are finite. */
int infer_not_finite(struct err *err);

#endif
