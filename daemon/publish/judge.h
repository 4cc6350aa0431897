/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - scores a candidate and an older version on the holdout, asks the
 * gate, and watches whether the older one stays the better.
 *
 * The older version - the reference - is the one that serves, or the one before
 * it that was better: when a candidate passes with a loss that is within its
 * limit, but above the reference's, on what was there before, it serves, and
 * the reference stays what it was. So many small steps down are not more than
 * one limit together. An operator's choice of what serves makes that version
 * the reference. Its losses on the segments are kept from one decision to the
 * next.
 *
 * The shadow comparison (shadow.h) is of every candidate with the reference on
 * held-out segments that arrived after the reference was made, each counted
 * once, by the first candidate that comes after it. It begins anew with each
 * reference.
 *
 * What is known from one candidate to the next is in a judge_memory, which is
 * kept with the version: it comes from the store, and goes there with the
 * verdict. A candidate may be judged a second time, when there was no room to
 * write that: nothing is counted twice.
 *
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_JUDGE_H
#define MNEME_DAEMON_PUBLISH_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/gate/gate.h"
#include "daemon/publish/judge_memory.h"
#include "daemon/publish/serving.h"
#include "learner/infer/infer.h"
#include "store/store.h"

struct judge;

struct judge *judge_create(const struct conf *conf, struct catalog *catalog,
                           struct serving *serving);
void judge_free(struct judge *j);

struct judgement {
    int64_t same_as; /* 0, or the version whose verdict this is */
    enum store_state verdict; /* STORE_PASSED, _FAILED, _INCONCLUSIVE */
    char reason[GATE_REASON_MAX];
    char waits_for[GATE_WAITS_FOR_MAX]; /* when inconclusive, or refused */
    json_t *gate; /* the numbers; the caller may add to them */
    struct store_domain_result *results; /* the candidate's, by domain */
    size_t n_results;
    char **names; /* what results point to */
    /* What to do about the learner, and the version to go back to: */
    enum guard_cause cause;
    int64_t reference;
    /* The shadow comparison: */
    int64_t shadow_records;
    double shadow_difference, shadow_evidence; /* relative; ln; NaN: none */
    int64_t refused; /* in a row, this one too */
    struct judge_memory memory; /* to be kept with the version, after
                                   judgement_serves if it is to serve, and with
                                   the wish that comes of the cause */
    bool is_better;  /* should it serve, it is the next reference */
    int64_t counted; /* holdout rows then */
};

void judgement_release(struct judgement *j);

/* It is going to serve. */
void judgement_serves(struct judgement *out, int64_t version);

/* Before each judgement: the version that serves by the store, 0: none. What
 * answers can be another for a while (serving_choose). */
void judge_begin(struct judge *j, int64_t serving);

/* The version must be in the catalog, with its rows. */
int judge_candidate(struct judge *j, int64_t version,
                    const struct infer *candidate, struct judgement *out,
                    struct err *err);

/* The same for one that cannot be asked: it fails, for this reason. not_finite:
 * the learner has to go back. *out may have been filled in before. */
int judge_broken(struct judge *j, int64_t version, bool not_finite,
                 const char *reason, struct judgement *out, struct err *err);

#endif
