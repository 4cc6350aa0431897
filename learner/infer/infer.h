/* SPDX-License-Identifier: Apache-2.0 */
/*
 * infer.h - a version that answers: score, complete, classify.
 *
 * A struct infer is immutable: weights, tokenizer, class head and labels of one
 * version. Each call brings its own working memory, taken from a small pool in
 * the struct and given back.
 *
 * Owner:   the caller, who counts references around it (daemon/serving)
 * Threads: any, at once
 */
#ifndef MNEME_LEARNER_INFER_INFER_H
#define MNEME_LEARNER_INFER_INFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"
#include "base/model_shape.h"
#include "base/names.h"
#include "base/segment.h"
#include "base/tensor.h"
#include "learner/tokenizer/tokenizer.h"

struct infer; /* fields are in infer.c */

/* How the weights are held for answering: as they are, or those of products as
 * int8 (learner/kernels/packed.h): a quarter of the memory, and faster. Everything
 * below that runs the Transformer runs on what is held. */
enum infer_quantize { INFER_FLOAT, INFER_INT8 };

struct infer_options {
    enum infer_quantize quantize;
};

void infer_options_default(struct infer_options *o);

/*
 * Builds from what a version's files hold. Copies or keeps nothing of the
 * lists but takes the numbers over into blocks of its own.
 *   shape      NULL: preset linear
 *   tokenizer  outlives the infer; NULL when shape is
 *   weights    the model's tensors under their Hugging Face names
 *   head       the class head's, may be empty
 *   labels     copied
 *   options    NULL: the defaults
 * ERR_CORRUPT when a tensor is missing, of another shape, or not finite, when
 * the tokenizer has not the model's vocabulary, or when a class of the head
 * has no name.
 */
int infer_create(const struct model_shape *shape,
                 const struct tokenizer *tokenizer,
                 const struct tensor_list *weights,
                 const struct tensor_list *head, const struct names *labels,
                 const struct infer_options *options, struct infer **infer,
                 struct err *err);
void infer_free(struct infer *f);
size_t infer_bytes(const struct infer *f); /* memory it holds */

/* NULL for preset linear, and then the shape is too. */
const struct tokenizer *infer_tokenizer(const struct infer *f);
const struct model_shape *infer_shape(const struct infer *f); /* or NULL */
const struct names *infer_labels(const struct infer *f);

/*
 * Everything below that runs the Transformer is ERR_INVALID without one, and
 * ERR_DIVERGED when what comes out of it is not finite.
 *
 * `cancel` (NULL: nobody cancels) is checked between pieces of at most a few
 * hundred tokens, and in generation at each token. When it cancels, its error
 * is returned, and the outputs are as after any other error.
 */

/* How surprised the model is by a text. */
struct infer_score {
    size_t n_bytes, n_tokens; /* text only */
    double nats;              /* -ln p of the text's tokens */
    double bits_per_byte;     /* nats / ln 2 / n_bytes; 0 for empty text */
    double perplexity;        /* exp(nats / n_tokens); 1 for empty text */
    struct token_list tokens; /* with want_tokens: the text's ids */
    float *logprobs;          /* with want_tokens: ln p of each, n_tokens */
};

void infer_score_release(struct infer_score *s);

/* The text is cut as records are. */
int infer_score(const struct infer *f, const char *text, size_t n_bytes,
                bool want_tokens, const struct cancel *cancel,
                struct infer_score *score, struct err *err);

/*
 * Losses of holdout segments, for the gate.
 *   nats    double[n] out: summed -ln p over the counted text targets (the end
 *           mark left out, as bits per byte asks)
 *   right   uint8_t[n] out: labelled and classified right; NULL: not wanted
 *   stop    polled between pieces; ERR_AGAIN once another thread has set it;
 *           may be NULL
 * ERR_INVALID when a segment does not fit this model. For preset linear nats
 * are 0.
 */
int infer_segments(const struct infer *f, const struct segment *segments,
                   size_t n, double *nats, uint8_t *right,
                   const atomic_bool *stop, struct err *err);

/*
 * Probability of every label, the mean over the text's segments.
 *   scores  float[infer_labels()->n] out; 0 for a label not learned yet
 * ERR_STATE while there are no labels.
 */
int infer_classify(const struct infer *f, const char *text, size_t n_bytes,
                   const struct cancel *cancel, float *scores, struct err *err);

struct infer_sampling {
    int max_tokens;     /* 0 too */
    float temperature;  /* 0: greedy */
    float top_p;        /* 1: off */
    int top_k;          /* 0: off */
    uint64_t seed;
    const char *const *stop; /* n_stop strings; generation ends before them */
    size_t n_stop;
    int n_logprobs;     /* < 0: none; else that of the drawn token, and the n
                           most likely, of which it may be one */
};

void infer_sampling_default(struct infer_sampling *s); /* as OpenAI's */

struct infer_alternative {
    uint16_t id;
    float logprob;
};

struct infer_token {
    uint16_t id;
    float logprob; /* with n_logprobs >= 0; ln p at temperature 1 */
    const struct infer_alternative *best; /* [n_logprobs], best first; valid
                                             during the call only */
};

/* Told of each token as it is decided, but not of an end mark, nor of the
 * token that completes a stop string: the text of one told of before may still
 * be cut by it. Return true to stop. */
typedef bool infer_token_fn(const struct infer_token *token, void *arg);

/* The listener to a generation. */
struct infer_listener {
    infer_token_fn *on_token; /* NULL: none */
    void *arg;                /* of on_token */
    const struct cancel *cancel;
};

struct infer_completion {
    struct buf text;          /* whole UTF-8 characters; invalid bytes are
                                 U+FFFD, a last one cut short is left out */
    struct token_list tokens; /* generated ids (the end mark left out); with a
                                 stop string those that begin before it */
    float *logprobs;          /* [tokens.n], with n_logprobs >= 0: ln p at
                                 temperature 1 */
    struct infer_alternative *alternatives; /* [tokens.n][n_logprobs], best
                                               first */
    bool stopped;             /* a stop string or end-of-text; else length, or
                                 on_token's wish */
};

void infer_completion_release(struct infer_completion *c);

/*
 * Continues a prompt of n ids with a key/value cache. The model reads an
 * end-of-text before it, unless it brings its own, so that an empty prompt
 * begins a record. A prompt longer than the context keeps its last part; past
 * the context the older half is dropped and the rest read again. The same
 * prompt, sampling and version give the same bytes: draw i is
 * rng(seed, RNG_SAMPLE, 0, i).
 *   listener  NULL: nobody
 * ERR_INVALID when an id or a setting is out of its range, or a stop string
 * empty.
 */
int infer_complete(const struct infer *f, const uint16_t *prompt, size_t n,
                   const struct infer_sampling *sampling,
                   const struct infer_listener *listener,
                   struct infer_completion *completion, struct err *err);

/*
 * For `echo` with `logprobs`: ln p of each prompt id given those before it
 * (the first after end-of-text), and the n_alternatives most likely at each
 * place, best first. Windows are those of a record: a text's ids have here the
 * logprobs of infer_score, with an end-of-text before them or without.
 *   logprobs      float[n] out
 *   alternatives  [n][n_alternatives] out; NULL with 0
 */
int infer_prompt_logprobs(const struct infer *f, const uint16_t *prompt,
                          size_t n, int n_alternatives,
                          const struct cancel *cancel, float *logprobs,
                          struct infer_alternative *alternatives,
                          struct err *err);

/*
 * Mean of the final states of a text's n ids, of unit length, for embeddings.
 * The model reads an end-of-text before them, unless they begin with one.
 *   out  float[dim]
 * ERR_INVALID when an id is out of its range.
 */
int infer_embed(const struct infer *f, const uint16_t *ids, size_t n,
                const struct cancel *cancel, float *out, struct err *err);

#endif
