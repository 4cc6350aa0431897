/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus.h - one text, in the ids of any vocabulary, cut into sequences.
 *
 * Up to 256 ids are its bytes; 257 are bytes and an end mark; more are a BPE
 * learned from the text.
 *
 * Owner:   the corpus owns ids and tokenizers; the text is the caller's and
 *          stays
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

/* For a vocabulary of 257 or more. */
int corpus_tokenizer(struct corpus *c, int vocab,
                     const struct tokenizer **tokenizer, struct err *err);

/* How many sequences the text has before they begin anew: these share no
 * target. */
int corpus_count(struct corpus *c, int vocab, size_t sequence, size_t *n,
                 struct err *err);

/*
 * Sequences number first to first + n - 1, each of `sequence` targets, which
 * follow one another in the text; after its end they begin anew, at other
 * places.
 *   segments  [n] out; what they point to stays until corpus_free
 * ERR_LIMIT when the text is too short for one.
 */
int corpus_segments(struct corpus *c, int vocab, size_t sequence,
                    size_t first, size_t n, struct segment *segments,
                    struct err *err);

#endif
