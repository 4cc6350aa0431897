/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - what of the stream is not fit to be learned.
 *
 * Two questions, each with one function. A record is refused by one word, which
 * is the reason in the quarantine, or passes (NULL):
 *
 *   when it comes, before it is held out or waits for a step (filter_admit)
 *     repetition      nearly all of it repeats itself (texture.h)
 *     near_duplicate  too many of its family came of late (families.h)
 *     share_cap       its domain has had more than its share
 *   when its first segment has been scored, before anything is learned from it
 *   (filter_judge)
 *     surprise        it costs more than median + MADs of its domain
 *                     (surprise.h), and more than a code that knows only how
 *                     often each byte occurs in it, and pairs of bytes come
 *                     again no more often than in shuffled ones (texture.h):
 *                     the model did worse than counting, on what looks like no
 *                     language. No model of noise does better than counting, so
 *                     that noise is not let in because some of it was learned.
 *                     Records below 96 bytes are not judged: too few pairs
 *     predictable     it costs far less than its domain's records do: it is
 *                     known by heart
 *
 * A refused record is neither learned, nor held out, nor kept for replay, nor
 * in any loss. `released`: a person has looked at it: it passes, and changes
 * nothing here.
 *
 * Both depend on the records in their order and the settings, never on timing.
 * The trainer looks ahead of its position; what filter_admit did for records
 * that wait can be taken back, the last first (filter_take_back), on a copy
 * too: so a version has the state at its position, and a restart or a rollback
 * decides the same again.
 *
 * The share cap: with W = window_bytes, the bytes that came of each domain, and
 * those of them that were admitted, fade by exp(-b / W) for each b bytes that
 * come, of any domain. A record of n bytes is refused when
 *     others >= W / 64   and   mine + n > share / (1 - share) x others
 * mine: what was admitted of its domain; others: what came of all the others.
 * So a domain that is alone keeps all, and one that drowns the others is
 * thinned to its share until they have been silent for a few W.
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
#include "daemon/intake/families.h"
#include "learner/tokenizer/tokenizer.h"

struct filter; /* fields are in filter.c */

/* The settings are read at each call; they outlive the filter, and so does the
 * tokenizer (NULL: preset linear). */
struct filter *filter_create(const struct conf_filter *conf,
                             const struct tokenizer *tokenizer);
struct filter *filter_copy(const struct filter *f);
void filter_free(struct filter *f);

struct filter_record {
    const char *text;
    size_t n_bytes;
    const uint32_t *grams; /* n_grams hashes of text, or NULL */
    size_t n_grams;
    int32_t domain;
    bool released;
};

/* Bytes of a domain, or of all, as they were when the clock was `at`. */
struct filter_share {
    double came, admitted;
    int64_t at;
};

/* What one filter_admit has changed. */
struct filter_mark {
    struct family_mark family;
    struct {
        bool on;
        int32_t domain;
        size_t n; /* domains known */
        struct filter_share was, all_was;
        size_t n_bytes; /* that the clock went on by */
    } share;
};

const char *filter_admit(struct filter *f, const struct filter_record *r,
                         struct filter_mark *mark);

/* The last filter_admit that has not been taken back; or FILTER_NO_MARK, of a
 * record that never came to it. */
void filter_take_back(struct filter *f, const struct filter_mark *mark);

#define FILTER_NO_MARK {.family = {.item = -1}}

/*
 * first: the record's first segment; text_nats: its loss without the end mark.
 * Remembers the level, or that the record was refused. Not for preset linear.
 */
const char *filter_judge(struct filter *f, const struct segment *first,
                         double text_nats, bool released);

/*
 * The same of a record that is held out, and so is never scored: when its
 * domain's last one was refused, what looks like no language is refused with
 * it. Or a burst of noise would be kept out of what is learned, and be a good
 * part of what is measured on. Remembers nothing.
 */
const char *filter_judge_held_out(struct filter *f,
                                  const struct segment *first, bool released);

/* Tensors filter.*; what was never used is left out. */
void filter_export(const struct filter *f, struct tensor_list *out);

/* What is left out begins anew. On an error f may be half of each. */
int filter_import(struct filter *f, const struct tensor_list *in,
                  struct err *err);

#endif
