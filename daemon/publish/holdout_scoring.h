/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdout_scoring.h - the losses of a candidate and of the reference on a
 * sample of the candidate's holdout (holdout_sample.h).
 *
 * Two candidates in a row are scored on nearly the same segments. So the losses
 * of the last candidate and reference are kept in memory, and only new segments
 * are scored again. A restart may lose them.
 *
 * Owner:   the caller; holdout_scoring_free, holdout_scoring_release
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_HOLDOUT_SCORING_H
#define MNEME_DAEMON_PUBLISH_HOLDOUT_SCORING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/gate/gate.h"
#include "daemon/publish/serving.h"
#include "learner/infer/infer.h"
#include "store/catalog.h"
#include "store/store.h"

struct holdout_scoring;

/* Keeps the pointers. */
struct holdout_scoring *holdout_scoring_create(const struct conf *conf,
                                               struct catalog *catalog,
                                               struct serving *serving);
void holdout_scoring_free(struct holdout_scoring *h);

struct holdout_scoring_task {
    int64_t version; /* the candidate's number; it is in the catalog */
    const struct infer *candidate;
    int64_t reference;      /* 0: only the candidate is scored */
    int64_t reference_rows; /* as in holdout_sample.h */
    int64_t compared_rows;
};

struct holdout_scoring_result {
    struct gate_chunk *chunks;
    bool *is_new; /* arrived since the last candidate */
    size_t n_chunks;
    size_t n_damaged;            /* sampled rows that cannot be read */
    int64_t n_rows;              /* holdout rows counted in the candidate */
    struct gate_domain *domains; /* of the candidate, for gate_decide */
    size_t n_domains;
    struct store_domain_result *results; /* the candidate's loss by domain */
    size_t n_results;
    char **names;      /* [n_domains], of domains and results */
    bool no_reference; /* files or metadata of the reference are damaged */
};

/*
 * Takes the sample and scores it.
 *   out       the caller releases it, also after an error
 *   returns   ERR_DIVERGED when a loss is not finite; the error of loading the
 *             reference, with out->no_reference if the reference is damaged
 */
int holdout_scoring_run(struct holdout_scoring *h,
                        const struct holdout_scoring_task *task,
                        struct holdout_scoring_result *out, struct err *err);
void holdout_scoring_release(struct holdout_scoring_result *s);

#endif
