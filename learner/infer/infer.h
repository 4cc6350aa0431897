/* SPDX-License-Identifier: Apache-2.0 */
/*
 * infer.h - inference with one version: score, complete, classify, embed.
 *
 * A struct infer never changes: it holds the weights, tokenizer, n-gram memory,
 * class head and labels of one version. Scores and completions are of the
 * mixture of Transformer and n-gram memory (learner/ngram.h), if there is a
 * memory; classes and embeddings are the Transformer's. Each call uses working
 * memory from a small pool in the struct.
 *
 * Owner:   the caller, who counts references to it
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

struct infer; /* fields are in infer_private.h */

/* How the weights are stored: in float, or the matrices as int8
 * (learner/kernels/packed.h). int8 takes a quarter of the memory and is
 * faster. */
enum infer_quantize { INFER_FLOAT, INFER_INT8 };

/* What all versions of a daemon count. Threads: any */
struct infer_figures {
    atomic_llong passes;        /* shared passes of generations */
    atomic_llong pass_requests; /* generations in them */
    atomic_llong pass_tokens;   /* tokens that they read */
    atomic_llong prompt_tokens; /* tokens of prompts of generations */
    atomic_llong prefix_tokens; /* of them, those in the prefix cache */
    atomic_llong prefix_bytes;  /* memory of the prefix cache */
};

/*
 * Keys and values of the beginnings of prompts, of all versions together
 * (prefix_cache.h). It outlives every infer that uses it. It changes no result.
 *   limit_bytes  the most memory that it takes
 *   figures      as in struct infer_options
 */
struct prefix_cache;
struct prefix_cache *prefix_cache_create(size_t limit_bytes,
                                         struct infer_figures *figures);
void prefix_cache_free(struct prefix_cache *c);

struct infer_options {
    enum infer_quantize quantize;
    int pass_threads; /* threads that work on a pass of several generations */
    struct infer_figures *figures; /* outlive every infer; NULL: not counted */
    struct prefix_cache *prefixes; /* NULL: each generation reads its prompt */
};

void infer_options_default(struct infer_options *o);

/*
 * Creates a model for inference from the tensors of a version. The numbers are
 * copied.
 *   shape      NULL: preset linear
 *   tokenizer  outlives the infer; NULL for preset linear
 *   weights    the model's tensors under their Hugging Face names
 *   head       the class head's tensors, may be empty
 *   labels     copied
 *   options    NULL: the defaults
 * ERR_CORRUPT when a tensor is missing, has another shape or is not finite;
 * when tokenizer and model have different vocabularies; or when a class of the
 * head has no name.
 */
int infer_create(const struct model_shape *shape,
                 const struct tokenizer *tokenizer,
                 const struct tensor_list *weights,
                 const struct tensor_list *head, const struct names *labels,
                 const struct infer_options *options, struct infer **infer,
                 struct err *err);
void infer_free(struct infer *f);

/*
 * Adds a version's n-gram memory, before any other call uses f. The numbers are
 * copied.
 *   ngram  what ngram_export wrote; empty: the version has no memory
 * ERR_CORRUPT when it is not such a memory, or is of another vocabulary.
 */
int infer_add_ngram(struct infer *f, const struct tensor_list *ngram,
                    struct err *err);

/* The most memory that one infer_complete takes. */
size_t infer_generation_bytes(const struct model_shape *s);

/* The most memory that a call takes that reads texts. */
size_t infer_reading_bytes(const struct model_shape *s);

/* The most memory that an infer keeps for calls to come, beside its weights. */
size_t infer_kept_bytes(const struct model_shape *s, int pass_threads);

/* These two return NULL for preset linear. */
const struct tokenizer *infer_tokenizer(const struct infer *f);
const struct model_shape *infer_shape(const struct infer *f);
const struct names *infer_labels(const struct infer *f);

/*
 * All functions below that need the Transformer return ERR_INVALID for preset
 * linear, and ERR_DIVERGED when an output is not finite.
 *
 * They check `cancel` after every few hundred tokens at most; generation
 * checks it at each token. If it cancels, its error is returned, and the
 * outputs are as after any other error. NULL: the call cannot be cancelled.
 */

/* The loss of a text. */
struct infer_score {
    size_t n_bytes, n_tokens; /* of the text, without end-of-text */
    double nats;              /* -ln p of the text's tokens */
    double bits_per_byte;     /* nats / ln 2 / n_bytes; 0 for an empty text */
    double perplexity;        /* exp(nats / n_tokens); 1 for an empty text */
    struct token_list tokens; /* the text's ids, with want_tokens */
    float *logprobs;          /* [n_tokens] ln p of each, with want_tokens */
};

void infer_score_release(struct infer_score *s);

/* Scores a text, cut into segments as a record would be. */
int infer_score(const struct infer *f, const char *text, size_t n_bytes,
                bool want_tokens, const struct cancel *cancel,
                struct infer_score *score, struct err *err);

/*
 * Computes the losses of holdout segments, for the gate.
 *   nats    double[n] out: sum of -ln p over the counted targets, without the
 *           end-of-text token; 0 for preset linear
 *   right   uint8_t[n] out: 1 if the class head predicts the label; NULL: not
 *           wanted
 *   stop    another thread may set it: ERR_AGAIN then; may be NULL
 * ERR_INVALID when a segment does not fit this model.
 */
int infer_segments(const struct infer *f, const struct segment *segments,
                   size_t n, double *nats, uint8_t *right,
                   const atomic_bool *stop, struct err *err);

/*
 * Computes the probability of every label: the mean over the text's segments.
 *   scores  float[infer_labels()->n] out; 0 for a label not learned yet
 * ERR_STATE while there are no labels.
 */
int infer_classify(const struct infer *f, const char *text, size_t n_bytes,
                   const struct cancel *cancel, float *scores, struct err *err);

/* A number that is added to the logit of a token. */
struct infer_bias {
    token_id id;
    float bias;
};

/* The penalties and biases change which token is chosen, also when temperature
 * is 0. The reported logprobs are those without penalties and biases. */
struct infer_sampling {
    int max_tokens;     /* may be 0 */
    float temperature;  /* 0: greedy */
    float top_p;        /* 1: off */
    int top_k;          /* 0: off */
    float frequency_penalty;       /* 0: off; see sample_adjust */
    float presence_penalty;        /* 0: off */
    const struct infer_bias *bias; /* [n_bias] */
    size_t n_bias;
    uint64_t seed;
    const char *const *stop; /* n_stop strings; generation ends before the first
                                of them */
    size_t n_stop;
    int n_logprobs; /* < 0: none; else ln p of the chosen token, and the n
                       most likely tokens */
};

void infer_sampling_default(struct infer_sampling *s); /* the defaults of
                                                          OpenAI's API */

struct infer_alternative {
    token_id id;
    float logprob;
};

struct infer_token {
    token_id id;
    float logprob; /* ln p at temperature 1, with n_logprobs >= 0 */
    const struct infer_alternative *best; /* [n_logprobs], most likely first;
                                             valid during the call only */
};

/* Receives each token as soon as it is chosen, but neither end-of-text nor the
 * token that completes a stop string. That stop string may still cut the text
 * of earlier tokens. Return true to stop. */
typedef bool infer_token_fn(const struct infer_token *token, void *arg);

/* Receives the tokens of a generation, and may cancel it. */
struct infer_listener {
    infer_token_fn *on_token; /* NULL: none */
    void *arg;                /* argument of on_token */
    const struct cancel *cancel;
};

struct infer_completion {
    struct buf text;          /* whole UTF-8 characters; an invalid byte becomes
                                 U+FFFD, an incomplete last character is left
                                 out */
    struct token_list tokens; /* generated ids, without end-of-text; with a stop
                                 string those that begin before it */
    float *logprobs;          /* [tokens.n] ln p at temperature 1, with
                                 n_logprobs >= 0 */
    struct infer_alternative *alternatives; /* [tokens.n][n_logprobs], most
                                               likely first */
    bool stopped; /* ended by a stop string or end-of-text; false:
                     by length or by on_token */
    size_t n_cached; /* ids of the prompt that were not read: the prefix cache
                        had them */
};

void infer_completion_release(struct infer_completion *c);

/*
 * Completes a prompt of n ids, with a key/value cache. Calls that run at the
 * same time read their tokens in one pass (shared_pass.h), and a prompt whose
 * beginning is in the prefix cache is read from there on. Neither changes a
 * result. The token that begins a text is put before the prompt unless it
 * begins with it; so an empty prompt begins a record. A prompt longer than the
 * context keeps its last part. When the context is full, the older half is
 * dropped and the rest is read again. The same prompt, sampling and version
 * give the same bytes: token i uses rng(seed, RNG_SAMPLE, 0, i).
 *   listener  may be NULL
 * ERR_INVALID when an id or a setting is out of range, or a stop string is
 * empty.
 */
int infer_complete(const struct infer *f, const token_id *prompt, size_t n,
                   const struct infer_sampling *sampling,
                   const struct infer_listener *listener,
                   struct infer_completion *completion, struct err *err);

/*
 * For `echo` with `logprobs`: computes ln p of each prompt id given those
 * before it (the first given the token that begins a text), and the
 * n_alternatives most likely ids at each position. The prompt is cut as a
 * record would be, so a text's ids have the logprobs of infer_score.
 *   logprobs      float[n] out
 *   alternatives  [n][n_alternatives] out, most likely first; NULL with 0
 */
int infer_prompt_logprobs(const struct infer *f, const token_id *prompt,
                          size_t n, int n_alternatives,
                          const struct cancel *cancel, float *logprobs,
                          struct infer_alternative *alternatives,
                          struct err *err);

/*
 * Computes an embedding: the mean of the final states of n ids, scaled to unit
 * length. The token that begins a text is put before the ids unless they begin
 * with it.
 *   out  float[dim]
 * ERR_INVALID when an id is out of range.
 */
int infer_embed(const struct infer *f, const token_id *ids, size_t n,
                const struct cancel *cancel, float *out, struct err *err);

#endif
