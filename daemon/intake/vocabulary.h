/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocabulary.h - the first text of a stream, until a vocabulary can be learned
 * from it.
 *
 * With `tokenizer: bpe` and no vocabulary yet the first records wait here; held
 * out ones give no text. It is complete at tokenizer_bytes of text, when the
 * source ends, or when it pauses for tokenizer_wait_seconds after the first
 * text. The same records are then learned, in order. Nothing of this is stored:
 * a restart reads them again.
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
    size_t memory; /* of the records, bytes */
};

void vocabulary_init(struct vocabulary *v, const struct conf *conf);
void vocabulary_release(struct vocabulary *v);

/* A tokenizer that needs no text from the stream: bytes, or tokenizer_from.
 * *tokenizer stays NULL when the stream is needed. */
int vocabulary_known(const struct conf *conf, struct tokenizer **tokenizer,
                     struct err *err);

/* Takes a record; true when there is enough text. */
bool vocabulary_add(struct vocabulary *v, struct record *rec);

/* Learns it from the text so far. */
int vocabulary_learn(struct vocabulary *v, struct tokenizer **tokenizer,
                     struct err *err);

/* The records, oldest first, now the caller's; *n out; free() the array. */
struct record **vocabulary_take(struct vocabulary *v, size_t *n);

#endif
