/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - quarantines records that would do harm when they are learned.
 *
 * There are two filters. Each gives the reason for the quarantine, or NULL when
 * the record passes.
 *
 * filter_admit runs when a record arrives:
 *     repetition      the record repeats itself (texture.h)
 *     near_duplicate  its family has had too many records of late (families.h)
 *     share_cap       its domain has had more than its share of the stream
 *
 * filter_judge runs when the first segment has been scored, before it is
 * learned. It passes records of less than 96 bytes.
 *     surprise        The loss is above median + MADs of the domain
 *                     (surprise.h), and above the entropy of the bytes, and
 *                     pairs of bytes repeat no more often than in shuffled
 *                     text (texture.h). No model predicts noise better than by
 *                     the frequency of bytes, so learned noise does not make
 *                     more noise pass.
 *     predictable     The loss is far below that of the domain: the record is
 *                     known by heart.
 *
 * A quarantined record is not learned, held out, replayed or counted in a loss.
 * A released record passes both filters and changes no state.
 *
 * Both filters depend on the records in their order and on the settings, never
 * on timing. The trainer decides records ahead of its position, but a version
 * has the state at its position. So the counts exist twice: `ahead` counts
 * records in filter_admit, `settled` counts the same records in filter_settle,
 * when their decisions take effect. After a restart or a rollback both begin
 * with the version's state, and the decisions are the same again.
 *
 * The share cap, with W = window_bytes: each domain has the bytes that arrived
 * and the bytes that were admitted. Both fade by exp(-b / W) for each b bytes
 * that arrive in any domain. A record of n bytes is refused when
 *     others >= W / 64   and   mine + n > share / (1 - share) x others
 * mine: the admitted bytes of its domain; others: the bytes that arrived in all
 * other domains. A domain that is alone keeps all its records.
 *
 * Owner:   learning
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_FILTER_H
#define MNEME_DAEMON_INTAKE_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/segment.h"
#include "base/tensor.h"
#include "conf/conf.h"
#include "learner/tokenizer/tokenizer.h"

struct filter; /* fields are in filter.c */

/* conf and tokenizer outlive the filter. tokenizer NULL: preset linear. */
struct filter *filter_create(const struct conf_filter *conf,
                             const struct tokenizer *tokenizer);
void filter_free(struct filter *f);

struct filter_record {
    const char *text;
    size_t n_bytes;
    const uint32_t *grams; /* hashes of the text's n-grams; NULL: not known */
    size_t n_grams;
    int32_t domain;
    bool released;
};

/* How filter_admit has counted a record, for filter_settle. All zero: the
 * record is not counted. */
struct filter_mark {
    uint64_t hash;
    size_t n_bytes;
    int32_t domain;
    bool in_families, in_share;
};

const char *filter_admit(struct filter *f, const struct filter_record *r,
                         struct filter_mark *mark);

/* The decision on a record has taken effect. Each record is settled once, in
 * the order of filter_admit. */
void filter_settle(struct filter *f, const struct filter_mark *mark);

/* Forgets the records that have not been settled: they will arrive again. */
void filter_rewind(struct filter *f);

/*
 * Also counts the record's loss, or its refusal. Not for preset linear.
 *   first      the record's first segment
 *   text_nats  its loss, without that of the end mark
 */
const char *filter_judge(struct filter *f, const struct segment *first,
                         double text_nats, bool released);

/* Refuses a held-out record that looks like noise when the last record of its
 * domain was refused. Held-out records are not scored: without this rule a
 * burst of noise would end up in the holdout. Counts nothing. */
const char *filter_judge_held_out(struct filter *f,
                                  const struct segment *first, bool released);

/* Tensors filter.* of the settled records. An unused part has none. */
void filter_export(const struct filter *f, struct tensor_list *out);

/* A part without tensors starts empty. After an error the state is mixed. */
int filter_import(struct filter *f, const struct tensor_list *in,
                  struct err *err);

#endif
