/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - scores a candidate and the serving version on the holdout, and
 * asks the gate.
 *
 * The segments are drawn from the candidate's own holdout rows, the same
 * number from each domain as far as it goes, in an order that is a function of
 * (seed, key): two decisions in a row compare nearly the same segments, and the
 * serving version's losses on them are kept from one to the next.
 *
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_JUDGE_H
#define MNEME_DAEMON_JUDGE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "daemon/serving.h"
#include "learner/infer.h"
#include "store/store.h"

struct judge;

struct judge *judge_create(const struct conf *conf, struct catalog *catalog,
                           struct serving *serving);
void judge_free(struct judge *j);

struct judgement {
    enum store_state verdict; /* STORE_PASSED, _FAILED, _INCONCLUSIVE */
    char reason[256];
    struct buf gate_json;
    struct store_domain_result *results; /* the candidate's, by domain */
    size_t n_results;
    char **names; /* what results point to */
};

void judgement_release(struct judgement *j);

/* The version must be in the catalog, with its rows. */
int judge_candidate(struct judge *j, int64_t version,
                    const struct infer *candidate, struct judgement *out,
                    struct err *err);

#endif
