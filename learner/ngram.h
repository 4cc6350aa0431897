/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ngram.h - the n-gram memory: counts of token sequences, mixed with the
 * Transformer.
 *
 * The memory learns a segment by counting it once, where the Transformer needs
 * many steps. So it predicts what the stream has just said, and it keeps text
 * that nobody has seen near 8 bits per byte. An answer is a mixture:
 *
 *     p(v) = a_T p_T(v) + a_L p_L(v) + a_0 p_0(v) + sum_k a_k c_k(v) / C_k
 *
 *     p_T  the Transformer
 *     p_L  counts of this segment's tokens, with the weight of 32 tokens spread
 *          evenly over the 256 bytes: any text has a floor
 *     p_0  counts of all tokens learned, with the weight of 200 tokens spread
 *          evenly over the vocabulary
 *     c_k  counts of the tokens that followed the last k tokens, k = 1 to 5;
 *          C_k is their sum
 *
 * The coefficients a are not negative and sum to 1, and each part is a
 * distribution. So the mixture is one by construction, whatever the memory
 * holds. The coefficients depend on the counts found, not on the token that
 * follows. They come from mixing weights that are learned online (ngram.c).
 * Backing off by escapes is that of PPM (Cleary, Witten 1984), with learned
 * escapes as in Jelinek, Mercer (1980); counting stops at an order that knew
 * the token, as in PPM's update exclusion (Moffat 1990).
 *
 * Within a segment the memory adapts: the counts and mixing weights of token t
 * include the segment's tokens before t. Learning keeps these changes; a reader
 * keeps them to itself, and forgets them when it starts the next segment. So
 * the loss of a segment is a function of the memory before it, the segment, and
 * the Transformer's losses, and is the same for both.
 *
 * Units:    losses are -ln p, in nats
 * Owner:    the caller; a reader keeps a pointer to its memory
 * Threads:  a memory that no thread changes may have readers on any; a reader
 *           belongs to one thread at a time
 */
#ifndef MNEME_LEARNER_NGRAM_H
#define MNEME_LEARNER_NGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/segment.h"
#include "base/tensor.h"

#define NGRAM_MOST_MIB 64

struct ngram_options {
    bool enabled;
    int mib; /* memory of the table of counts, 1 to NGRAM_MOST_MIB */
};

struct ngram;

/* Creates an empty memory. The vocabulary has at least the 256 bytes. */
struct ngram *ngram_create(int vocab_size, int mib);
void ngram_free(struct ngram *n);

/* The bytes that a memory takes. */
size_t ngram_bytes(int vocab_size, int mib);

/*
 * Scores a segment, and learns its counted targets: counts and mixing weights.
 * Masked targets are only context.
 *   loss   float[n_tokens] of the Transformer; NaN counts as p = 0
 *   mixed  float[n_tokens] out: of the mixture; 0 for masked targets
 */
void ngram_learn(struct ngram *n, const struct segment *s, const float *loss,
                 float *mixed);

/* Adds the memory's tensors: ngram.slots (U8), ngram.counts (I64),
 * ngram.weights (F32). */
void ngram_export(const struct ngram *n, struct tensor_list *out);

/*
 * Creates a memory from what ngram_export wrote. Every count and weight is
 * checked, since the file may come from anybody. ERR_CORRUPT.
 */
int ngram_import(const struct tensor_list *in, int vocab_size,
                 struct ngram **ngram, struct err *err);

/* --- readers ------------------------------------------------------------- */

struct ngram_reader;

struct ngram_reader *ngram_reader_create(const struct ngram *n);
void ngram_reader_free(struct ngram_reader *r);

/* The bytes that a reader takes for segments of up to n_tokens: at most one
 * changed bucket for each token and order, but for rare halvings of counts. */
size_t ngram_reader_bytes(size_t n_tokens);

/* Starts a segment. `first` is the input for its first target. */
void ngram_reader_start(struct ngram_reader *r, token_id first);

/* Returns the mixture's loss of the next target, and adapts to it.
 *   loss  the Transformer's */
double ngram_reader_next(struct ngram_reader *r, token_id target, double loss);

/* Adds a token that is only context: a masked target. */
void ngram_reader_skip(struct ngram_reader *r, token_id token);

/*
 * Computes the whole distribution of the next target.
 *   logprobs  float[V]: ln p of the Transformer
 *   mixed     float[V] out: ln p of the mixture; may be logprobs
 */
void ngram_reader_distribution(const struct ngram_reader *r,
                               const float *logprobs, float *mixed);

/* Scores a whole segment: ngram_reader_start and the functions above.
 *   loss, mixed  as for ngram_learn; may be the same */
void ngram_reader_segment(struct ngram_reader *r, const struct segment *s,
                          const float *loss, float *mixed);

#endif
