/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h - decides when learning goes back to the reference version by itself.
 *
 * A rising loss alone is no reason, since the stream may have changed. After
 * each verdict guard_check looks for one of three causes:
 *
 *   not finite  a weight, moment, Fisher or anchor value is not finite
 *   worse       the shadow comparison (shadow.h) shows at level GUARD_ALPHA
 *               that the reference is more than SHADOW_MARGIN better on the
 *               same new held-out records
 *   above       the candidate fails the gate, and on the held-out records that
 *               arrived after the reference its regression is shown to be above
 *               max_regression, too (level GUARD_LEVEL, at least GUARD_FEWEST
 *               segments). This shows damage of some per cent on a few short
 *               records, where the shadow comparison needs hundreds
 *
 * One candidate is not enough for the last two: in the first steps after a
 * change of domain a candidate may look worse once. `worse` takes
 * GUARD_CONFIRMED candidates in a row, `above` takes GUARD_PATIENCE. A
 * candidate that is better than the reference on the very newest held-out
 * records (newest_better) never counts: the stream has then changed its domain.
 *
 * The trainer carries the rollback out. It first asks guard_allow: at most
 * GUARD_MOST automatic rollbacks an hour. Then learning pauses until an
 * operator rolls back or promotes.
 *
 * A restart changes nothing: the count and an open request are stored with the
 * version (verdict_memory.h), rollbacks and pauses in the control log
 * (catalog_auto_rollbacks, catalog_pause).
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_GATE_GUARD_H
#define MNEME_DAEMON_GATE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/gate/gate.h"

#define GUARD_ALPHA 0.001
#define GUARD_LEVEL 0.005
#define GUARD_FEWEST 5
#define GUARD_CONFIRMED 2
#define GUARD_PATIENCE 3
#define GUARD_MOST 3
#define GUARD_HOUR_MS INT64_C(3600000)

/* What is known of a candidate after its verdict. */
struct guard_evidence {
    bool not_finite;
    bool above;
    bool newest_better; /* than the reference, on the newest segments that
                           arrived after it */
    struct gate_part since; /* over all segments that arrived after it */
    double log_wealth;  /* of the shadow comparison: against "the reference is
                           at most SHADOW_MARGIN better" */
};

/* Sets above, newest_better and since from the segments that the gate has
 * compared. */
void guard_observe(struct guard_evidence *e, const struct gate_chunk *chunks,
                   size_t n, const struct gate_options *options,
                   enum gate_verdict verdict);

/* The values are stored; older programs had one more. */
enum guard_cause {
    GUARD_NO_CAUSE,
    GUARD_NOT_FINITE,
    GUARD_WORSE,
    GUARD_ABOVE
};

/* Updates the number of candidates in a row that were worse, and returns the
 * cause to go back, if there is one. */
enum guard_cause guard_check(int64_t *worse_in_a_row,
                             const struct guard_evidence *e);

/* The cause as a sentence without a full stop. */
const char *guard_cause_text(enum guard_cause cause);

/* The guard asks the trainer to go back to a version. */
struct guard_request {
    enum guard_cause cause; /* GUARD_NO_CAUSE: no request */
    int64_t version;
    char reason[300];
};

/*
 * May the daemon go back by itself now?
 *   at_ms   times of the last automatic rollbacks, newest first. Wall clock: a
 *           time in the future counts, since the clock may have been set back
 */
bool guard_allow(const int64_t *at_ms, size_t n, int64_t now_ms);

#endif
