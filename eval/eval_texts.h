/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval_texts.h - the records of an evaluation, and the order of the stream.
 *
 * Every twentieth record of a domain is held out, unless files of held-out
 * records are given. A record whose text is held out is not learned.
 *
 * Owner:   struct eval_texts owns everything in it; eval_texts_release
 * Threads: any; it does not change after it is read
 */
#ifndef MNEME_EVAL_EVAL_TEXTS_H
#define MNEME_EVAL_EVAL_TEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/names.h"
#include "daemon/stream/record.h"
#include "eval/eval.h"

struct eval_record {
    char *value; /* as in the file */
    size_t n_bytes;
    size_t text_bytes;
    uint64_t text_hash;
    int64_t time_ms; /* 0: none */
    uint32_t domain; /* in eval_texts.domains */
    bool has_label;
    bool in_chart; /* a held-out record that is scored for the chart, too */
};

struct eval_list {
    struct eval_record *items;
    size_t n, cap;
};

struct eval_domain {
    size_t n_learned, n_heldout;         /* records */
    size_t learned_bytes, heldout_bytes; /* of their texts */
};

struct eval_texts {
    struct names names;          /* of the domains, in their order */
    struct eval_domain *domains; /* [names.n] */
    size_t cap_domains;
    struct eval_list learned, heldout;
    size_t n_bad;    /* records that are not valid */
    size_t n_copies; /* records that are not learned, since their text is held
                        out */
    bool has_labels; /* a held-out record has one */
};

int eval_texts_read(const struct eval_options *o, struct eval_texts *t,
                    struct err *err);
void eval_texts_release(struct eval_texts *t);

/* Makes the record again, for intake and for scoring. */
struct record *eval_texts_record(const struct eval_texts *t,
                                 const struct eval_record *r,
                                 struct record_maker *maker,
                                 const struct conf *conf);

/*
 * Fills in the order of the stream.
 *   seed    of the shuffle; gradual and interleaved only
 *   stream  size_t[t->learned.n] out, positions in t->learned
 */
void eval_texts_order(const struct eval_texts *t, enum eval_order order,
                      uint64_t seed, size_t *stream);

/* Shuffles the first n records of a stream. */
void eval_texts_shuffle(size_t *stream, size_t n, uint64_t seed);

#endif
