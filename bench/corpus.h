/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus.h - one text as tokens of any vocabulary, cut into sequences.
 *
 * A vocabulary of up to 256 ids is the bytes of the text. One of 257 is the
 * bytes and the end-of-text token. A larger one is a BPE that is trained on the
 * text.
 *
 * Owner:   the corpus owns tokens and tokenizers; the caller keeps the text
 *          until corpus_free
 * Threads: one at a time
 */
#ifndef MNEME_BENCH_CORPUS_H
#define MNEME_BENCH_CORPUS_H

#include "base/segment.h"
#include "learner/tokenizer/tokenizer.h"

#define CORPUS_LEAST_BYTES 65536

struct corpus; /* fields are in corpus.c */

struct corpus *corpus_create(const char *text, size_t n_bytes);
void corpus_free(struct corpus *c);

/* Gives the tokenizer of a vocabulary of 257 or more. */
int corpus_tokenizer(struct corpus *c, int vocab,
                     const struct tokenizer **tokenizer, struct err *err);

/* Counts the sequences of the text that have no target in common. */
int corpus_count(struct corpus *c, int vocab, size_t sequence, size_t *n,
                 struct err *err);

/*
 * Gives sequences number first to first + n - 1, each with `sequence` targets.
 * They follow one another in the text. After its end they start again, at other
 * positions.
 *   segments  [n] out; their tokens are valid until corpus_free
 *   returns   ERR_LIMIT when the text is too short for one sequence
 */
int corpus_segments(struct corpus *c, int vocab, size_t sequence,
                    size_t first, size_t n, struct segment *segments,
                    struct err *err);

#endif
