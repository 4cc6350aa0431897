/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocabulary.h - collects the first text of a stream, and learns a vocabulary
 * from it.
 *
 * With `tokenizer: bpe` and no vocabulary yet, the first records wait here. The
 * text of held-out records is left out. The trainer learns the vocabulary after
 * tokenizer_bytes of text, at the end of the source, or when the source pauses
 * for tokenizer_wait_seconds after the first text. Then the same records go to
 * intake, in order. Nothing is stored before: a restart reads them again.
 *
 * Owner:   the trainer
 * Threads: trainer; vocabulary_known main
 */
#ifndef MNEME_DAEMON_INTAKE_VOCABULARY_H
#define MNEME_DAEMON_INTAKE_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "daemon/stream/record.h"
#include "learner/tokenizer/tokenizer.h"

struct vocabulary {
    const struct conf *conf;
    struct buf text;
    struct record **records;
    size_t n, cap;
    size_t memory; /* bytes that the records take */
};

void vocabulary_init(struct vocabulary *v, const struct conf *conf);
void vocabulary_release(struct vocabulary *v);

/* The tokenizer that the configuration alone gives: bytes, builtin, or that of
 * tokenizer_from. *tokenizer is NULL when it needs text of the stream. */
int vocabulary_known(const struct conf *conf, struct tokenizer **tokenizer,
                     struct err *err);

/* Adds a record, which v owns from now on. Returns true when the text is
 * sufficient. */
bool vocabulary_add(struct vocabulary *v, struct record *rec);

/* Learns the vocabulary from the text so far. */
int vocabulary_learn(struct vocabulary *v, struct tokenizer **tokenizer,
                     struct err *err);

/* The records, oldest first, which the caller owns from now on, like the array.
 * v is empty then. */
struct record **vocabulary_take(struct vocabulary *v, size_t *n);

#endif
