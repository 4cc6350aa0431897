/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.h - the verdict about a candidate: whether it passes, whether it
 * serves, which version is the next reference, and whether to go back.
 *
 * The reference is the serving version, or the version before it that was
 * better: a candidate that passes, but is worse by the estimates (is_better in
 * gate.h), serves, and the reference stays. The version that an operator
 * promotes becomes the reference.
 *
 * The shadow comparison (shadow.h) compares each candidate with the reference
 * on held-out segments that arrived after the reference was made. Each segment
 * counts once, for the first candidate after it. A new reference starts a new
 * comparison.
 *
 * struct verdict_memory carries the state to the next candidate. It is stored
 * with the verdict. If the disk is full, the decision is made again later, from
 * the same stored memory: nothing counts twice.
 *
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_VERDICT_H
#define MNEME_DAEMON_PUBLISH_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/gate/gate.h"
#include "daemon/publish/holdout_scoring.h"
#include "daemon/publish/verdict_memory.h"
#include "learner/infer/infer.h"
#include "store/catalog.h"

struct verdict_input {
    const struct conf *conf;
    struct catalog *catalog;
    struct holdout_scoring *scoring;
    int64_t version; /* in the catalog, with its holdout rows */
    const struct infer *candidate; /* NULL: the candidate is damaged */
    const char *damage; /* without a candidate: what is wrong with it */
    bool not_finite;    /* without a candidate: a value is not finite */
    int64_t serving;    /* by the store; 0 if no version answers */
    bool serving_pinned;
};

struct verdict {
    enum store_state state; /* STORE_PASSED, STORE_FAILED; with same_as also
                               STORE_INCONCLUSIVE, of an older program */
    bool serve;             /* the candidate becomes the serving version */
    int64_t same_as; /* the parent, if the weights are the same; else 0 */
    char reason[GATE_REASON_MAX];
    json_t *gate; /* the numbers; the caller may add to them */
    struct store_domain_result *results; /* the candidate's, by domain */
    size_t n_results;
    char **names;           /* [n_results]; results point to them */
    enum guard_cause cause; /* of a rollback to the reference */
    int64_t reference;      /* the candidate was compared with it; 0: none */
    int64_t shadow_records; /* of the shadow comparison with it */
    double shadow_log_wealth;
    struct verdict_memory memory; /* to be stored with the version; it has the
                                     guard's request */
};

/* Decides about a candidate. Changes nothing but *out. The caller releases
 * *out, also after an error. */
int verdict_decide(const struct verdict_input *in, struct verdict *out,
                   struct err *err);
void verdict_release(struct verdict *v);

#endif
